#include "plan/batch_plan.h"

#include <algorithm>

#include "io/base/contract.h"

namespace lockstep {

std::uint64_t BatchPlan::pack_tokens(std::uint64_t pack) const {
    LOCKSTEP_EXPECTS(pack < num_packs());
    std::uint64_t tokens = 0;
    for (std::uint64_t s = pack_begin[pack]; s < pack_begin[pack + 1]; ++s) tokens += segment_tokens[s];
    return tokens;
}

std::uint64_t BatchPlan::epoch_of(std::uint64_t step) const {
    LOCKSTEP_EXPECTS(step <= num_steps());
    // The last epoch that begins at or before the step: an epoch may be empty.
    const auto after = std::upper_bound(epoch_begin.begin(), epoch_begin.end(), step);
    return static_cast<std::uint64_t>(after - epoch_begin.begin()) - 1;
}

}  // namespace lockstep
