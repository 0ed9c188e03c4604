// plan/plan_structure.h
//
// The part of a plan's soundness that is needed to walk it at all: columns of
// agreeing length, offsets that ascend from 0, rows within their ranges. Whoever
// takes a plan from outside checks this first and may then index freely.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "plan/batch_plan.h"
#include "plan/plan_view.h"

namespace lockstep {

/// Checks the columns against each other and against the options: budgets, costs, buckets, padding, packs a
/// step, epochs, dispositions, the shape of the fingerprint tree. Knows nothing of the samples but their
/// number.
///
/// In a plan with a parent, packs and steps may be empty (excluded).
///
/// @throws Error{corrupt_data} naming the field, the row and, below the epochs, the step.
/// O(rows) time, O(1) memory.
void check_structure(const BatchPlan& plan);

/// Its first part: offsets ascend and columns agree in length, so that chunks may be cut.
void check_rows(const BatchPlan& plan);

/// The same for a plan of `num_steps` steps without its body columns (head_from_columns).
void check_head_structure(const BatchPlan& head, std::uint64_t num_steps);

/// Offsets ascend; equal neighbours only if `may_be_empty`.
/// @param first_row  number of offsets[0] in its column.
void check_ascending(std::string_view column, std::span<const std::uint64_t> offsets, std::uint64_t first_row,
                     bool may_be_empty);

/// check_structure for a plan whose chunks come one after another.
class StructureCheck {
  public:
    /// Checks the head. @param plan  its chunks are not asked for; its head outlives this.
    explicit StructureCheck(const PlanView& plan);
    ~StructureCheck();
    StructureCheck(const StructureCheck&) = delete;
    StructureCheck& operator=(const StructureCheck&) = delete;

    /// All chunks of the plan, in order. @pre Its offsets ascend and its columns agree in length.
    void add(const PlanChunkColumns& chunk);
    /// That they were all of the plan's rows.
    void finish() const;

  private:
    void check_columns(const PlanChunkColumns& chunk) const;
    void check_packs_of_step(std::uint64_t step, std::uint64_t packs);

    class PackCheck;
    const BatchPlan& head_;
    const std::uint64_t num_packs_, num_segments_;
    std::unique_ptr<PackCheck> packs_;
    std::uint64_t next_step_ = 0, next_pack_ = 0, next_segment_ = 0;
    std::uint64_t epoch_ = 0;             ///< Of next_step_.
    std::uint64_t short_steps_left_ = 0;  ///< In this epoch, besides its last.
};

}  // namespace lockstep
