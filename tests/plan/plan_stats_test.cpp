#include "plan/batch_plan.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

TEST(PlanStatsTest, CountsASmallPlanByHand) {
    TestSource source;
    source.sample_tokens = {6, 4, 0, 1, 15};
    PlanOptions options;
    options.token_budget = 10;
    options.packs_per_step = 2;
    options.epochs = 2;
    const PlanStats stats = plan_stats(build_plan(options, source));
    // 15 splits into 10 and 6: one token repeated an epoch.
    EXPECT_EQ(stats.samples, 5U);
    EXPECT_EQ(stats.segments, 10U);
    EXPECT_EQ(stats.planned_tokens, 2U * (6 + 4 + 1 + 16));
    EXPECT_EQ(stats.overlap_tokens, 2U);
    EXPECT_EQ(stats.targets, 2U * (5 + 3 + 14));
    EXPECT_EQ(stats.packs_lower_bound, 3U);
    EXPECT_EQ(stats.packs_first_epoch, 3U);
    EXPECT_EQ(stats.packs, 6U);
    EXPECT_EQ(stats.steps, 4U);
    EXPECT_EQ(stats.epochs, 2U);
    EXPECT_DOUBLE_EQ(stats.utilization, 27.0 / 30.0);
    EXPECT_DOUBLE_EQ(stats.packing_ratio, 10.0 / 6.0);
    // Batches in arrival order: {6}, {4, 1}, {10}, {6} pad to 6, 8, 10 and 6.
    EXPECT_DOUBLE_EQ(stats.padding_waste_padded, 3.0 / 30.0);
    EXPECT_EQ(stats.dispositions_by_kind, (std::vector<std::uint64_t>{2, 1, 0, 0, 1, 1}));
}

/// One batch after another, as the page on planning says it.
std::uint64_t tokens_of_padded_batches(const std::vector<std::uint32_t>& lengths,
                                       std::uint64_t token_budget) {
    std::uint64_t padded = 0, segments = 0, longest = 0;
    for (const std::uint64_t length : lengths) {
        if ((segments + 1) * std::max(longest, length) > token_budget) {
            padded += segments * longest;
            segments = longest = 0;
        }
        ++segments;
        longest = std::max(longest, length);
    }
    return padded + segments * longest;
}

TEST(PlanStatsTest, PaddedBatchesAreThoseCutOneAfterAnother) {
    Dice dice(71);
    for (int round = 0; round < 2000; ++round) {
        TestSource source;
        const std::uint64_t budget = dice.roll(2, 3000);
        const std::uint64_t longest = dice.roll(2, budget);
        for (std::uint64_t left = dice.roll(1, round % 20 == 0 ? 3000 : 50); left > 0; --left)
            source.sample_tokens.push_back(static_cast<std::uint32_t>(dice.roll(2, longest)));
        PlanOptions options;
        options.token_budget = static_cast<std::uint32_t>(budget);
        const PlanStats stats = plan_stats(build_plan(options, source));
        const auto padded = static_cast<double>(tokens_of_padded_batches(source.sample_tokens, budget));
        ASSERT_DOUBLE_EQ(stats.padding_waste_padded,
                         (padded - static_cast<double>(stats.planned_tokens)) / padded)
            << "round " << round;
    }
}

TEST(PlanStatsTest, BalanceStartsAtOneAndKnowsIdleRanks) {
    TestSource source;
    source.sample_tokens.assign(64, 10);
    PlanOptions options;
    options.token_budget = 10;
    options.packs_per_step = 8;
    const PlanStats stats = plan_stats(build_plan(options, source));
    ASSERT_EQ(stats.balance.size(), 7U);
    for (const auto& balance : stats.balance) {
        EXPECT_DOUBLE_EQ(balance.slowest_over_mean,
                         balance.world_size <= 8 ? 1.0 : static_cast<double>(balance.world_size) / 8);
    }
}

TEST(PlanStatsTest, BucketsAddUp) {
    TestSource source;
    source.sample_tokens = {100, 128, 129, 2048};
    PlanOptions options;
    options.mode = PlanMode::bucket;
    options.epochs = 2;
    const PlanStats stats = plan_stats(build_plan(options, source));
    ASSERT_EQ(stats.buckets.size(), 5U);
    EXPECT_EQ(stats.buckets[0].samples, 2U);
    EXPECT_EQ(stats.buckets[0].tokens, 228U);
    EXPECT_EQ(stats.buckets[0].pad_tokens, 28U);
    EXPECT_EQ(stats.buckets[1].pad_tokens, 127U);
    EXPECT_EQ(stats.buckets[2].samples, 0U);
    EXPECT_EQ(stats.buckets[4].upper, 2048U);
}

TEST(PlanStatsTest, LengthsOnlyPlansHaveNoTargets) {
    TestSource source;
    source.sample_tokens = {5, 6};
    source.lengths_only = true;
    EXPECT_EQ(plan_stats(build_plan(PlanOptions{}, source)).targets, 0U);
}

}  // namespace
}  // namespace lockstep
