#include "plan/shard.h"

#include <algorithm>
#include <numeric>
#include <queue>
#include <utility>

#include "io/base/contract.h"

namespace lockstep {

std::vector<Rank> assign_packs(std::span<const std::uint64_t> pack_cost, WorldSize world_size) {
    LOCKSTEP_EXPECTS(world_size.value >= 1);
    __extension__ using Load = unsigned __int128;
    const auto num_ranks = static_cast<std::size_t>(world_size.value);
    const std::size_t packs_per_rank_max = (pack_cost.size() + num_ranks - 1) / num_ranks;

    std::vector<std::size_t> heaviest_first(pack_cost.size());
    std::iota(heaviest_first.begin(), heaviest_first.end(), std::size_t{0});
    std::stable_sort(heaviest_first.begin(), heaviest_first.end(),
                     [&](std::size_t a, std::size_t b) { return pack_cost[a] > pack_cost[b]; });

    // Ranks beyond the number of packs would never be reached.
    using LoadedRank = std::pair<Load, int>;
    std::priority_queue<LoadedRank, std::vector<LoadedRank>, std::greater<>> least_loaded;
    const std::size_t ranks_in_use = std::min(num_ranks, pack_cost.size());
    for (std::size_t r = 0; r < ranks_in_use; ++r) least_loaded.emplace(0, static_cast<int>(r));

    std::vector<std::size_t> held(ranks_in_use, 0);
    std::vector<Rank> rank_of(pack_cost.size());
    for (const std::size_t pack : heaviest_first) {
        const auto [load, rank] = least_loaded.top();
        least_loaded.pop();
        rank_of[pack] = Rank{rank};
        // A full rank leaves the queue; the ranks that stay have room for the rest.
        if (++held[static_cast<std::size_t>(rank)] < packs_per_rank_max)
            least_loaded.emplace(load + pack_cost[pack], rank);
    }
    return rank_of;
}

std::vector<Rank> assign_steps(const PlanChunkColumns& steps, WorldSize world_size) {
    std::vector<Rank> ranks;
    ranks.reserve(steps.num_packs());
    const std::uint64_t first = steps.step_begin.front();
    for (std::size_t step = 0; step < steps.num_steps(); ++step) {
        const auto assigned =
            assign_packs(steps.pack_cost.subspan(steps.step_begin[step] - first,
                                                 steps.step_begin[step + 1] - steps.step_begin[step]),
                         world_size);
        ranks.insert(ranks.end(), assigned.begin(), assigned.end());
    }
    return ranks;
}

std::vector<std::uint64_t> shard_of(const BatchPlan& plan, Step step, Rank rank, WorldSize world_size) {
    LOCKSTEP_EXPECTS(step.value < plan.num_steps());
    LOCKSTEP_EXPECTS(rank.value >= 0 && rank.value < world_size.value);
    const std::uint64_t begin = plan.step_begin[step.value];
    const std::uint64_t end = plan.step_begin[step.value + 1];
    const std::vector<Rank> rank_of =
        assign_packs(std::span(plan.pack_cost).subspan(begin, end - begin), world_size);
    std::vector<std::uint64_t> packs;
    for (std::uint64_t pack = begin; pack < end; ++pack) {
        if (rank_of[pack - begin] == rank) packs.push_back(pack);
    }
    return packs;
}

}  // namespace lockstep
