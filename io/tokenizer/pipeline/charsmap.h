// io/tokenizer/pipeline/charsmap.h
//
// SentencePiece's precompiled character map: a double array over the replaced
// strings, then the replacements, each ended by a NUL.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/pipeline/component.h"

namespace lockstep {

class Charsmap {
  public:
    /// Reads `precompiled_charsmap` (base64). @throws Error{corrupt_data}.
    explicit Charsmap(const Component& component);

    /// The replacement of the shortest key that `text` begins with: what the reference engine takes for all
    /// of `text`.
    bool find(std::string_view text, std::string_view& replacement) const;

  private:
    std::vector<std::uint32_t> units_;
    std::string replacements_;
};

}  // namespace lockstep
