// worker/generation_cost.h
//
// What a generation cost, as one rank saw it.

#pragma once

#include <cstdint>

namespace lockstep {

struct GenerationCost {
    std::uint64_t step = 0;        ///< Steps it covers.
    std::uint64_t bytes = 0;       ///< Of all shards [bytes]; rank 0 alone.
    double waited_seconds = 0;     ///< The loop, for the generation before to be durable [s].
    double copy_seconds = 0;       ///< The loop, copying the shard [s].
    double stall_seconds = 0;      ///< The loop, in all, the two above included [s].
    double write_seconds = 0;      ///< This rank's thread: shard written, hashed, synced [s].
    double durable_seconds = 0;    ///< From the snapshot to the manifest's rename [s]; rank 0 alone.
    double processor_seconds = 0;  ///< This rank's thread, on a processor [s]; on rank 0 the manifest too.
};

}  // namespace lockstep
