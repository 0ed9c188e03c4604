#include "io/tokenizer/model/token_model.h"

#include <cstdio>

namespace lockstep {

void TokenModel::encode_pieces(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                               ModelScratch& scratch, std::vector<std::uint32_t>& ids) const {
    for (const std::size_t end : ends) {
        const std::string_view piece = text.substr(begin, end - begin);
        if (piece.size() > WordCache::key_bytes_max) {
            encode_piece(piece, scratch, ids);
        } else {
            const WordCache::Key key = WordCache::key_of(piece, text.size() - begin);
            const auto known = scratch.cache.find(key);
            if (!known.empty()) {
                ids.insert(ids.end(), known.begin(), known.end());
            } else {
                const std::size_t first = ids.size();
                encode_piece(piece, scratch, ids);
                scratch.cache.put(key, std::span(ids).subspan(first));
            }
        }
        begin = end;
    }
}

std::string byte_token(unsigned byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte & 0xFFU);
    return text;
}

}  // namespace lockstep
