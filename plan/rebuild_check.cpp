// The strictest thing that can be said of a plan: that it is the one its options give.

#include <algorithm>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "plan/batch_plan.h"
#include "plan/plan_diff.h"

namespace lockstep {

std::string check_rebuilt_plan(const BatchPlan& plan, std::span<const SourceLengths> sources) {
    if (plan.parent) return "it is a revision";
    if (sources.size() != plan.sources.size()) return "not all its sources are given";
    std::vector<SourceLengths> shared(sources.begin(), sources.end());
    for (std::size_t i = 0; i < shared.size(); ++i) {
        shared[i].source = plan.sources[i];
        // Targets were counted, or not, when the plan was built.
        if (plan.pack_targets.empty()) shared[i].lengths_only = true;
    }
    const bool by_score = plan.options.order == PackOrder::score_stages;
    if (by_score &&
        std::ranges::any_of(sources, [](const SourceLengths& s) { return s.sample_score.empty(); }))
        return "its order is by score, and a source has none";
    const BatchPlan rebuilt = build_plan(plan.options, shared);
    if (rebuilt.algorithms != plan.algorithms) return "it was made by another version's algorithms";
    if (rebuilt.fingerprints.plan == plan.fingerprints.plan) return {};
    std::string difference = "its settings";
    if (const auto first = first_difference(view_of(plan), view_of(rebuilt))) difference = first->text();
    throw Error(ErrorCode::fingerprint_mismatch,
                "plan: it is not what its options give for these sources: " + difference +
                    " when built again; it was edited or made by a faulty build");
}

}  // namespace lockstep
