// io/base/hex.h
//
// Bytes as lower-case hexadecimal digits, and back.

#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

std::string to_hex(std::span<const std::byte> bytes);

/// @return false unless `text` is exactly 2·bytes.size() hexadecimal digits.
bool from_hex(std::string_view text, std::span<std::byte> bytes);

}  // namespace lockstep
