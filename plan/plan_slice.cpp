#include "plan/plan_slice.h"

#include <algorithm>
#include <string>

#include "io/base/contract.h"
#include "io/base/error.h"

namespace lockstep {

PlanSummary summarize(const BatchPlan& plan) {
    PlanSummary summary;
    summary.plan = plan.fingerprints.plan;
    summary.num_steps = plan.num_steps();
    summary.num_epochs = plan.num_epochs();
    summary.num_packs = plan.num_packs();
    summary.epoch_begin = plan.epoch_begin;
    double pairs = 0;
    for (const std::uint32_t tokens : plan.segment_tokens) {
        summary.planned_tokens += tokens;
        summary.segment_tokens_max = std::max(summary.segment_tokens_max, tokens);
        pairs += 0.5 * static_cast<double>(tokens) * (static_cast<double>(tokens) + 1);
    }
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
        summary.pack_tokens_max =
            std::max(summary.pack_tokens_max, static_cast<std::uint32_t>(plan.pack_tokens(pack)));
    }
    if (summary.planned_tokens > 0) {
        summary.mean_context =
            static_cast<std::uint64_t>(pairs / static_cast<double>(summary.planned_tokens));
    }
    return summary;
}

std::uint64_t PlanSummary::epoch_of(std::uint64_t step) const {
    const auto after = std::upper_bound(epoch_begin.begin(), epoch_begin.end(), step);
    return std::min<std::uint64_t>(static_cast<std::uint64_t>(after - epoch_begin.begin()) - 1, num_epochs);
}

std::vector<PlanSlice> slices_of(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end,
                                 std::span<const Rank> pack_rank, WorldSize world_size) {
    LOCKSTEP_EXPECTS(step_begin <= step_end && step_end <= plan.num_steps());
    const std::uint64_t first_pack = plan.step_begin[step_begin];
    LOCKSTEP_EXPECTS(pack_rank.size() == plan.step_begin[step_end] - first_pack);
    std::vector<PlanSlice> slices(static_cast<std::size_t>(world_size.value));
    for (PlanSlice& slice : slices) {
        slice.step_begin = step_begin;
        slice.step_end = step_end;
    }
    for (std::uint64_t step = step_begin; step < step_end; ++step) {
        for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
            PlanSlice& slice = slices[static_cast<std::size_t>(pack_rank[pack - first_pack].value)];
            slice.pack.push_back(pack);
            for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s) {
                slice.segment_sample.push_back(plan.segment_sample[s]);
                slice.segment_offset.push_back(plan.segment_offset[s]);
                slice.segment_tokens.push_back(plan.segment_tokens[s]);
            }
            slice.segment_begin.push_back(slice.segment_sample.size());
        }
        for (PlanSlice& slice : slices) slice.step_pack_begin.push_back(slice.pack.size());
    }
    return slices;
}

namespace {

void require(bool ok, const char* field) {
    if (!ok) {
        throw Error(ErrorCode::corrupt_data, std::string("plan slice received is malformed in '") + field +
                                                 "'; the sender runs another build");
    }
}

bool rises_to(std::span<const std::uint64_t> offsets, std::uint64_t last) {
    if (offsets.empty() || offsets.front() != 0 || offsets.back() != last) return false;
    for (std::size_t i = 1; i < offsets.size(); ++i) {
        if (offsets[i] < offsets[i - 1]) return false;
    }
    return true;
}

}  // namespace

void check_slice(const PlanSlice& slice) {
    require(slice.step_begin <= slice.step_end, "step_end");
    require(slice.step_pack_begin.size() == slice.step_end - slice.step_begin + 1 &&
                rises_to(slice.step_pack_begin, slice.pack.size()),
            "step_pack_begin");
    require(slice.segment_begin.size() == slice.pack.size() + 1 &&
                rises_to(slice.segment_begin, slice.segment_sample.size()),
            "segment_begin");
    require(slice.segment_offset.size() == slice.segment_sample.size(), "segment_offset");
    require(slice.segment_tokens.size() == slice.segment_sample.size(), "segment_tokens");
}

}  // namespace lockstep
