// worker/worker_hooks.h
//
// Places where a test can look into, disturb or kill a worker. Empty in the
// shipped program; tests/end_to_end/ builds its own main that sets them, so that
// the proof can be shown to have teeth.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "plan/plan_slice.h"
#include "worker/packed_batch.h"

namespace lockstep {

struct WorkerHooks {
    /// Entered a phase of a step: "forward", "exchange", "update", "all-gather", "save"; or "load", the
    /// generation of that step.
    std::function<void(std::string_view phase, std::uint64_t step)> on_phase;
    /// Which packs (indices into slice.pack) this rank is about to compute.
    std::function<void(const PlanSlice& slice, std::uint64_t step, std::vector<std::size_t>& packs)> on_packs;
    /// A batch as replayed, before its digest is taken and the kernels read it.
    std::function<void(PackedBatch& batch)> on_batch;
    /// A batch after its digest was taken, before the kernels read it.
    std::function<void(PackedBatch& batch)> on_digested_batch;
    /// A pack's gradient before it is added to the exact sum. `attempt` counts recomputations of the step
    /// from 0.
    std::function<void(const PackedBatch& batch, int attempt, std::span<float> gradient)> on_gradient;
    /// True: this pack's gradient is not added.
    std::function<bool(const PackedBatch& batch)> drop_gradient;
};

}  // namespace lockstep
