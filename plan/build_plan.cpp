// A whole plan in memory, from the pieces of plan_builder.

#include <utility>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/lazarus/plan.h"
#include "plan/plan_builder.h"

namespace lockstep {

namespace {

template <class To, class From>
void append(std::vector<To>& to, const std::vector<From>& from) {
    to.insert(to.end(), from.begin(), from.end());
}

void append_offsets(std::vector<std::uint64_t>& to, const std::vector<std::uint64_t>& from) {
    const std::uint64_t base = to.back();
    for (std::size_t i = 1; i < from.size(); ++i) to.push_back(base + from[i]);
}

void append_chunk(BatchPlan& plan, const PlanChunk& chunk) {
    append(plan.segment_sample, chunk.narrow_sample);
    append(plan.segment_sample, chunk.wide_sample);
    append(plan.segment_offset, chunk.segment_offset);
    append(plan.segment_tokens, chunk.segment_tokens);
    append_offsets(plan.pack_begin, chunk.pack_begin);
    append(plan.pack_targets, chunk.pack_targets);
    append(plan.pack_cost, chunk.pack_cost);
    append(plan.pack_bucket, chunk.pack_bucket);
    append(plan.pack_pad_tokens, chunk.pack_pad_tokens);
    append_offsets(plan.step_begin, chunk.step_begin);
}

}  // namespace

BatchPlan build_plan(const PlanOptions& options, std::span<const SourceLengths> sources) {
    if (options.compat == PlanCompat::lazarus) return build_lazarus_plan(options, sources);
    PlanBuilder builder(options, sources);
    BatchPlan plan = builder.frame();
    const EpochCounts total = builder.total();
    plan.segment_sample.reserve(total.segments);
    plan.segment_offset.reserve(total.segments);
    plan.segment_tokens.reserve(total.segments);
    plan.pack_begin.reserve(total.packs + 1);
    plan.pack_cost.reserve(total.packs);
    plan.step_begin.reserve(total.steps + 1);
    std::vector<Fingerprint> leaves;
    PlanChunk chunk;
    for (std::uint64_t epoch = 0; epoch < plan.options.epochs; ++epoch) {
        builder.begin_epoch(epoch);
        for (std::uint64_t c = 0; c < builder.num_chunks(); ++c) {
            builder.make_chunk(c, chunk);
            leaves.push_back(fingerprint_chunk(chunk.columns()));
            append_chunk(plan, chunk);
        }
    }
    plan.fingerprints = fingerprint_tree(fingerprint_settings(plan), plan.epoch_begin, std::move(leaves),
                                         plan.parent, plan.from_step);
    return plan;
}

}  // namespace lockstep
