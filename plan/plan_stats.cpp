#include "plan/plan_stats.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <variant>

#include "io/base/contract.h"
#include "plan/bucketing.h"
#include "plan/lazarus/plan.h"
#include "plan/mixture.h"
#include "plan/packing.h"

namespace lockstep {

namespace {

constexpr std::uint32_t world_sizes[] = {1, 2, 4, 8, 16, 32, 64};
constexpr std::size_t largest_world = std::ranges::max(world_sizes);
constexpr std::uint32_t counted_lengths = 1U << 16U;

double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

/// `visit`(sample, offset, tokens) for every segment of the first epoch.
template <class Visit>
void for_first_epoch(const PlanView& plan, const Visit& visit) {
    const PlanFingerprints& tree = plan.head->fingerprints;
    for (std::size_t c = 0; tree.chunk_begin[c] < plan.head->epoch_begin[1]; ++c) {
        const PlanChunkColumns chunk = plan.chunk(c);
        std::visit(
            [&](auto samples) {
                for (std::size_t s = 0; s < samples.size(); ++s)
                    visit(samples[s], chunk.segment_offset[s], chunk.segment_tokens[s]);
            },
            chunk.segment_sample);
    }
}

/// Lengths of the segments of the first epoch by (sample, offset), as often as it holds them.
std::vector<std::uint32_t> arrivals_of(const PlanView& plan) {
    const PlanSource& last = plan.head->sources.back();
    const std::uint64_t num_samples = last.sample_base + last.num_samples;
    std::vector<std::uint32_t> tokens(num_samples, 0);
    std::uint64_t num_segments = 0;
    bool one_each = true;
    for_first_epoch(plan, [&](std::uint64_t sample, std::uint32_t, std::uint32_t length) {
        one_each &= tokens[sample] == 0;
        tokens[sample] = length;
        ++num_segments;
    });
    if (one_each) {
        std::erase(tokens, 0U);
        return tokens;
    }
    tokens = {};
    // Counted into place: segments of one sample alone need sorting.
    struct Arrival {
        std::uint32_t offset;
        std::uint32_t tokens;
    };
    std::vector<std::uint64_t> next(num_samples + 1, 0);
    for_first_epoch(plan, [&](std::uint64_t sample, std::uint32_t, std::uint32_t) { ++next[sample + 1]; });
    for (std::size_t sample = 1; sample < next.size(); ++sample) next[sample] += next[sample - 1];
    std::vector<Arrival> arrivals(num_segments);
    for_first_epoch(plan, [&](std::uint64_t sample, std::uint32_t offset, std::uint32_t length) {
        arrivals[next[sample]++] = {offset, length};
    });
    std::uint64_t begin = 0;
    for (const std::uint64_t end : next) {  // Each has moved on to where the next sample begins.
        std::sort(arrivals.begin() + static_cast<std::ptrdiff_t>(begin),
                  arrivals.begin() + static_cast<std::ptrdiff_t>(end),
                  [](const Arrival& a, const Arrival& b) { return a.offset < b.offset; });
        begin = end;
    }
    std::vector<std::uint32_t> lengths(arrivals.size());
    for (std::size_t i = 0; i < lengths.size(); ++i) lengths[i] = arrivals[i].tokens;
    return lengths;
}

/// Segments in arrival order, cut greedily into batches whose padded size fits the budget.
struct PaddedBatches {
    std::uint64_t segments = 0, longest = 0;  ///< Of the batch that is open.
    std::uint64_t padded = 0;                 ///< Tokens of those that are closed.

    /// Without branches: where a batch ends nobody guesses.
    void add(std::uint64_t length, std::uint64_t token_budget) {
        const std::uint64_t longest_with = std::max(longest, length);
        const std::uint64_t full =
            0 - std::uint64_t{(segments + 1) * longest_with > token_budget};  // A mask.
        padded += full & (segments * longest);
        segments = (segments & ~full) + 1;
        longest = longest_with ^ ((longest_with ^ length) & full);
    }
    void close() {
        padded += segments * longest;
        segments = longest = 0;
    }
};

/// Each cut hangs on the one before. So that a processor has more than one to think of, parts of the lengths
/// are cut side by side, each as if it began a batch; a part's cuts are the right ones from where the batches
/// that reach into it meet its own.
std::uint64_t tokens_of_padded_batches(std::span<const std::uint32_t> lengths, std::uint32_t token_budget) {
    constexpr std::size_t num_parts = 8;
    const std::size_t part_segments = lengths.size() / num_parts;
    std::array<PaddedBatches, num_parts> parts;
    for (std::size_t i = 0; i < part_segments; ++i) {
        for (std::size_t p = 0; p < num_parts; ++p)
            parts[p].add(lengths[p * part_segments + i], token_budget);
    }
    PaddedBatches batches = parts[0];
    for (std::size_t p = 1; p < num_parts; ++p) {
        PaddedBatches own;
        for (const std::uint64_t length : lengths.subspan(p * part_segments, part_segments)) {
            batches.add(length, token_budget);
            own.add(length, token_budget);
            if (batches.segments != own.segments || batches.longest != own.longest) continue;
            batches = {parts[p].segments, parts[p].longest, batches.padded + parts[p].padded - own.padded};
            break;
        }
    }
    for (const std::uint64_t length : lengths.subspan(num_parts * part_segments))
        batches.add(length, token_budget);
    batches.close();
    return batches.padded;
}

std::uint64_t count_positive(std::span<const std::uint32_t> values) {
    constexpr std::size_t block = 1U << 16U;  // Counted in 32 bits, as wide as the values.
    std::uint64_t total = 0;
    for (std::size_t begin = 0; begin < values.size(); begin += block) {
        std::uint32_t positive = 0;
        for (const std::uint32_t value : values.subspan(begin, std::min(block, values.size() - begin)))
            positive += value > 0 ? 1U : 0U;
        total += positive;
    }
    return total;
}

}  // namespace

PlanStatsBuilder::PlanStatsBuilder(const BatchPlan& head)
    : head_(head), length_count_(counted_lengths, 0), slowest_(std::size(world_sizes), 0) {
    for (const PlanSource& source : head.sources) stats_.samples += source.num_samples;
    stats_.epochs = head.num_epochs();
    if (head.options.mode == PlanMode::bucket) {
        const LengthBuckets buckets(head.options.bucket_edges, head.options.bucket_overflow_max);
        for (std::size_t b = 0; b < buckets.size(); ++b)
            stats_.buckets.push_back({buckets.upper(b), 0, 0, 0});
    }
    if (!is_mixture(head.sources)) return;
    double weights = 0;
    for (const PlanSource& source : head.sources) weights += static_cast<double>(source.weight);
    for (const PlanSource& source : head.sources) {
        weight_share_.push_back(ratio(static_cast<double>(source.weight), weights));
        stats_.shares.push_back({source.name, 0, 0, weight_share_.back(), 0});
    }
}

void PlanStatsBuilder::add(const PlanChunkColumns& chunk) {
    stats_.segments += chunk.num_segments();
    stats_.packs += chunk.num_packs();
    stats_.steps += chunk.num_steps();
    const bool first_epoch = chunk.first_step < head_.epoch_begin[1];
    const std::uint64_t tokens =
        std::accumulate(chunk.segment_tokens.begin(), chunk.segment_tokens.end(), std::uint64_t{0});
    stats_.planned_tokens += tokens;
    stats_.overlap_tokens += count_positive(chunk.segment_offset);
    if (chunk.pack_targets) {
        stats_.targets_known = true;
        stats_.targets +=
            std::accumulate(chunk.pack_targets->begin(), chunk.pack_targets->end(), std::uint64_t{0});
    }
    if (first_epoch) {
        stats_.packs_first_epoch += chunk.num_packs();
        tokens_first_epoch_ += tokens;
        count_lengths(chunk.segment_tokens);
        for (std::uint64_t p = 0; chunk.pack_bucket && p < chunk.num_packs(); ++p) {
            PlanStats::Bucket& bucket = stats_.buckets[(*chunk.pack_bucket)[p]];
            const std::uint64_t begin = chunk.pack_begin[p] - chunk.pack_begin[0];
            const std::uint64_t end = chunk.pack_begin[p + 1] - chunk.pack_begin[0];
            bucket.samples += end - begin;
            for (std::uint64_t s = begin; s < end; ++s) bucket.tokens += chunk.segment_tokens[s];
            bucket.pad_tokens += (*chunk.pack_pad_tokens)[p];
        }
    }
    for (std::uint64_t step = 0; step < chunk.num_steps(); ++step) {
        const std::uint64_t begin = chunk.step_begin[step] - chunk.step_begin[0];
        add_step_balance(chunk.pack_cost.subspan(begin, chunk.step_begin[step + 1] - chunk.step_begin[step]));
    }
    if (!stats_.shares.empty()) add_shares(chunk);
    stats_.over_budget_packs += lazarus_packs_over_budget(head_.options, chunk);
}

void PlanStatsBuilder::count_lengths(std::span<const std::uint32_t> segment_tokens) {
    // Lazarus mode: a segment over the budget has a pack of its own.
    const std::uint32_t budget = head_.options.token_budget;
    for (const std::uint32_t tokens : segment_tokens) {
        const std::uint32_t counted = std::min(tokens, budget);
        if (counted < counted_lengths) {
            ++length_count_[counted];
        } else {
            ++long_length_count_[counted];
        }
    }
}

/// The slowest rank's cost under assign_packs, for each world size.
void PlanStatsBuilder::add_step_balance(std::span<const std::uint64_t> costs) {
    if (costs.empty()) return;
    std::uint64_t sum = 0;
    for (const std::uint64_t cost : costs) sum += cost;
    total_cost_ += static_cast<double>(sum);
    scratch_costs_.assign(costs.rbegin(), costs.rend());  // A balanced step ascends.
    if (!std::ranges::is_sorted(scratch_costs_, std::greater<>())) {
        std::ranges::sort(scratch_costs_, std::greater<>());
    }
    for (std::size_t w = 0; w < std::size(world_sizes); ++w) {
        const std::uint32_t ranks = world_sizes[w];
        const bool trivial = ranks == 1 || ranks >= costs.size();
        slowest_[w] += static_cast<double>(!trivial     ? slowest_of(ranks)
                                           : ranks == 1 ? sum
                                                        : scratch_costs_.front());
    }
}

/// Of scratch_costs_ given out heaviest first, each to the least loaded rank that has a place.
std::uint64_t PlanStatsBuilder::slowest_of(std::uint32_t ranks) {
    constexpr std::uint64_t has_no_place = std::numeric_limits<std::uint64_t>::max();
    const std::size_t places = (scratch_costs_.size() + ranks - 1) / ranks;
    std::array<std::uint64_t, largest_world> loads, held;  // No vectors: millions of steps.
    std::fill_n(loads.begin(), ranks, 0);
    std::fill_n(held.begin(), ranks, 0);
    std::uint64_t slowest = 0;
    for (const std::uint64_t cost : scratch_costs_) {
        std::size_t least = 0;
        for (std::size_t r = 1; r < ranks; ++r) least = loads[r] < loads[least] ? r : least;
        const std::uint64_t load = loads[least] + cost;
        slowest = std::max(slowest, load);
        loads[least] = ++held[least] == places ? has_no_place : load;
    }
    return slowest;
}

void PlanStatsBuilder::add_shares(const PlanChunkColumns& chunk) {
    std::uint64_t all = 0;
    for (const PlanStats::Share& share : stats_.shares) all += share.tokens;
    for (std::uint64_t step = 0; step < chunk.num_steps(); ++step) {
        const std::uint64_t pack_begin = chunk.step_begin[step] - chunk.step_begin[0];
        const std::uint64_t pack_end = chunk.step_begin[step + 1] - chunk.step_begin[0];
        const std::uint64_t end = chunk.pack_begin[pack_end] - chunk.pack_begin[0];
        for (std::uint64_t s = chunk.pack_begin[pack_begin] - chunk.pack_begin[0]; s < end; ++s) {
            const std::uint64_t sample = chunk.sample(s);
            std::size_t source = 0;
            while (source + 1 < head_.sources.size() && head_.sources[source + 1].sample_base <= sample)
                ++source;
            stats_.shares[source].tokens += chunk.segment_tokens[s];
            all += chunk.segment_tokens[s];
        }
        for (std::size_t i = 0; i < stats_.shares.size(); ++i) {
            PlanStats::Share& share = stats_.shares[i];
            if (weight_share_[i] == 0) continue;
            const double error =
                std::abs(static_cast<double>(share.tokens) - weight_share_[i] * static_cast<double>(all));
            share.largest_error_tokens =
                std::max(share.largest_error_tokens, static_cast<std::uint64_t>(std::ceil(error)));
        }
    }
}

PlanStats PlanStatsBuilder::finish(std::span<const std::uint32_t> arrival_tokens) {
    std::vector<std::uint32_t> class_tokens;
    std::vector<std::uint64_t> class_segments;
    for (auto entry = long_length_count_.rbegin(); entry != long_length_count_.rend(); ++entry) {
        class_tokens.push_back(entry->first);
        class_segments.push_back(entry->second);
    }
    for (std::uint32_t tokens = counted_lengths; tokens-- > 1;) {
        if (length_count_[tokens] == 0) continue;
        class_tokens.push_back(tokens);
        class_segments.push_back(length_count_[tokens]);
    }
    const PlanOptions& options = head_.options;
    stats_.packs_lower_bound = packs_lower_bound(class_tokens, class_segments,
                                                 {options.token_budget, options.segments_per_pack_max});
    stats_.utilization = ratio(static_cast<double>(stats_.planned_tokens),
                               static_cast<double>(stats_.packs) * options.token_budget);
    const std::uint64_t padded = tokens_of_padded_batches(arrival_tokens, options.token_budget);
    LOCKSTEP_EXPECTS(padded >= tokens_first_epoch_);
    stats_.padding_waste_padded =
        ratio(static_cast<double>(padded - tokens_first_epoch_), static_cast<double>(padded));
    stats_.packing_ratio = ratio(static_cast<double>(stats_.segments), static_cast<double>(stats_.packs));
    for (std::size_t w = 0; w < std::size(world_sizes); ++w) {
        stats_.balance.push_back({world_sizes[w], ratio(slowest_[w] * world_sizes[w], total_cost_)});
    }
    for (PlanStats::Share& share : stats_.shares) {
        share.share = ratio(static_cast<double>(share.tokens), static_cast<double>(stats_.planned_tokens));
    }
    stats_.dispositions_by_kind.assign(static_cast<std::size_t>(DispositionKind::no_target) + 1, 0);
    stats_.dispositions_by_kind[0] = stats_.samples - head_.dispositions.size();
    for (const Disposition& row : head_.dispositions)
        ++stats_.dispositions_by_kind[static_cast<std::size_t>(row.kind)];
    stats_.left_out_by_drop_last = lazarus_left_out(head_, stats_.segments);
    return stats_;
}

PlanStats plan_stats(const PlanView& plan) {
    PlanStatsBuilder builder(*plan.head);
    for (std::size_t c = 0; c < plan.num_chunks(); ++c) builder.add(plan.chunk(c));
    return builder.finish(arrivals_of(plan));
}

PlanStats plan_stats(const BatchPlan& plan) {
    return plan_stats(view_of(plan));
}

}  // namespace lockstep
