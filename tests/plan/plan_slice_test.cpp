#include "plan/plan_slice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "plan/plan_revision.h"
#include "plan/shard.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

BatchPlan small_plan() {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(3, 200, 100);
    PlanOptions options;
    options.token_budget = 48;
    options.packs_per_step = 5;
    options.epochs = 2;
    return build_plan(options, source);
}

std::vector<Rank> ranks_of(const BatchPlan& plan, std::uint64_t begin, std::uint64_t end, WorldSize world) {
    std::vector<Rank> ranks;
    for (std::uint64_t step = begin; step < end; ++step) {
        const std::uint64_t first = plan.step_begin[step];
        const auto of_step =
            assign_packs(std::span(plan.pack_cost).subspan(first, plan.step_begin[step + 1] - first), world);
        ranks.insert(ranks.end(), of_step.begin(), of_step.end());
    }
    return ranks;
}

TEST(PlanSliceTest, TheSummaryCountsThePlan) {
    const BatchPlan plan = small_plan();
    const PlanSummary summary = summarize(plan, plan.num_packs(), totals_of(plan));
    EXPECT_EQ(summary.plan, plan.fingerprints.plan);
    EXPECT_EQ(summary.num_steps, plan.num_steps());
    EXPECT_EQ(summary.num_epochs, 2U);
    EXPECT_EQ(summary.num_packs, plan.num_packs());
    std::uint64_t tokens = 0, pairs = 0;
    for (const std::uint64_t length : plan.segment_tokens) {
        tokens += length;
        pairs += length * (length + 1) / 2;
    }
    EXPECT_EQ(summary.planned_tokens, tokens);
    EXPECT_EQ(summary.mean_context, pairs / tokens);
    EXPECT_EQ(summary.segment_tokens_max,
              *std::max_element(plan.segment_tokens.begin(), plan.segment_tokens.end()));
    std::uint64_t fullest = 0;
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack)
        fullest = std::max(fullest, plan.pack_tokens(pack));
    EXPECT_EQ(summary.pack_tokens_max, fullest);
    for (std::uint64_t step = 0; step <= plan.num_steps(); ++step) {
        EXPECT_EQ(summary.epoch_of(step), plan.epoch_of(step)) << step;
    }
}

// What is left when an exclusion has taken everything out of a plan.
TEST(PlanSliceTest, APlanWithoutTokensHasNoMeanContext) {
    const BatchPlan plan = small_plan();
    Exclusion everything;
    for (std::uint64_t step = 0; step < plan.num_steps(); ++step) everything.steps.push_back(step);
    const PlanTotals totals = totals_of(revise_plan(plan, everything, {}).plan);
    EXPECT_EQ(totals.planned_tokens, 0U);
    EXPECT_EQ(totals.mean_context, 0U);
    EXPECT_EQ(totals.pack_tokens_max, 0U);
}

TEST(PlanSliceTest, SlicesOfAllRanksHoldEverySegmentOnce) {
    const BatchPlan plan = small_plan();
    const std::vector<std::pair<std::uint64_t, std::uint64_t>> windows = {
        {0, plan.num_steps()}, {3, 4}, {2, 9}, {5, 5}};
    for (const auto& [begin, end] : windows) {
        for (int world = 1; world <= 9; ++world) {
            const std::vector<Rank> ranks = ranks_of(plan, begin, end, WorldSize{world});
            std::vector<int> times(plan.num_packs(), 0);
            const std::vector<PlanSlice> slices =
                slices_of(chunk_of(plan, begin, end), ranks, WorldSize{world});
            for (int rank = 0; rank < world; ++rank) {
                const PlanSlice& slice = slices[static_cast<std::size_t>(rank)];
                check_slice(slice);
                ASSERT_EQ(slice.step_begin, begin);
                ASSERT_EQ(slice.step_end, end);
                for (std::uint64_t step = begin; step < end; ++step) {
                    const std::vector<std::uint64_t> mine(
                        slice.pack.begin() + static_cast<std::ptrdiff_t>(slice.step_pack_begin[step - begin]),
                        slice.pack.begin() +
                            static_cast<std::ptrdiff_t>(slice.step_pack_begin[step - begin + 1]));
                    ASSERT_EQ(mine, shard_of(plan, Step{step}, Rank{rank}, WorldSize{world}));
                }
                for (std::size_t p = 0; p < slice.pack.size(); ++p) {
                    const std::uint64_t pack = slice.pack[p];
                    ++times[pack];
                    ASSERT_EQ(slice.segment_begin[p + 1] - slice.segment_begin[p],
                              plan.pack_begin[pack + 1] - plan.pack_begin[pack]);
                    for (std::uint64_t s = 0; s < plan.pack_begin[pack + 1] - plan.pack_begin[pack]; ++s) {
                        const std::uint64_t from = plan.pack_begin[pack] + s;
                        const std::uint64_t to = slice.segment_begin[p] + s;
                        ASSERT_EQ(slice.segment_sample[to], plan.segment_sample[from]);
                        ASSERT_EQ(slice.segment_offset[to], plan.segment_offset[from]);
                        ASSERT_EQ(slice.segment_tokens[to], plan.segment_tokens[from]);
                    }
                }
            }
            for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
                const bool inside = pack >= plan.step_begin[begin] && pack < plan.step_begin[end];
                ASSERT_EQ(times[pack], inside ? 1 : 0) << "pack " << pack << " of " << world << " ranks";
            }
        }
    }
}

TEST(PlanSliceTest, AMalformedSliceIsRefusedByField) {
    const BatchPlan plan = small_plan();
    const PlanSlice sound =
        slices_of(chunk_of(plan, 0, 4), ranks_of(plan, 0, 4, WorldSize{2}), WorldSize{2}).front();
    const auto refused = [&](const std::string& field, const std::function<void(PlanSlice&)>& change) {
        PlanSlice slice = sound;
        change(slice);
        expect_error(ErrorCode::corrupt_data, field, [&] { check_slice(slice); });
    };
    check_slice(sound);
    check_slice(PlanSlice{});
    refused("step_end", [](PlanSlice& s) { s.step_begin = s.step_end + 1; });
    refused("step_pack_begin", [](PlanSlice& s) { s.step_pack_begin.pop_back(); });
    refused("step_pack_begin", [](PlanSlice& s) { s.step_pack_begin.clear(); });
    refused("step_pack_begin", [](PlanSlice& s) { s.step_pack_begin[0] = 1; });
    refused("step_pack_begin", [](PlanSlice& s) { s.step_pack_begin[1] = ~std::uint64_t{0}; });
    refused("step_pack_begin", [](PlanSlice& s) { ++s.step_pack_begin.back(); });
    refused("step_pack_begin", [](PlanSlice& s) { s.pack.pop_back(); });
    // As many steps as there are numbers, so that their count and one is none.
    refused("step_pack_begin", [](PlanSlice& s) {
        s.step_begin = 0;
        s.step_end = ~std::uint64_t{0};
        s.step_pack_begin.clear();
    });
    refused("segment_begin", [](PlanSlice& s) { s.segment_begin.pop_back(); });
    refused("segment_begin", [](PlanSlice& s) { s.segment_begin[1] = ~std::uint64_t{0}; });
    refused("segment_begin", [](PlanSlice& s) { s.segment_sample.pop_back(); });
    refused("segment_offset", [](PlanSlice& s) { s.segment_offset.pop_back(); });
    refused("segment_tokens", [](PlanSlice& s) { s.segment_tokens.push_back(1); });
}

#if defined(LOCKSTEP_CONTRACTS)
TEST(PlanSliceTest, RanksAndStepsMustFit) {
    const BatchPlan plan = small_plan();
    std::vector<Rank> ranks = ranks_of(plan, 0, 4, WorldSize{2});
    std::vector<PlanSlice> first = slices_of(chunk_of(plan, 0, 4), ranks, WorldSize{2});
    ranks.pop_back();
    expect_error(ErrorCode::bug, "pack_rank.size()",
                 [&] { slices_of(chunk_of(plan, 0, 4), ranks, WorldSize{2}); });
    const PlanSlice sound = first[0];
    expect_error(ErrorCode::bug, "step_begin == slice.step_end", [&] { append(first[0], first[1]); });
    EXPECT_EQ(first[0], sound);
}
#endif

}  // namespace
}  // namespace lockstep
