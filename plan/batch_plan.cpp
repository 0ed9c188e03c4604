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
    LOCKSTEP_EXPECTS(step <= epoch_begin.back());
    // The last epoch that begins at or before the step: an epoch may be empty.
    const auto after = std::upper_bound(epoch_begin.begin(), epoch_begin.end(), step);
    return static_cast<std::uint64_t>(after - epoch_begin.begin()) - 1;
}

bool samples_are_narrow(std::span<const PlanSource> sources) {
    constexpr std::uint64_t limit = std::uint64_t{1} << 32U;
    std::uint64_t num_samples = 0;
    for (const PlanSource& source : sources) {
        if (source.num_samples > limit - num_samples) return false;
        num_samples += source.num_samples;
    }
    return true;
}

std::size_t BatchPlan::source_of(std::uint64_t sample) const {
    std::size_t source = sources.size() - 1;
    while (source > 0 && sources[source].sample_base > sample) --source;
    return source;
}

BatchPlan head_of(const BatchPlan& plan) {
    BatchPlan head;
    head.options = plan.options;
    head.algorithms = plan.algorithms;
    head.sources = plan.sources;
    head.epoch_begin = plan.epoch_begin;
    head.dispositions = plan.dispositions;
    head.parent = plan.parent;
    head.from_step = plan.from_step;
    head.fingerprints = plan.fingerprints;
    return head;
}

}  // namespace lockstep
