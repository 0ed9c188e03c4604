// io/tokenizer/unicode/normalization.h
//
// The four Unicode normalization forms, lower-casing, and grapheme clusters, over
// the project's tables.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

enum class NormalizationForm : std::uint8_t { nfc, nfd, nfkc, nfkd };

/// @pre text is valid UTF-8.
std::string normalized_form(std::string_view text, NormalizationForm form);

/// A character of a changed text, and how many more characters there are with it than before: 0, it is in the
/// place of the next one of the old text; -n, of the next one and the n behind it; 1, of none.
struct CharacterChange {
    char32_t character;
    std::int32_t change;

    CharacterChange(char32_t c = 0, std::int32_t n = 0) : character(c), change(n) {}
};

/// The same, with the changes as the reference engine counts them: marks that change their order count as
/// staying where they are, and what is composed counts for its first character.
std::vector<CharacterChange> normalized_form_changes(std::string_view text, NormalizationForm form);

/// Character by character; no rule looks at neighbours (final sigma stays plain).
std::string lower_case(std::string_view text);
void append_lower_case(char32_t character, std::string& text);

/// Length in bytes of the extended grapheme cluster that `text` begins with. Consonant conjuncts are not
/// joined: such clusters are longer than anything asked for here.
/// @pre text is valid UTF-8 and not empty.
std::size_t grapheme_bytes(std::string_view text);

}  // namespace lockstep
