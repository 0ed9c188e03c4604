// io/base/blanks.h
//
// What counts as white space in documents: ASCII's, whatever the locale.

#pragma once

#include <string_view>

namespace lockstep {

inline constexpr std::string_view blanks = " \t\r\n\v\f";

inline bool is_blank(std::string_view text) {
    return text.find_first_not_of(blanks) == std::string_view::npos;
}

}  // namespace lockstep
