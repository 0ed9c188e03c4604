// io/tokenizer/utf8.h
//
// UTF-8, strictly: no overlong forms, no surrogates, nothing beyond U+10FFFF. What
// is none is refused, or replaced where that is asked for.

#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lockstep {

/// The code point that begins at `offset`, which moves behind it.
/// @pre offset < text.size()
/// @throws Error{corrupt_data} naming the byte offset.
char32_t take_code_point(std::string_view text, std::size_t& offset);

/// @throws Error{corrupt_data} naming the byte offset of the first invalid sequence.
void expect_valid_utf8(std::string_view text);

/// Bytes as text: each longest run that begins a character but does not finish one becomes U+FFFD, and so
/// does every byte that begins none. So do the Encoding Standard (WHATWG) and the reference engines.
std::string lossy_utf8(std::string_view bytes);

/// @pre a code point other than a surrogate, at most U+10FFFF.
void append_utf8(char32_t code_point, std::string& text);

constexpr bool is_scalar_value(char32_t code_point) {
    return code_point < 0xD800 || (code_point > 0xDFFF && code_point <= 0x10FFFF);
}

}  // namespace lockstep
