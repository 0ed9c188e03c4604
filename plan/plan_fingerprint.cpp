// The fingerprint tree of a plan: docs/formats/plan.md, section "Fingerprints".
// Any change here renames every plan: it needs new tags.

#include <algorithm>
#include <vector>

#include "io/base/contract.h"
#include "plan/batch_plan.h"

namespace lockstep {

namespace {

template <class T>
std::span<const T> slice(const std::vector<T>& column, std::uint64_t begin, std::uint64_t end) {
    return std::span(column).subspan(begin, end - begin);
}

/// Rows of each of the groups [begin, end): what of an offset column does not depend on what came before.
std::vector<std::uint64_t> group_sizes(const std::vector<std::uint64_t>& offsets, std::uint64_t begin,
                                       std::uint64_t end) {
    std::vector<std::uint64_t> sizes(end - begin);
    for (std::uint64_t i = begin; i < end; ++i) sizes[i - begin] = offsets[i + 1] - offsets[i];
    return sizes;
}

/// A column that a plan may lack: a marker, and the rows if it is there.
template <class T>
void add_optional(FingerprintBuilder& builder, const std::vector<T>& column, std::uint64_t begin,
                  std::uint64_t end) {
    builder.add(std::uint64_t{column.empty() ? 0U : 1U});
    if (!column.empty()) builder.add_array(slice(column, begin, end));
}

void add_options(FingerprintBuilder& builder, const PlanOptions& options) {
    builder.add(static_cast<std::uint64_t>(options.mode))
        .add(std::uint64_t{options.token_budget})
        .add(std::uint64_t{options.packs_per_step})
        .add(options.epochs)
        .add(options.seed)
        .add(static_cast<std::uint64_t>(options.packing))
        .add(static_cast<std::uint64_t>(options.order))
        .add(static_cast<std::uint64_t>(options.long_policy))
        .add(std::uint64_t{options.balance ? 1U : 0U})
        .add(std::uint64_t{options.predictable ? 1U : 0U})
        .add(options.cost.token_cost)
        .add(options.cost.square_cost)
        .add_array(std::span(options.bucket_edges))
        .add(std::uint64_t{options.bucket_overflow_max})
        .add(std::uint64_t{options.segments_per_pack_max})
        .add(std::uint64_t{options.stages})
        .add(static_cast<std::uint64_t>(options.compat))
        .add(std::uint64_t{options.drop_last ? 1U : 0U});
}

/// As three columns: hashing field by field would cost more than all segments.
void add_dispositions(FingerprintBuilder& builder, const std::vector<Disposition>& dispositions) {
    std::vector<std::uint64_t> samples;
    std::vector<std::uint8_t> kinds;
    std::vector<std::uint64_t> lost;
    for (const Disposition& row : dispositions) {
        samples.push_back(row.sample);
        kinds.push_back(static_cast<std::uint8_t>(row.kind));
        lost.push_back(row.tokens_lost);
    }
    builder.add_array(std::span<const std::uint64_t>(samples))
        .add_array(std::span<const std::uint8_t>(kinds))
        .add_array(std::span<const std::uint64_t>(lost));
}

Fingerprint fingerprint_settings(const BatchPlan& plan) {
    FingerprintBuilder builder("lockstep-plan-settings-v2");
    add_options(builder, plan.options);
    builder.add(std::uint64_t{plan.algorithms.size()});
    for (const std::string& algorithm : plan.algorithms) builder.add(algorithm);
    builder.add(std::uint64_t{plan.sources.size()});
    for (const PlanSource& source : plan.sources) {
        builder.add(source.lengths)
            .add(source.tokenizer)
            .add(source.tokenizer_hash)
            .add(source.corpus)
            .add(source.sample_base)
            .add(source.num_samples)
            .add(source.scores)
            .add(source.weight)
            .add(std::uint64_t{source.passes})
            .add(std::uint64_t{source.passes_max});
    }
    add_dispositions(builder, plan.dispositions);
    return builder.finish();
}

}  // namespace

Fingerprint fingerprint_chunk(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end) {
    LOCKSTEP_EXPECTS(step_begin <= step_end && step_end <= plan.num_steps());
    const std::uint64_t pack_begin = plan.step_begin[step_begin];
    const std::uint64_t pack_end = plan.step_begin[step_end];
    const std::uint64_t segment_begin = plan.pack_begin[pack_begin];
    const std::uint64_t segment_end = plan.pack_begin[pack_end];

    FingerprintBuilder builder("lockstep-plan-chunk-v1");
    builder.add(step_begin).add(step_end).add(pack_begin);
    builder.add_array(std::span<const std::uint64_t>(group_sizes(plan.step_begin, step_begin, step_end)));
    builder.add_array(std::span<const std::uint64_t>(group_sizes(plan.pack_begin, pack_begin, pack_end)));
    builder.add_array(slice(plan.segment_sample, segment_begin, segment_end));
    builder.add_array(slice(plan.segment_offset, segment_begin, segment_end));
    builder.add_array(slice(plan.segment_tokens, segment_begin, segment_end));
    builder.add_array(slice(plan.pack_cost, pack_begin, pack_end));
    add_optional(builder, plan.pack_targets, pack_begin, pack_end);
    add_optional(builder, plan.pack_bucket, pack_begin, pack_end);
    add_optional(builder, plan.pack_pad_tokens, pack_begin, pack_end);
    return builder.finish();
}

PlanFingerprints fingerprint_plan(const BatchPlan& plan) {
    PlanFingerprints tree;
    tree.steps_per_chunk = plan_steps_per_chunk;
    tree.settings = fingerprint_settings(plan);
    tree.chunk_begin.push_back(0);
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
        const std::uint64_t epoch_begin = plan.epoch_begin[epoch];
        const std::uint64_t epoch_end = plan.epoch_begin[epoch + 1];
        const std::size_t first_chunk = tree.chunks.size();
        for (std::uint64_t begin = epoch_begin; begin < epoch_end;) {
            const std::uint64_t end = std::min(begin + plan_steps_per_chunk, epoch_end);
            tree.chunks.push_back(fingerprint_chunk(plan, begin, end));
            tree.chunk_begin.push_back(end);
            begin = end;
        }
        FingerprintBuilder builder("lockstep-plan-epoch-v1");
        builder.add(epoch).add(epoch_begin).add(epoch_end);
        builder.add(std::uint64_t{tree.chunks.size() - first_chunk});
        for (std::size_t c = first_chunk; c < tree.chunks.size(); ++c) builder.add(tree.chunks[c]);
        tree.epochs.push_back(builder.finish());
    }
    FingerprintBuilder order("lockstep-plan-order-v1");
    order.add(tree.steps_per_chunk).add(plan.num_epochs());
    for (const Fingerprint& epoch : tree.epochs) order.add(epoch);
    tree.order = order.finish();

    FingerprintBuilder root("lockstep-plan-v1");
    root.add(tree.settings).add(tree.order);
    root.add(std::uint64_t{plan.parent ? 1U : 0U})
        .add(plan.parent.value_or(Fingerprint{}))
        .add(plan.from_step);
    tree.plan = root.finish();
    return tree;
}

}  // namespace lockstep
