// plan/plan_view.h
//
// A plan of which only the head is at hand; its rows are fetched a chunk at a time, from
// memory or from a mapped file. Whatever asks something of a whole plan asks a view, and
// so holds no rows of its own.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "plan/batch_plan.h"
#include "plan/plan_chunk.h"

namespace lockstep {

struct PlanView {
    const BatchPlan* head = nullptr;  ///< Fingerprints, epochs, options, sources; body columns unused.
    std::uint64_t num_packs = 0;
    std::uint64_t num_segments = 0;
    /// Chunk `index` of head->fingerprints.chunk_begin. What it borrows may be gone with the next call. Its
    /// offsets are the plan's own, which all but first_difference rely on.
    std::function<PlanChunkColumns(std::size_t index)> chunk;

    std::uint64_t num_steps() const { return head->fingerprints.chunk_begin.back(); }
    std::size_t num_chunks() const { return head->fingerprints.chunks.size(); }
};

/// Borrows `plan`, of sound structure (plan_structure.h).
PlanView view_of(const BatchPlan& plan);

/// All of it in memory.
BatchPlan plan_of(const PlanView& view);

/// The steps of a view one by one, in any order; in ascending order each chunk is fetched once.
class PlanSteps {
  public:
    explicit PlanSteps(PlanView plan) : plan_(std::move(plan)) {}
    const PlanView& plan() const { return plan_; }

    /// Step `step` alone. @pre step < plan().num_steps(). Borrows until the next call.
    PlanChunkColumns at(std::uint64_t step);

  private:
    PlanView plan_;
    PlanChunkColumns chunk_;
    bool fetched_ = false;
};

}  // namespace lockstep
