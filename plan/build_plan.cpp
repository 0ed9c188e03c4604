// Builds a plan: fates once, pack shapes once, then every epoch the same way from
// (seed, epoch) alone.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "plan/balance.h"
#include "plan/batch_plan.h"
#include "plan/bucketing.h"
#include "plan/dispositions.h"
#include "plan/lazarus_plan.h"
#include "plan/packing.h"
#include "plan/shuffle.h"

namespace lockstep {

namespace {

/// Appends segments, packs and steps to a plan, in training order.
class PlanWriter {
  public:
    PlanWriter(BatchPlan& plan, const SegmentTable& table, bool count_targets)
        : plan_(plan), table_(table), count_targets_(count_targets) {
        const std::uint64_t total = table.size() * plan.options.epochs;
        plan.segment_sample.reserve(total);
        plan.segment_offset.reserve(total);
        plan.segment_tokens.reserve(total);
        epoch_segments_.reserve(table.size());
    }

    void add_pack(std::span<const SegmentIndex> segments) {
        epoch_segments_.insert(epoch_segments_.end(), segments.begin(), segments.end());
        plan_.pack_begin.push_back(plan_.num_segments() + epoch_segments_.size());
        if (plan_.num_packs() - plan_.step_begin.back() == plan_.options.packs_per_step) end_step();
    }

    /// Ends the epoch's last step and fills in the columns of its segments and packs.
    void end_epoch() {
        if (plan_.num_packs() > plan_.step_begin.back()) end_step();
        plan_.epoch_begin.push_back(plan_.num_steps());
        // Column by column: each is a plain gather, many of whose cache misses overlap.
        for (const SegmentIndex segment : epoch_segments_)
            plan_.segment_sample.push_back(table_.sample[segment]);
        for (const SegmentIndex segment : epoch_segments_)
            plan_.segment_offset.push_back(table_.offset[segment]);
        for (const SegmentIndex segment : epoch_segments_)
            plan_.segment_tokens.push_back(table_.tokens[segment]);
        const std::uint64_t epoch_begin = plan_.num_segments() - epoch_segments_.size();
        for (std::uint64_t pack = plan_.pack_cost.size(); pack < plan_.num_packs(); ++pack) {
            const std::uint64_t begin = plan_.pack_begin[pack];
            const std::uint64_t end = plan_.pack_begin[pack + 1];
            plan_.pack_cost.push_back(cost_of(begin, end));
            if (count_targets_) plan_.pack_targets.push_back(targets_of(begin, end, epoch_begin));
        }
        epoch_segments_.clear();
    }

  private:
    void end_step() { plan_.step_begin.push_back(plan_.num_packs()); }

    std::uint64_t cost_of(std::uint64_t begin, std::uint64_t end) const {
        std::uint64_t tokens = 0;
        std::uint64_t squares = 0;
        for (std::uint64_t i = begin; i < end; ++i) {
            const std::uint64_t length = plan_.segment_tokens[i];
            tokens += length;
            squares += length * length;
        }
        return cost_of_pack(plan_.options.cost, tokens, squares);
    }

    std::uint32_t targets_of(std::uint64_t begin, std::uint64_t end, std::uint64_t epoch_begin) const {
        std::uint32_t targets = 0;
        for (std::uint64_t i = begin; i < end; ++i) {
            targets += table_.targets.empty() ? plan_.segment_tokens[i] - 1
                                              : table_.targets[epoch_segments_[i - epoch_begin]];
        }
        return targets;
    }

    BatchPlan& plan_;
    const SegmentTable& table_;
    const bool count_targets_;
    std::vector<SegmentIndex> epoch_segments_;  ///< Of the epoch being written, in training order.
};

std::vector<std::uint64_t> costs_of(const PackLayout& layout, const SegmentTable& table,
                                    const CostModel& cost) {
    std::vector<std::uint64_t> costs(layout.num_packs());
    for (std::size_t p = 0; p < costs.size(); ++p) {
        std::uint64_t tokens = 0;
        std::uint64_t squares = 0;
        for (const SegmentIndex segment : layout.pack(p)) {
            const std::uint64_t length = table.tokens[segment];
            tokens += length;
            squares += length * length;
        }
        costs[p] = cost_of_pack(cost, tokens, squares);
    }
    return costs;
}

/// Packs by shape. Segments of equal length are interchangeable, so every epoch gives them out anew.
void write_best_fit_epochs(const PlanOptions& options, const SegmentTable& table, PlanWriter& writer) {
    const LengthClasses classes = classify_lengths(table.tokens);
    const PackShapes shapes = best_fit_decreasing(classes.tokens, classes.sizes(), options.token_budget);

    std::vector<std::uint32_t> shape_of_pack;
    std::vector<std::uint64_t> pack_cost;
    for (std::uint32_t s = 0; s < shapes.num_shapes(); ++s) {
        std::uint64_t tokens = 0;
        std::uint64_t squares = 0;
        for (const std::uint32_t c : shapes.shape(s)) {
            tokens += classes.tokens[c];
            squares += std::uint64_t{classes.tokens[c]} * classes.tokens[c];
        }
        shape_of_pack.insert(shape_of_pack.end(), shapes.shape_packs[s], s);
        pack_cost.insert(pack_cost.end(), shapes.shape_packs[s], cost_of_pack(options.cost, tokens, squares));
    }

    std::vector<SegmentIndex> members;
    std::vector<SegmentIndex> next;
    std::vector<std::uint32_t> pack_classes;
    std::vector<SegmentIndex> pack_members;
    for (std::uint64_t epoch = 0; epoch < options.epochs; ++epoch) {
        members = classes.members;
        DrawSequence identity_draws(options.seed, "identities", epoch);
        for (std::size_t c = 0; c < classes.num_classes(); ++c) {
            shuffle_values(
                std::span(members).subspan(classes.begin[c], classes.begin[c + 1] - classes.begin[c]),
                identity_draws);
        }
        next.assign(classes.begin.begin(), classes.begin.end() - 1);
        DrawSequence segment_draws(options.seed, "segment-order", epoch);
        for (const std::uint32_t pack : order_packs(pack_cost, options, epoch)) {
            // Longest first would be a curriculum inside the pack.
            const auto shape = shapes.shape(shape_of_pack[pack]);
            pack_classes.assign(shape.begin(), shape.end());
            shuffle_values(std::span(pack_classes), segment_draws);
            pack_members.clear();
            for (const std::uint32_t c : pack_classes) pack_members.push_back(members[next[c]++]);
            writer.add_pack(pack_members);
        }
        writer.end_epoch();
    }
}

/// Packs of neighbours: the packs are the same in every epoch, their order is not.
void write_in_order_epochs(const PlanOptions& options, const SegmentTable& table, PlanWriter& writer) {
    const PackLayout layout = pack_segments(table.tokens, options.token_budget, PackingPolicy::in_order);
    const std::vector<std::uint64_t> pack_cost = costs_of(layout, table, options.cost);
    for (std::uint64_t epoch = 0; epoch < options.epochs; ++epoch) {
        for (const std::uint32_t pack : order_packs(pack_cost, options, epoch))
            writer.add_pack(layout.pack(pack));
        writer.end_epoch();
    }
}

/// Packs of one bucket each. One order over the packs of all buckets: each bucket lasts as long as the epoch.
void write_bucket_epochs(const SegmentTable& table, PlanWriter& writer, BatchPlan& plan) {
    const PlanOptions& options = plan.options;
    const LengthBuckets buckets(options.bucket_edges, options.bucket_overflow_max);
    const BucketMembers members = sort_into_buckets(table.tokens, options);
    for (std::uint64_t epoch = 0; epoch < options.epochs; ++epoch) {
        const BucketedPacks packs = pack_buckets(members, options, epoch);
        const PackLayout& layout = packs.layout;
        std::vector<std::uint32_t> order = order_packs(costs_of(layout, table, options.cost), options, epoch);
        if (options.order == PackOrder::in_order) {
            // Bucket after bucket would be short to long: order by first segment.
            std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
                return layout.pack(a).front() < layout.pack(b).front();
            });
        }
        for (const std::uint32_t pack : order) {
            writer.add_pack(layout.pack(pack));
            plan.pack_bucket.push_back(packs.pack_bucket[pack]);
        }
        writer.end_epoch();
    }
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
        const std::uint64_t segments = plan.pack_begin[pack + 1] - plan.pack_begin[pack];
        const std::uint64_t padded = segments * buckets.upper(plan.pack_bucket[pack]);
        plan.pack_pad_tokens.push_back(static_cast<std::uint32_t>(padded - plan.pack_tokens(pack)));
    }
}

std::vector<std::string> algorithms_of(const PlanOptions& options) {
    std::vector<std::string> names = {"segments=overlap-split/1", "targets=loss-spans/1"};
    if (options.mode == PlanMode::bucket) {
        names.emplace_back("packing=buckets/1");
    } else if (options.packing == PackingPolicy::in_order) {
        names.emplace_back("packing=in-order/1");
    } else {
        names.emplace_back("packing=histogram-best-fit-decreasing/1");
    }
    names.emplace_back(options.order == PackOrder::in_order ? "order=in-order/1"
                                                            : "order=fisher-yates-philox4x32/1");
    names.emplace_back(options.balance ? "balance=cost-windows-16/1" : "balance=none/1");
    return names;
}

std::vector<PlanSource> number_sources(std::span<const SourceLengths> sources) {
    std::vector<PlanSource> table;
    std::uint64_t sample_base = 0;
    for (const SourceLengths& source : sources) {
        PlanSource& row = table.emplace_back(source.source);
        row.sample_base = sample_base;
        row.num_samples = source.sample_tokens.size();
        sample_base += row.num_samples;
    }
    return table;
}

}  // namespace

BatchPlan build_plan(const PlanOptions& options, std::span<const SourceLengths> sources) {
    if (options.compat == PlanCompat::lazarus) return build_lazarus_plan(options, sources);
    check_options(options);
    BatchPlan plan;
    plan.options = effective_options(options);
    plan.algorithms = algorithms_of(plan.options);
    plan.sources = number_sources(sources);

    Fates fates = decide_fates(plan.options, sources);
    if (fates.segments.size() == 0) {
        throw Error(ErrorCode::invalid_argument,
                    "there is nothing to plan: none of the " + std::to_string(fates.dispositions.size()) +
                        " samples has a token to train; check the input and the policy for long samples");
    }
    if (plan.options.epochs > (std::uint64_t{1} << 48U) / fates.segments.size()) {
        throw Error(ErrorCode::invalid_argument,
                    std::to_string(plan.options.epochs) + " epochs of " +
                        std::to_string(fates.segments.size()) +
                        " segments are over the 2^48 a plan may hold; plan fewer epochs");
    }
    plan.dispositions = std::move(fates.dispositions);

    bool count_targets = true;
    for (const SourceLengths& source : sources) count_targets = count_targets && !source.lengths_only;
    PlanWriter writer(plan, fates.segments, count_targets);
    if (plan.options.mode == PlanMode::bucket) {
        write_bucket_epochs(fates.segments, writer, plan);
    } else if (plan.options.packing == PackingPolicy::in_order) {
        write_in_order_epochs(plan.options, fates.segments, writer);
    } else {
        write_best_fit_epochs(plan.options, fates.segments, writer);
    }
    plan.fingerprints = fingerprint_plan(plan);
    return plan;
}

}  // namespace lockstep
