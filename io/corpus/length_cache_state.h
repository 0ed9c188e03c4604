// io/corpus/length_cache_state.h
//
// What a LengthCache looks at: columns of its own or a file's map.

#pragma once

#include <mutex>
#include <optional>

#include "io/columns/column_file.h"
#include "io/corpus/length_cache.h"

namespace lockstep {

struct LengthCache::State {
    LengthColumns owned;             ///< Empty when `file` is there.
    std::optional<ColumnFile> file;  ///< lengths.h5
    std::string tokenizer_hash;
    std::span<const std::uint32_t> sample_tokens;
    std::span<const std::uint64_t> key_begin;
    std::span<const char> key_bytes;
    std::span<const std::uint32_t> loss_tokens;
    std::span<const double> sample_score;
    std::uint64_t num_tokens = 0;
    // Of a file as it says, of own columns when first asked for: hashing takes longer than parsing.
    mutable Fingerprint lengths_fingerprint;
    mutable std::once_flag fingerprint_known;
};

}  // namespace lockstep
