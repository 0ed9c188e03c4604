// io/tokenizer/regex_translation.h
//
// Patterns of tokenizer files are written for Oniguruma and run in PCRE2. What
// both read alike is passed on, what they read differently is written another
// way, and everything else is refused by name: there is no pattern whose pieces
// are nearly right.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

struct RegexTranslation {
    std::string text;  ///< For PCRE2, in the modes UTF, UCP and MULTILINE.

    // What the pattern asks of a character beyond its category and whether it belongs to words.
    struct Range {
        char32_t first, last;
    };
    std::vector<Range> ranges;         ///< Spelled out; from U+0080 on.
    std::vector<std::string> scripts;  ///< By the names of `script_names`.
};

/// @throws Error{corrupt_data} naming the pattern and what is wrong with it, or what is not supported.
RegexTranslation translated_regex(std::string_view pattern);

/// @throws Error{corrupt_data} naming the pattern.
[[noreturn]] void refuse_pattern(std::string_view pattern, const std::string& why);

}  // namespace lockstep
