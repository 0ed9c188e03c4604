// tests/worker/small_batch.h

#pragma once

#include <cstdint>

#include "worker/packed_batch.h"

namespace lockstep {

/// Three tokens in two segments, one of them with a target.
inline PackedBatch small_batch(std::uint64_t step) {
    PackedBatch batch;
    batch.step = step;
    batch.pack = 7;
    batch.token_ids = {1, 2, 3};
    batch.position_ids = {0, 1, 0};
    batch.targets = {2, -1, -1};
    batch.cu_seqlens = {0, 2, 3};
    batch.num_targets = 1;
    return batch;
}

}  // namespace lockstep
