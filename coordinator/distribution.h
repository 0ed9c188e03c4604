// coordinator/distribution.h
//
// How a plan reaches the ranks: rank 0 broadcasts a header with the assignment
// (step → packs of each rank) and sends each rank only its own slices, verified on
// arrival. Window by window, so that nothing is O(plan) on a worker.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "io/comm/communicator.h"
#include "plan/batch_plan.h"
#include "plan/plan_diff.h"
#include "plan/plan_slice.h"

namespace lockstep {

/// Most steps of one window; windows end at multiples of this.
inline constexpr std::uint64_t window_steps = 256;

/// A plan as rank 0 serves it: chunk by chunk, so that what it holds does not grow with the plan.
struct ServedPlan {
    PlanView view;  ///< Borrows the plan, in memory or a PlanFile.
    PlanTotals totals;
    std::vector<PlanSource> bound;  ///< Its sources as bind_sources returned them.
    /// Targets of a segment, where the plan does not count them (lengths alone).
    std::function<std::uint64_t(std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens)> targets;

    PlanSummary summary() const { return summarize(*view.head, view.num_packs, totals); }
};

class PlanDistribution {
  public:
    /// Collective. Announces the plan.
    /// @param plan  on rank 0 the plan, checked and bound (plan_store.h); none elsewhere.
    PlanDistribution(Communicator& comm, std::optional<ServedPlan> plan);

    const PlanSummary& summary() const { return summary_; }
    const std::vector<PlanSource>& sources() const { return sources_; }

    /// Collective. The window that begins with `step`.
    /// @throws on every rank if any rank's slice does not arrive as it was sent.
    StepWindow fetch(std::uint64_t step);

  private:
    Communicator& comm_;
    std::optional<ServedPlan> plan_;
    PlanSummary summary_;
    std::vector<PlanSource> sources_;
};

/// Rank 0's whole view of some steps as one slice, for looking at a plan with one rank.
/// @throws Error{corrupt_data} if a pack is larger than the totals say; what the view's chunks throw.
StepWindow window_of(const ServedPlan& plan, std::uint64_t step_begin, std::uint64_t step_end);

}  // namespace lockstep
