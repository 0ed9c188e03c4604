#include "plan/plan_slice.h"

#include <algorithm>
#include <string>

#include "io/base/contract.h"
#include "io/base/error.h"

namespace lockstep {

void PlanTotalsCount::add(const PlanChunkColumns& chunk) {
    for (std::uint64_t pack = 0; pack < chunk.num_packs(); ++pack) {
        std::uint64_t pack_tokens = 0;
        for (std::uint64_t s = chunk.pack_begin[pack]; s < chunk.pack_begin[pack + 1]; ++s) {
            const std::uint32_t tokens = chunk.segment_tokens[s - chunk.pack_begin.front()];
            pack_tokens += tokens;
            totals_.segment_tokens_max = std::max(totals_.segment_tokens_max, tokens);
            pairs_ += 0.5 * static_cast<double>(tokens) * (static_cast<double>(tokens) + 1);
        }
        totals_.planned_tokens += pack_tokens;
        totals_.pack_tokens_max = std::max(totals_.pack_tokens_max, static_cast<std::uint32_t>(pack_tokens));
    }
}

PlanTotals PlanTotalsCount::totals() const {
    PlanTotals totals = totals_;
    if (totals.planned_tokens > 0) {
        totals.mean_context = static_cast<std::uint64_t>(pairs_ / static_cast<double>(totals.planned_tokens));
    }
    return totals;
}

PlanTotals totals_of(const BatchPlan& plan) {
    PlanTotalsCount count;
    if (plan.num_steps() > 0) count.add(chunk_of(plan, 0, plan.num_steps()));
    return count.totals();
}

PlanSummary summarize(const BatchPlan& head, std::uint64_t num_packs, const PlanTotals& totals) {
    PlanSummary summary;
    static_cast<PlanTotals&>(summary) = totals;
    summary.plan = head.fingerprints.plan;
    summary.num_steps = head.epoch_begin.back();
    summary.num_epochs = head.num_epochs();
    summary.num_packs = num_packs;
    summary.epoch_begin = head.epoch_begin;
    return summary;
}

std::uint64_t PlanSummary::epoch_of(std::uint64_t step) const {
    const auto after = std::upper_bound(epoch_begin.begin(), epoch_begin.end(), step);
    return std::min<std::uint64_t>(static_cast<std::uint64_t>(after - epoch_begin.begin()) - 1, num_epochs);
}

std::vector<PlanSlice> slices_of(const PlanChunkColumns& steps, std::span<const Rank> pack_rank,
                                 WorldSize world_size) {
    LOCKSTEP_EXPECTS(pack_rank.size() == steps.num_packs());
    std::vector<PlanSlice> slices(static_cast<std::size_t>(world_size.value));
    for (PlanSlice& slice : slices) {
        slice.step_begin = steps.first_step;
        slice.step_end = steps.first_step + steps.num_steps();
    }
    const std::uint64_t first_segment = steps.pack_begin.front();
    std::size_t pack = 0;
    for (std::size_t step = 0; step < steps.num_steps(); ++step) {
        for (; pack < steps.step_begin[step + 1] - steps.step_begin.front(); ++pack) {
            PlanSlice& slice = slices[static_cast<std::size_t>(pack_rank[pack].value)];
            slice.pack.push_back(steps.first_pack + pack);
            for (std::uint64_t s = steps.pack_begin[pack] - first_segment;
                 s < steps.pack_begin[pack + 1] - first_segment; ++s) {
                slice.segment_sample.push_back(steps.sample(s));
                slice.segment_offset.push_back(steps.segment_offset[s]);
                slice.segment_tokens.push_back(steps.segment_tokens[s]);
            }
            slice.segment_begin.push_back(slice.segment_sample.size());
        }
        for (PlanSlice& slice : slices) slice.step_pack_begin.push_back(slice.pack.size());
    }
    return slices;
}

void append(PlanSlice& slice, const PlanSlice& more) {
    LOCKSTEP_EXPECTS(more.step_begin == slice.step_end);
    const auto append_offsets = [](std::vector<std::uint64_t>& to, const std::vector<std::uint64_t>& from) {
        const std::uint64_t base = to.back();
        for (std::size_t i = 1; i < from.size(); ++i) to.push_back(base + from[i]);
    };
    append_offsets(slice.step_pack_begin, more.step_pack_begin);
    append_offsets(slice.segment_begin, more.segment_begin);
    const auto append_rows = [](auto& to, const auto& from) {
        to.insert(to.end(), from.begin(), from.end());
    };
    append_rows(slice.pack, more.pack);
    append_rows(slice.segment_sample, more.segment_sample);
    append_rows(slice.segment_offset, more.segment_offset);
    append_rows(slice.segment_tokens, more.segment_tokens);
    slice.step_end = more.step_end;
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
