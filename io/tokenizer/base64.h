// io/tokenizer/base64.h

#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lockstep {

/// Standard alphabet with its padding. Nothing if it is anything else.
std::optional<std::string> base64_decoded(std::string_view text);
std::string base64_encoded(std::string_view bytes);

}  // namespace lockstep
