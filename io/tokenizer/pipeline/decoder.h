// io/tokenizer/pipeline/decoder.h
//
// Tokens back to text: the decoders of a tokenizer.json.

#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/tokenizer/pipeline/component.h"

namespace lockstep {

class Decoder {
  public:
    virtual ~Decoder() = default;
    /// Tokens to tokens; the text is what is left, end to end. Thread-safe.
    virtual void apply(std::vector<std::string>& tokens) const = 0;
};

/// @param component  null object: tokens with a space between them.
/// @throws Error{invalid_argument} naming a component that is not supported; Error{corrupt_data}.
std::unique_ptr<Decoder> make_decoder(const Component* component);

}  // namespace lockstep
