// Statistics are looked at, not built upon: doubles and the order of summation are
// free here.

#include <algorithm>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/bucketing.h"
#include "plan/lazarus_plan.h"
#include "plan/packing.h"
#include "plan/shard.h"

namespace lockstep {

namespace {

/// Segments of the first epoch are [0, first_epoch_segments).
std::uint64_t first_epoch_segments(const BatchPlan& plan) {
    return plan.pack_begin[plan.step_begin[plan.epoch_begin[1]]];
}

double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

/// Sum over the steps of the slowest rank's cost, over the sum of the mean rank's.
double slowest_over_mean(const BatchPlan& plan, WorldSize world_size) {
    double slowest = 0;
    double total = 0;
    std::vector<double> load;
    for (std::uint64_t step = 0; step < plan.num_steps(); ++step) {
        const std::uint64_t begin = plan.step_begin[step];
        const auto costs = std::span(plan.pack_cost).subspan(begin, plan.step_begin[step + 1] - begin);
        const std::vector<Rank> rank_of = assign_packs(costs, world_size);
        load.assign(static_cast<std::size_t>(world_size.value), 0);
        for (std::size_t p = 0; p < costs.size(); ++p) {
            load[static_cast<std::size_t>(rank_of[p].value)] += static_cast<double>(costs[p]);
            total += static_cast<double>(costs[p]);
        }
        slowest += *std::max_element(load.begin(), load.end());
    }
    return ratio(slowest * world_size.value, total);
}

/// A segment of the first epoch, to be sorted back into arrival order.
struct Arrival {
    std::uint32_t offset;
    std::uint32_t tokens;
};

/// Segments of the first epoch by (sample, offset). Counted into place: pieces of one sample alone need
/// sorting.
std::vector<Arrival> arrivals_of(const BatchPlan& plan) {
    const std::uint64_t num_segments = first_epoch_segments(plan);
    const PlanSource& last = plan.sources.back();
    std::vector<std::uint64_t> next(last.sample_base + last.num_samples + 1, 0);
    for (std::uint64_t s = 0; s < num_segments; ++s) ++next[plan.segment_sample[s] + 1];
    for (std::size_t sample = 1; sample < next.size(); ++sample) next[sample] += next[sample - 1];
    std::vector<Arrival> arrivals(num_segments);
    for (std::uint64_t s = 0; s < num_segments; ++s) {
        arrivals[next[plan.segment_sample[s]]++] = {plan.segment_offset[s], plan.segment_tokens[s]};
    }
    std::uint64_t begin = 0;
    for (const std::uint64_t end : next) {  // Each has moved on to where the next sample begins.
        std::sort(arrivals.begin() + static_cast<std::ptrdiff_t>(begin),
                  arrivals.begin() + static_cast<std::ptrdiff_t>(end),
                  [](const Arrival& a, const Arrival& b) { return a.offset < b.offset; });
        begin = end;
    }
    return arrivals;
}

/// Segments in arrival order, cut greedily into batches whose padded size fits the budget.
double waste_of_padded_batches(const BatchPlan& plan) {
    std::uint64_t tokens = 0;
    std::uint64_t padded = 0;
    std::uint64_t batch_segments = 0;
    std::uint64_t longest = 0;
    for (const auto& [offset, length] : arrivals_of(plan)) {
        const std::uint64_t longest_with = std::max<std::uint64_t>(longest, length);
        if ((batch_segments + 1) * longest_with > plan.options.token_budget) {
            padded += batch_segments * longest;
            batch_segments = 0;
            longest = length;
        } else {
            longest = longest_with;
        }
        ++batch_segments;
        tokens += length;
    }
    padded += batch_segments * longest;
    return ratio(static_cast<double>(padded - tokens), static_cast<double>(padded));
}

std::vector<PlanStats::Bucket> stats_of_buckets(const BatchPlan& plan) {
    const LengthBuckets buckets(plan.options.bucket_edges, plan.options.bucket_overflow_max);
    std::vector<PlanStats::Bucket> stats(buckets.size());
    for (std::size_t b = 0; b < stats.size(); ++b) stats[b].upper = buckets.upper(b);
    for (std::uint64_t pack = 0; pack < plan.step_begin[plan.epoch_begin[1]]; ++pack) {
        PlanStats::Bucket& bucket = stats[plan.pack_bucket[pack]];
        bucket.samples += plan.pack_begin[pack + 1] - plan.pack_begin[pack];
        bucket.tokens += plan.pack_tokens(pack);
        bucket.pad_tokens += plan.pack_pad_tokens[pack];
    }
    return stats;
}

}  // namespace

// The plan alone says everything asked for so far.
PlanStats plan_stats(const BatchPlan& plan, std::span<const SourceLengths> /*sources*/) {
    PlanStats stats;
    for (const PlanSource& source : plan.sources) stats.samples += source.num_samples;
    stats.segments = plan.num_segments();
    stats.packs = plan.num_packs();
    stats.steps = plan.num_steps();
    stats.epochs = plan.num_epochs();
    for (std::uint64_t s = 0; s < plan.num_segments(); ++s) {
        stats.planned_tokens += plan.segment_tokens[s];
        if (plan.segment_offset[s] > 0) ++stats.overlap_tokens;
    }
    for (const std::uint32_t targets : plan.pack_targets) stats.targets += targets;

    LengthClasses classes =
        classify_lengths(std::span(plan.segment_tokens).first(first_epoch_segments(plan)));
    // Lazarus mode: a segment over the budget has a pack of its own.
    for (std::uint32_t& tokens : classes.tokens) tokens = std::min(tokens, plan.options.token_budget);
    stats.packs_lower_bound = packs_lower_bound(
        classes.tokens, classes.sizes(), {plan.options.token_budget, plan.options.segments_per_pack_max});
    stats.packs_first_epoch = plan.step_begin[plan.epoch_begin[1]];
    stats.utilization = ratio(static_cast<double>(stats.planned_tokens),
                              static_cast<double>(stats.packs) * plan.options.token_budget);
    stats.padding_waste_padded = waste_of_padded_batches(plan);
    stats.packing_ratio = ratio(static_cast<double>(stats.segments), static_cast<double>(stats.packs));
    for (const int world_size : {1, 2, 4, 8, 16, 32, 64}) {
        stats.balance.push_back(
            {static_cast<std::uint64_t>(world_size), slowest_over_mean(plan, WorldSize{world_size})});
    }
    if (plan.options.mode == PlanMode::bucket) stats.buckets = stats_of_buckets(plan);
    add_lazarus_stats(plan, stats);

    stats.dispositions_by_kind.assign(static_cast<std::size_t>(DispositionKind::no_target) + 1, 0);
    stats.dispositions_by_kind[0] = stats.samples - plan.dispositions.size();
    for (const Disposition& row : plan.dispositions)
        ++stats.dispositions_by_kind[static_cast<std::size_t>(row.kind)];
    return stats;
}

}  // namespace lockstep
