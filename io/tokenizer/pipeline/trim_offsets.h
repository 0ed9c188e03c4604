// io/tokenizer/pipeline/trim_offsets.h
//
// `trim_offsets` of the ByteLevel and Roberta post-processors: white space at the
// ends of a token is taken out of its offsets.

#pragma once

#include <string_view>

#include "io/tokenizer/tokenizer.h"

namespace lockstep {

struct OffsetTrimming {
    /// A single space at the front of the first token is one that the pre-tokenizer put there.
    bool prefix_space = true;
};

/// @param token     as the vocabulary spells it, where a mapped space is one too.
/// @param is_first  of the text.
/// @param text      the whole; offsets move by its characters.
TokenOffsets trimmed(TokenOffsets offsets, const OffsetTrimming& trimming, std::string_view token,
                     bool is_first, std::string_view text);

}  // namespace lockstep
