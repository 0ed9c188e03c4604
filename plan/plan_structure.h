// plan/plan_structure.h
//
// The part of a plan's soundness that is needed to walk it at all: columns of
// agreeing length, offsets that ascend from 0, rows within their ranges. Whoever
// takes a plan from outside checks this first and may then index freely.

#pragma once

#include <cstdint>

#include "plan/batch_plan.h"

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

/// The same for a plan of `num_steps` steps without its body columns (head_from_columns).
void check_head_structure(const BatchPlan& head, std::uint64_t num_steps);

}  // namespace lockstep
