// io/tokenizer/pipeline/normalizer.h
//
// Text before it is cut: the normalizers of a tokenizer.json.

#pragma once

#include <memory>
#include <string>

#include "io/tokenizer/pipeline/aligned_text.h"
#include "io/tokenizer/pipeline/component.h"

namespace lockstep {

class Normalizer {
  public:
    virtual ~Normalizer() = default;
    /// @pre valid UTF-8, and so it stays. Thread-safe.
    virtual void apply(std::string& text) const = 0;
    /// The same text, and where it came from.
    virtual void apply(AlignedText& text) const = 0;
};

/// @throws Error{invalid_argument} naming a component that is not supported; Error{corrupt_data}.
std::unique_ptr<Normalizer> make_normalizer(const Component& component);

}  // namespace lockstep
