// io/tokenizer/pipeline/aligned_text.h
//
// A text on its way through the normalizers that knows for each of its bytes from
// which part of the original it came. What counts as that part where characters
// are made, moved or swallowed is as the reference engine has it.

#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/unicode/normalization.h"

namespace lockstep {

struct AlignedText {
    /// The original itself, a part of a text that begins at `begins_at` there. @pre valid UTF-8.
    AlignedText(std::string_view original, std::size_t begins_at);
    /// No text yet.
    explicit AlignedText(std::size_t begins_at) : original_begin(begins_at) {}

    std::string text;
    std::vector<TokenOffsets> origins;  ///< (text.size()) The bytes of a character have the same.
    std::size_t original_begin;

    /// What is put in before the byte `at` comes from the character before that, or from none.
    TokenOffsets origin_before(std::size_t at) const {
        return at == 0 ? TokenOffsets{original_begin, original_begin} : origins[at - 1];
    }

    void append(std::string_view more, TokenOffsets origin);
    /// [begin, end) of another text with the same original.
    void append(const AlignedText& other, std::size_t begin, std::size_t end);

    /// Becomes the text that `changes` lists.
    void transform(std::span<const CharacterChange> changes);
};

/// The part of a text that some of its bytes, one or more, came from.
inline TokenOffsets origin_of(std::span<const TokenOffsets> origins) {
    return {origins.front().begin, origins.back().end};
}

}  // namespace lockstep
