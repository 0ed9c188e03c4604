// io/tokenizer/unicode/scripts.h
//
// Scripts that patterns may name, and the characters that Unicode 15, 15.1 and
// 16 added to them: the reference engine knows these, the distribution's PCRE2
// does not yet.

#pragma once

#include <string_view>

namespace lockstep {

/// The script of a name ("Han"), however its letters are capitalized and divided; empty if there is none.
std::string_view script_named(std::string_view name);

/// Whether the character is a newer one of that script. @param script  as `script_named` gives it.
bool is_newer_of_script(char32_t code_point, std::string_view script);

}  // namespace lockstep
