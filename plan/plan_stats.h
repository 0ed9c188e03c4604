// plan/plan_stats.h
//
// Statistics of a plan, gathered while its chunks go by. They are looked at, not built
// upon: doubles and the order of summation are free here.

#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/plan_chunk.h"

namespace lockstep {

/// Statistics of stats.json (docs/formats/plan.md).
struct PlanStats {
    std::uint64_t samples = 0, segments = 0, packs = 0, steps = 0, epochs = 0;
    std::uint64_t planned_tokens = 0;  ///< All epochs.
    std::uint64_t overlap_tokens = 0;  ///< Repeated at splits, all epochs.
    bool targets_known = false;        ///< Not in a lengths-only plan.
    std::uint64_t targets = 0;
    std::uint64_t packs_lower_bound = 0;  ///< One epoch: ceil(tokens / budget) or better.
    std::uint64_t packs_first_epoch = 0;
    std::uint64_t over_budget_packs = 0;      ///< Lazarus mode, all epochs: padded over the budget.
    std::uint64_t left_out_by_drop_last = 0;  ///< Lazarus mode, all epochs: samples in no pack.
    double utilization = 0;                   ///< Tokens over budget · packs.
    double padding_waste_padded = 0;  ///< What padding to the longest of each batch would waste: samples in
                                      ///< arrival order, as many a batch as fit the budget padded.
    double packing_ratio = 0;         ///< Segments a pack.
    struct Balance {
        std::uint64_t world_size;
        double slowest_over_mean;
    };
    std::vector<Balance> balance;  ///< World sizes 1, 2, 4, … 64, by pack cost.
    struct Bucket {
        std::uint64_t upper;
        std::uint64_t samples;
        std::uint64_t tokens;
        std::uint64_t pad_tokens;
    };
    std::vector<Bucket> buckets;  ///< Bucket mode.
    struct Share {
        std::string source;
        std::uint64_t tokens;                ///< Trained in the run.
        double share;                        ///< Of all tokens.
        double planned_share;                ///< By its weight; 0 without weights.
        std::uint64_t largest_error_tokens;  ///< At any step boundary, from its planned share so far.
    };
    std::vector<Share> shares;                        ///< Mixtures.
    std::vector<std::uint64_t> dispositions_by_kind;  ///< Indexed by DispositionKind.
};
/// Of a whole plan.
PlanStats plan_stats(const BatchPlan& plan, std::span<const SourceLengths> sources);

class PlanStatsBuilder {
  public:
    /// @param head  outlives this; its rows are not looked at, its epoch_begin is.
    explicit PlanStatsBuilder(const BatchPlan& head);

    /// All chunks of the plan, in order.
    void add(const PlanChunkColumns& chunk);

    /// @param arrival_tokens  lengths of the first epoch's segments in arrival order, for
    /// `padding_waste_padded`.
    PlanStats finish(std::span<const std::uint32_t> arrival_tokens);

  private:
    void add_step_balance(std::span<const std::uint64_t> costs);
    std::uint64_t slowest_of(std::uint32_t ranks);
    void add_shares(const PlanChunkColumns& chunk);

    const BatchPlan& head_;
    PlanStats stats_;
    std::vector<std::uint64_t> length_count_;  ///< Segments of the first epoch by length, while short enough,
    std::map<std::uint32_t, std::uint64_t> long_length_count_;  ///< and the others.
    std::vector<double> slowest_;                               ///< (world sizes) summed over the steps.
    double total_cost_ = 0;
    std::vector<std::uint64_t> scratch_costs_, scratch_loads_;
    std::vector<std::uint32_t> scratch_held_;
    std::vector<double> weight_share_;  ///< (sources)
};

}  // namespace lockstep
