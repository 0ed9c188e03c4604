// plan/plan_stats.h
//
// Statistics of a plan while its chunks go by. They are looked at, not built upon:
// doubles and the order of summation are free here.

#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/plan_chunk.h"
#include "plan/plan_view.h"

namespace lockstep {

class PlanStatsBuilder {
  public:
    /// @param head  outlives this; its rows are not looked at, its epoch_begin is.
    explicit PlanStatsBuilder(const BatchPlan& head);

    /// All chunks of the plan, in order.
    void add(const PlanChunkColumns& chunk);

    /// @param arrival_tokens  lengths of the segments of the first epoch, all that were added, in arrival
    /// order; for `padding_waste_padded`.
    PlanStats finish(std::span<const std::uint32_t> arrival_tokens);

  private:
    void count_lengths(std::span<const std::uint32_t> segment_tokens);
    void add_step_balance(std::span<const std::uint64_t> costs);
    std::uint64_t slowest_of(std::uint32_t ranks);
    void add_shares(const PlanChunkColumns& chunk);

    const BatchPlan& head_;
    PlanStats stats_;
    std::uint64_t tokens_first_epoch_ = 0;
    std::vector<std::uint64_t> length_count_;  ///< Segments of the first epoch by length, while short enough,
    std::map<std::uint32_t, std::uint64_t> long_length_count_;  ///< and the others.
    std::vector<double> slowest_;                               ///< (world sizes) summed over the steps.
    double total_cost_ = 0;
    std::vector<std::uint64_t> scratch_costs_;
    std::vector<double> weight_share_;  ///< (sources)
};

/// Of a whole plan of sound structure. Memory: 4 bytes a sample; where the first epoch holds some more than
/// once, 8 a sample and 12 a segment.
PlanStats plan_stats(const PlanView& plan);
PlanStats plan_stats(const BatchPlan& plan);

}  // namespace lockstep
