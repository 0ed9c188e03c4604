// io/tokenizer/unicode/normalization.h
//
// The four Unicode normalization forms, lower-casing, and grapheme clusters, over
// the project's tables.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep {

enum class NormalizationForm : std::uint8_t { nfc, nfd, nfkc, nfkd };

/// @pre text is valid UTF-8.
std::string normalized_form(std::string_view text, NormalizationForm form);

/// Character by character; no rule looks at neighbours (final sigma stays plain).
std::string lower_case(std::string_view text);

/// Length in bytes of the extended grapheme cluster that `text` begins with. Consonant conjuncts are not
/// joined: such clusters are longer than anything asked for here.
/// @pre text is valid UTF-8 and not empty.
std::size_t grapheme_bytes(std::string_view text);

}  // namespace lockstep
