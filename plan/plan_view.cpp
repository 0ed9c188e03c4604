#include "plan/plan_view.h"

#include <algorithm>

#include "io/base/contract.h"

namespace lockstep {

PlanView view_of(const BatchPlan& plan) {
    return {&plan, plan.num_packs(), plan.num_segments(), [&plan](std::size_t index) {
                return chunk_of(plan, plan.fingerprints.chunk_begin[index],
                                plan.fingerprints.chunk_begin[index + 1]);
            }};
}

PlanChunkColumns PlanSteps::at(std::uint64_t step) {
    LOCKSTEP_EXPECTS(step < plan_.num_steps());
    if (!fetched_ || step < chunk_.first_step || step >= chunk_.first_step + chunk_.num_steps()) {
        const std::vector<std::uint64_t>& begin = plan_.head->fingerprints.chunk_begin;
        const auto after = std::upper_bound(begin.begin(), begin.end(), step);
        chunk_ = plan_.chunk(static_cast<std::size_t>(after - begin.begin()) - 1);
        fetched_ = true;
    }
    return steps_of(chunk_, step, step + 1);
}

}  // namespace lockstep
