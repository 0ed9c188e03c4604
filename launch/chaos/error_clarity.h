// launch/chaos/error_clarity.h
//
// Whether a user can act on the error of a damaged file, judged by its words.

#pragma once

#include <string>

namespace lockstep {

/// Why the text is not one line that names what in a file is wrong and tells what was found before what was
/// expected; empty: it is one. Which file it leads to is not judged; paths do not count as words.
std::string why_unclear(const std::string& text);

/// The same without the words: one line of 20 to 2,000 bytes.
std::string why_not_one_line(const std::string& text);

}  // namespace lockstep
