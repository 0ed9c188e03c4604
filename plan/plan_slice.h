// plan/plan_slice.h
//
// A self-contained piece of a plan: the packs of one rank in a window of steps.
// This is all a worker ever sees of a plan.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/base/ids.h"
#include "plan/batch_plan.h"
#include "plan/plan_chunk.h"

namespace lockstep {

/// Packs of steps [step_begin, step_end) that belong to one rank, in compressed-row form. Packs of step s are
/// [step_pack_begin[s − step_begin], …), their segments [segment_begin[p], segment_begin[p + 1]).
struct PlanSlice {
    std::uint64_t step_begin = 0;
    std::uint64_t step_end = 0;
    std::vector<std::uint64_t> step_pack_begin{0};  ///< (steps + 1) into `pack`.
    std::vector<std::uint64_t> pack;                ///< Numbers in the whole plan, ascending in a step.
    std::vector<std::uint64_t> segment_begin{0};    ///< (packs + 1)
    std::vector<std::uint64_t> segment_sample;      ///< Global sample ids.
    std::vector<std::uint32_t> segment_offset;
    std::vector<std::uint32_t> segment_tokens;
    friend bool operator==(const PlanSlice&, const PlanSlice&) = default;
};

/// What every rank knows of the steps of a window, whoever computes their packs.
struct StepWindow {
    PlanSlice slice;  ///< This rank's packs.
    std::vector<std::uint64_t> step_packs{
        0};  ///< (steps + 1) first pack of each step, numbers in the whole plan.
    std::vector<std::uint64_t> step_targets;  ///< (steps) targets of all its packs.
};

/// What only a walk over a whole plan tells.
struct PlanTotals {
    std::uint64_t planned_tokens = 0;
    std::uint32_t pack_tokens_max = 0;     ///< Of any pack.
    std::uint32_t segment_tokens_max = 0;  ///< Of any segment.
    std::uint64_t mean_context = 0;        ///< Keys a token attends to on average, for flop estimates.
    friend bool operator==(const PlanTotals&, const PlanTotals&) = default;
};
class PlanTotalsCount {
  public:
    /// All chunks of the plan.
    void add(const PlanChunkColumns& chunk);
    PlanTotals totals() const;

  private:
    PlanTotals totals_;
    double pairs_ = 0;  ///< Of a token and one it attends to.
};
PlanTotals totals_of(const BatchPlan& plan);

/// What every rank knows of a plan.
struct PlanSummary : PlanTotals {
    Fingerprint plan;
    std::uint64_t num_steps = 0;
    std::uint64_t num_epochs = 0;
    std::uint64_t num_packs = 0;
    std::vector<std::uint64_t> epoch_begin{0};  ///< (epochs + 1) first step of each.

    /// Epoch that holds a step; num_epochs at the end.
    std::uint64_t epoch_of(std::uint64_t step) const;
};
/// @param head  the plan, or its head.
PlanSummary summarize(const BatchPlan& head, std::uint64_t num_packs, const PlanTotals& totals);

/// Every rank's slice of some steps, in one pass over their packs.
/// @param pack_rank  rank of every pack of the steps, in plan order (assign_steps).
std::vector<PlanSlice> slices_of(const PlanChunkColumns& steps, std::span<const Rank> pack_rank,
                                 WorldSize world_size);
/// A slice and the same rank's of the steps after it. @pre more.step_begin == slice.step_end.
void append(PlanSlice& slice, const PlanSlice& more);

/// Structure of a slice that came from elsewhere: offsets monotone and consistent.
/// @throws Error{corrupt_data} naming the field.
void check_slice(const PlanSlice& slice);

}  // namespace lockstep
