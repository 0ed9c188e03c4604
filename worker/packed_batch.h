// worker/packed_batch.h
//
// One pack as the kernels read it.

#pragma once

#include <cstdint>
#include <vector>

namespace lockstep {

struct PackedBatch {
    std::uint64_t step = 0;
    std::uint64_t pack = 0;                   ///< Of the whole plan.
    std::vector<std::uint32_t> token_ids;     ///< (T)
    std::vector<std::uint32_t> position_ids;  ///< (T) from 0 in each segment.
    std::vector<std::int32_t> targets;        ///< (T) the next token of the same segment, or ignored_target.
    std::vector<std::int32_t> cu_seqlens;     ///< (segments + 1) first 0, last T.
    std::uint32_t num_targets = 0;

    std::size_t num_tokens() const { return token_ids.size(); }
};

}  // namespace lockstep
