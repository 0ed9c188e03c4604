#include "plan/shard.h"

#include <algorithm>
#include <numeric>

#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

TEST(AssignPacksTest, HeaviestGoesToTheLeastLoaded) {
    const std::vector<std::uint64_t> costs = {1, 9, 4, 5, 3};
    EXPECT_EQ(assign_packs(costs, WorldSize{2}),
              (std::vector<Rank>{Rank{1}, Rank{0}, Rank{1}, Rank{1}, Rank{0}}));
}

TEST(AssignPacksTest, TiesGoToTheLowerRankAndTheEarlierPack) {
    const std::vector<std::uint64_t> costs(7, 10);
    EXPECT_EQ(assign_packs(costs, WorldSize{3}),
              (std::vector<Rank>{Rank{0}, Rank{1}, Rank{2}, Rank{0}, Rank{1}, Rank{2}, Rank{0}}));
}

TEST(AssignPacksTest, NoRankHoldsMoreThanItsShareOfPacks) {
    Dice dice(1);
    for (int i = 0; i < 500; ++i) {
        std::vector<std::uint64_t> costs(dice.roll(0, 40));
        // A few giants: by cost alone one rank would take all the dwarfs.
        for (std::uint64_t& cost : costs) cost = dice.roll(0, 9) == 0 ? ~std::uint64_t{0} : dice.roll(0, 3);
        for (int world = 1; world <= 9; ++world) {
            const auto rank_of = assign_packs(costs, WorldSize{world});
            ASSERT_EQ(rank_of.size(), costs.size());
            std::vector<std::size_t> held(static_cast<std::size_t>(world), 0);
            for (const Rank rank : rank_of) {
                ASSERT_GE(rank.value, 0);
                ASSERT_LT(rank.value, world);
                ++held[static_cast<std::size_t>(rank.value)];
            }
            const std::size_t most =
                (costs.size() + static_cast<std::size_t>(world) - 1) / static_cast<std::size_t>(world);
            for (const std::size_t count : held) ASSERT_LE(count, most);
        }
    }
}

TEST(AssignPacksTest, IsWithinFourThirdsOfTheLowerBound) {
    // The classic guarantee for longest processing time first; the cap on packs never broke it here.
    Dice dice(2);
    for (int i = 0; i < 300; ++i) {
        std::vector<std::uint64_t> costs(dice.roll(1, 64));
        for (std::uint64_t& cost : costs) cost = dice.roll(900, 1100);
        for (int world = 1; world <= 9; ++world) {
            const auto rank_of = assign_packs(costs, WorldSize{world});
            std::vector<std::uint64_t> load(static_cast<std::size_t>(world), 0);
            for (std::size_t p = 0; p < costs.size(); ++p)
                load[static_cast<std::size_t>(rank_of[p].value)] += costs[p];
            const std::uint64_t total = std::accumulate(costs.begin(), costs.end(), std::uint64_t{0});
            const std::uint64_t per_rank =
                (costs.size() + static_cast<std::size_t>(world) - 1) / static_cast<std::size_t>(world);
            const std::uint64_t bound = std::max(total / static_cast<std::uint64_t>(world), per_rank * 900);
            ASSERT_LE(*std::max_element(load.begin(), load.end()), bound * 4 / 3);
        }
    }
}

TEST(ShardTest, RanksPartitionEveryStep) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(3, 2000, 512);
    PlanOptions options;
    options.token_budget = 512;
    options.packs_per_step = 7;
    options.epochs = 2;
    const BatchPlan plan = build_plan(options, source);
    for (int world = 1; world <= 9; ++world) {
        for (std::uint64_t step = 0; step < plan.num_steps(); ++step) {
            std::vector<std::uint64_t> all;
            for (int rank = 0; rank < world; ++rank) {
                const auto packs = shard_of(plan, Step{step}, Rank{rank}, WorldSize{world});
                EXPECT_TRUE(std::is_sorted(packs.begin(), packs.end()));
                all.insert(all.end(), packs.begin(), packs.end());
            }
            std::sort(all.begin(), all.end());
            std::vector<std::uint64_t> expected(plan.step_begin[step + 1] - plan.step_begin[step]);
            std::iota(expected.begin(), expected.end(), plan.step_begin[step]);
            ASSERT_EQ(all, expected) << "step " << step << " of " << world << " ranks";
        }
    }
}

}  // namespace
}  // namespace lockstep
