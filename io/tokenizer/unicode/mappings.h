// io/tokenizer/unicode/mappings.h
//
// Characters to characters: lower case, decompositions, compositions. Hangul
// syllables are computed by those who normalize and are not in these tables.

#pragma once

#include <span>

namespace lockstep {

// Empty: the character stays as it is. Decompositions are complete, not step by step.
std::span<const char32_t> lower_mapping(char32_t code_point);
std::span<const char32_t> canonical_mapping(char32_t code_point);
std::span<const char32_t> compatible_mapping(char32_t code_point);

/// 0: they do not compose.
char32_t composed_pair(char32_t first, char32_t second);

}  // namespace lockstep
