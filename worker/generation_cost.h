// worker/generation_cost.h
//
// What a generation cost, as one rank saw it.

#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

struct GenerationCost {
    std::uint64_t step = 0;
    std::uint64_t bytes = 0;       ///< Of all shards; rank 0 only.
    double waited_seconds = 0;     ///< The loop, for the generation before to be durable.
    double copy_seconds = 0;       ///< The loop, copying the shard.
    double stall_seconds = 0;      ///< The loop, in all.
    double write_seconds = 0;      ///< This rank's thread: shard written, hashed, synced.
    double durable_seconds = 0;    ///< From the snapshot's beginning to the manifest's rename.
    double processor_seconds = 0;  ///< This rank's thread.
};

/// One line of generations.jsonl, without the line end.
std::string to_json(const GenerationCost& cost);

}  // namespace lockstep
