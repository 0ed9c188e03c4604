// plan/shard.h
//
// A rank's view of a plan: which packs of a step are its own. A pure function of
// plan and world size, so that "rank 3 of 8" is an ordinary call in a test.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/base/ids.h"
#include "plan/batch_plan.h"
#include "plan/plan_chunk.h"

namespace lockstep {

/// Packs of one step given to ranks, balanced by cost: longest processing time first
/// (heaviest pack to the least loaded rank; ties to the lower rank, the earlier pack).
///
/// @param pack_cost  (packs in the step) cost of each.
/// @return (packs in the step) rank of each pack. Every rank gets at most ceil(packs / W) packs, so that a
///         rank's memory for a step does not depend on the costs. More ranks than packs: some get none.
std::vector<Rank> assign_packs(std::span<const std::uint64_t> pack_cost, WorldSize world_size);

/// assign_packs for each of some steps. @return (packs) rank of each, in plan order.
std::vector<Rank> assign_steps(const PlanChunkColumns& steps, WorldSize world_size);

/// Plan-wide numbers of the packs of `step` that belong to `rank`, ascending.
std::vector<std::uint64_t> shard_of(const BatchPlan& plan, Step step, Rank rank, WorldSize world_size);

}  // namespace lockstep
