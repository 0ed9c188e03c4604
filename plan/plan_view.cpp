#include "plan/plan_view.h"

#include <variant>

namespace lockstep {

PlanView view_of(const BatchPlan& plan) {
    return {&plan, plan.num_packs(), plan.num_segments(), [&plan](std::size_t index) {
                return chunk_of(plan, plan.fingerprints.chunk_begin[index],
                                plan.fingerprints.chunk_begin[index + 1]);
            }};
}

BatchPlan plan_of(const PlanView& view) {
    BatchPlan plan = head_of(*view.head);
    const auto append = [](auto& column, const auto& rows) {
        column.insert(column.end(), rows.begin(), rows.end());
    };
    for (std::size_t index = 0; index < view.num_chunks(); ++index) {
        const PlanChunkColumns chunk = view.chunk(index);
        std::visit([&](auto samples) { append(plan.segment_sample, samples); }, chunk.segment_sample);
        append(plan.segment_offset, chunk.segment_offset);
        append(plan.segment_tokens, chunk.segment_tokens);
        append(plan.pack_begin, chunk.pack_begin.subspan(1));
        append(plan.pack_cost, chunk.pack_cost);
        if (chunk.pack_targets) append(plan.pack_targets, *chunk.pack_targets);
        if (chunk.pack_bucket) append(plan.pack_bucket, *chunk.pack_bucket);
        if (chunk.pack_pad_tokens) append(plan.pack_pad_tokens, *chunk.pack_pad_tokens);
        append(plan.step_begin, chunk.step_begin.subspan(1));
    }
    return plan;
}

PlanChunkColumns PlanSteps::at(std::uint64_t step) {
    if (!fetched_ || step < chunk_.first_step || step >= chunk_.first_step + chunk_.num_steps()) {
        chunk_ = plan_.chunk(chunk_of_step(plan_.head->fingerprints, step));
        fetched_ = true;
    }
    return steps_of(chunk_, step, step + 1);
}

}  // namespace lockstep
