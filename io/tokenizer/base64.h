// io/tokenizer/base64.h

#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lockstep {

/// Standard alphabet; padding may be missing. Nothing if a character does not belong.
std::optional<std::string> base64_decoded(std::string_view text);
std::string base64_encoded(std::string_view bytes);

}  // namespace lockstep
