// io/tokenizer/byte_level.h
//
// The map of byte-level vocabularies: each byte as one printable character.
// Tokens are translated once, at load; texts stay bytes.

#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace lockstep {

/// The character that stands for a byte (U+0020 to U+0143 without controls and spaces).
char32_t character_of_byte(unsigned char byte);
/// Bytes of that character in UTF-8.
std::size_t mapped_size(unsigned char byte);

/// UTF-8 of the characters that stand for `bytes`.
std::string mapped_bytes(std::string_view bytes);
/// The bytes a token stands for; nothing if one of its characters stands for none.
std::optional<std::string> unmapped_bytes(std::string_view token);

}  // namespace lockstep
