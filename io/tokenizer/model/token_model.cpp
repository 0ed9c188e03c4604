#include "io/tokenizer/model/token_model.h"

#include <cstdio>

namespace lockstep {

void TokenModel::encode_pieces(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                               ModelScratch& scratch, std::vector<std::uint32_t>& ids) const {
    scratch.cache.encode(text, begin, ends, ids,
                         [&](std::string_view piece) { encode_piece(piece, scratch, ids); });
}

std::string byte_token(unsigned byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte & 0xFFU);
    return text;
}

}  // namespace lockstep
