// coordinator/distribution.h
//
// How a plan reaches the ranks: rank 0 broadcasts a header with the assignment
// (step → packs of each rank) and sends each rank only its own slices, verified on
// arrival. Window by window, so that nothing is O(plan) on a worker.

#pragma once

#include <cstdint>
#include <vector>

#include "io/comm/communicator.h"
#include "plan/batch_plan.h"
#include "plan/plan_slice.h"

namespace lockstep {

/// Most steps of one window; windows end at multiples of this.
inline constexpr std::uint64_t window_steps = 256;

class PlanDistribution {
  public:
    /// Collective. Announces the plan.
    /// @param plan   on rank 0 the plan, checked and bound (plan_store.h), borrowed; null elsewhere.
    /// @param bound  on rank 0 its sources as bind_plan returned them; ignored elsewhere.
    PlanDistribution(Communicator& comm, const BatchPlan* plan, std::vector<PlanSource> bound);

    const PlanSummary& summary() const { return summary_; }
    const std::vector<PlanSource>& sources() const { return sources_; }

    /// Collective. The window that begins with `step`.
    /// @throws on every rank if any rank's slice does not arrive as it was sent.
    StepWindow fetch(std::uint64_t step);

  private:
    Communicator& comm_;
    const BatchPlan* plan_;
    PlanSummary summary_;
    std::vector<PlanSource> sources_;
};

/// Rank of every pack of steps [step_begin, step_end), in plan order: assign_packs, step by step.
std::vector<Rank> assign_window(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end,
                                WorldSize world_size);

/// Rank 0's whole view of some steps as one slice, for looking at a plan with one rank.
StepWindow window_of(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end);

}  // namespace lockstep
