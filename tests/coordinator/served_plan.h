// tests/coordinator/served_plan.h

#pragma once

#include <utility>
#include <vector>

#include "coordinator/distribution.h"

namespace lockstep {

/// A plan in memory, borrowed, as rank 0 serves one from its file.
inline ServedPlan serve(const BatchPlan& plan, std::vector<PlanSource> bound) {
    return {view_of(plan), totals_of(plan), std::move(bound), {}};
}

}  // namespace lockstep
