// tests/support/sentencepiece_fields.h
//
// A SentencePiece model written by hand: the fields of its protocol buffer.

#pragma once

#include <string>

namespace lockstep {

/// @param bytes  fewer than 128.
inline std::string field(int number, const std::string& bytes) {
    return std::string{static_cast<char>(number * 8 + 2), static_cast<char>(bytes.size())} + bytes;
}

/// @param type  1 normal, 2 unknown, 3 control, …
inline std::string piece(const std::string& text, float score, int type) {
    std::string bytes = field(1, text) + static_cast<char>(2 * 8 + 5);
    bytes.append(reinterpret_cast<const char*>(&score), 4);
    return field(1, bytes + static_cast<char>(3 * 8) + static_cast<char>(type));
}

}  // namespace lockstep
