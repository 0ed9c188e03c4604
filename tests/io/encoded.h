// tests/io/encoded.h

#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "io/tokenizer/tokenizer.h"

namespace lockstep {

inline std::vector<std::uint32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<std::uint32_t> ids;
    tokenizer.encode(text, ids);
    return ids;
}

}  // namespace lockstep
