// tests/fuzz/support/fuzz_tokenizer.h
//
// A tokenizer that was read is also used.

#pragma once

#include <stdexcept>
#include <vector>

#include "io/tokenizer/tokenizer_files.h"
#include "tests/fuzz/support/fuzz_target.h"

namespace lockstep::fuzz {

inline void use_tokenizer(const Tokenizer& tokenizer, std::string_view text) {
    std::vector<std::uint32_t> ids;
    read_or_refuse([&] { tokenizer.encode(text, ids); });
    read_or_refuse([&] {
        std::vector<std::uint32_t> again;
        std::vector<TokenOffsets> offsets;
        tokenizer.encode_with_offsets(text, again, offsets);
        if (again != ids || offsets.size() != ids.size()) throw std::logic_error("offsets of other ids");
        for (const TokenOffsets& token : offsets)
            if (token.begin > token.end || token.end > text.size())
                throw std::logic_error("offsets beyond the text");
    });
    read_or_refuse([&] { tokenizer.decode(ids); });
    read_or_refuse([&] {
        tokenizer.ids_before();
        tokenizer.ids_after();
        tokenizer.fingerprint();
        make_tokenizer_from_description(tokenizer.description_json());
    });
}

}  // namespace lockstep::fuzz
