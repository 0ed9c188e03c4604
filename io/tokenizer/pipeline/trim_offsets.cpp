#include "io/tokenizer/pipeline/trim_offsets.h"

#include <algorithm>

#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

struct Spaces {
    std::size_t leading = 0, trailing = 0;  ///< [characters]
};

Spaces spaces_of(std::string_view token) {
    const char32_t mapped_space = character_of_byte(' ');
    Spaces spaces;
    bool only_spaces = true;
    for (std::size_t at = 0; at < token.size();) {
        const char32_t c = take_code_point(token, at);
        if (c == mapped_space || properties_of(c).is_white_space()) {
            spaces.leading += only_spaces ? 1U : 0U;
            ++spaces.trailing;
        } else {
            only_spaces = false;
            spaces.trailing = 0;
        }
    }
    return spaces;
}

bool is_inside_character(char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

std::size_t forward(std::string_view text, std::size_t at, std::size_t characters) {
    for (; characters > 0 && at < text.size(); --characters) {
        do {
            ++at;
        } while (at < text.size() && is_inside_character(text[at]));
    }
    return at;
}

/// @return false if there are not so many characters before `at`.
bool back(std::string_view text, std::size_t& at, std::size_t characters) {
    for (; characters > 0; --characters) {
        if (at == 0) return false;
        do {
            --at;
        } while (at > 0 && is_inside_character(text[at]));
    }
    return true;
}

}  // namespace

TokenOffsets trimmed(TokenOffsets offsets, const OffsetTrimming& trimming, std::string_view token,
                     bool is_first, std::string_view text) {
    const Spaces spaces = spaces_of(token);
    // The reference takes every token that begins where the text does for the first.
    const bool put_there = trimming.prefix_space && spaces.leading == 1 && (is_first || offsets.begin == 0);
    if (!put_there) offsets.begin = std::min(forward(text, offsets.begin, spaces.leading), offsets.end);
    std::size_t end = offsets.end;
    if (back(text, end, spaces.trailing)) offsets.end = std::max(end, offsets.begin);
    return offsets;
}

}  // namespace lockstep
