#include "coordinator/distribution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "plan/shard.h"
#include "tests/coordinator/long_plan.h"
#include "tests/support/error_of.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

TEST(DistributionTest, EveryRankLearnsWhatThePlanIs) {
    const PlanDistribution distribution = distribute(test_communicator());
    const PlanSummary expected = serve(long_plan(), {}).summary();
    const PlanSummary& found = distribution.summary();
    EXPECT_EQ(found.plan, expected.plan);
    EXPECT_EQ(found.num_steps, expected.num_steps);
    EXPECT_EQ(found.num_epochs, expected.num_epochs);
    EXPECT_EQ(found.num_packs, expected.num_packs);
    EXPECT_EQ(found.planned_tokens, expected.planned_tokens);
    EXPECT_EQ(found.pack_tokens_max, expected.pack_tokens_max);
    EXPECT_EQ(found.segment_tokens_max, expected.segment_tokens_max);
    EXPECT_EQ(found.mean_context, expected.mean_context);
    EXPECT_EQ(found.epoch_begin, expected.epoch_begin);
    EXPECT_EQ(distribution.sources(), bound_sources());
}

TEST(DistributionTest, WindowsWalkTheWholePlanAndSlicesPartitionIt) {
    Communicator& comm = test_communicator();
    const BatchPlan& plan = long_plan();
    ASSERT_GT(plan.num_steps(), 2 * window_steps);
    PlanDistribution distribution = distribute(comm);
    std::vector<std::int64_t> times(plan.num_packs(), 0);  // That a pack was given to some rank.
    for (std::uint64_t step = 0; step < plan.num_steps();) {
        const StepWindow window = distribution.fetch(step);
        const PlanSlice& slice = window.slice;
        EXPECT_EQ(slice.step_begin, step);
        EXPECT_EQ(slice.step_end, std::min(step + window_steps, plan.num_steps()));
        const PlanChunkColumns steps = chunk_of(plan, slice.step_begin, slice.step_end);
        const auto slices = slices_of(steps, assign_steps(steps, comm.size()), comm.size());
        EXPECT_TRUE(slice == slices[static_cast<std::size_t>(comm.rank().value)]);
        for (; step < slice.step_end; ++step) {
            const std::size_t i = step - slice.step_begin;
            EXPECT_EQ(window.step_packs[i], plan.step_begin[step]);
            EXPECT_EQ(window.step_packs[i + 1], plan.step_begin[step + 1]);
            std::uint64_t targets = 0;
            for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
                targets += plan.pack_targets[pack];
            }
            EXPECT_EQ(window.step_targets[i], targets);
            const std::vector<std::uint64_t> mine(
                slice.pack.begin() + static_cast<std::ptrdiff_t>(slice.step_pack_begin[i]),
                slice.pack.begin() + static_cast<std::ptrdiff_t>(slice.step_pack_begin[i + 1]));
            EXPECT_EQ(mine, shard_of(plan, Step{step}, comm.rank(), comm.size()));
            for (const std::uint64_t pack : mine) ++times[pack];
        }
    }
    comm.sum(times);
    EXPECT_TRUE(std::all_of(times.begin(), times.end(), [](std::int64_t t) { return t == 1; }));
}

TEST(DistributionTest, AWindowFromTheMiddleEndsWhereTheOthersDo) {
    Communicator& comm = test_communicator();
    PlanDistribution distribution = distribute(comm);
    for (const std::uint64_t step :
         {window_steps - 1, window_steps, window_steps + 44, long_plan().num_steps() - 1}) {
        const StepWindow window = distribution.fetch(step);
        EXPECT_EQ(window.slice.step_begin, step);
        EXPECT_EQ(window.slice.step_end,
                  std::min((step / window_steps + 1) * window_steps, long_plan().num_steps()));
        EXPECT_EQ(window.step_targets.size(), window.slice.step_end - step);
    }
}

TEST(DistributionTest, AFailureOfRank0ReachesEveryRank) {
    Communicator& comm = test_communicator();
    PlanDistribution distribution = distribute(comm);
    const Error error = error_of([&] { distribution.fetch(long_plan().num_steps()); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr("the plan has"));
    EXPECT_THAT(error.what(), testing::StartsWith(comm.size().value > 1 ? "rank 0: " : "step "));
    // The ranks are still in step.
    EXPECT_EQ(distribution.fetch(0).slice.step_end, window_steps);
}

TEST(DistributionTest, AWindowAcrossEpochsIsOfSeveralChunks) {
    const BatchPlan& plan = long_plan();
    const std::uint64_t border = plan.epoch_begin[1];
    ASSERT_NE(border % window_steps, 0U);
    const StepWindow window = window_of(serve(plan, bound_sources()), border - 5, border + 5);
    const PlanChunkColumns steps = chunk_of(plan, border - 5, border + 5);
    EXPECT_TRUE(window.slice == slices_of(steps, assign_steps(steps, WorldSize{1}), WorldSize{1}).front());
    for (std::size_t i = 0; i <= 10; ++i) EXPECT_EQ(window.step_packs[i], plan.step_begin[border - 5 + i]);
}

TEST(DistributionTest, TargetsOfAPlanOfLengthsAreCounted) {
    BatchPlan plan = long_plan();
    ServedPlan served = serve(plan, bound_sources());
    const StepWindow expected = window_of(served, 3, 7);
    plan.pack_targets.clear();
    // Every token but a segment's first is a target here.
    served.targets = [](std::uint64_t, std::uint32_t, std::uint32_t tokens) { return tokens - 1; };
    EXPECT_EQ(window_of(served, 3, 7).step_targets, expected.step_targets);
}

TEST(DistributionTest, PacksLargerThanTheRecordSaysAreRefused) {
    ServedPlan served = serve(long_plan(), bound_sources());
    --served.totals.pack_tokens_max;
    Error error = error_of([&] { window_of(served, 0, long_plan().num_steps()); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), testing::HasSubstr("by the run's record packs have at most"));
    served = serve(long_plan(), bound_sources());
    --served.totals.segment_tokens_max;
    error = error_of([&] { window_of(served, 0, long_plan().num_steps()); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
}

TEST(DistributionTest, OneRanksViewOfSomeStepsHoldsAllTheirPacks) {
    const BatchPlan& plan = long_plan();
    const StepWindow window = window_of(serve(plan, bound_sources()), 3, 7);
    EXPECT_EQ(window.slice.pack.size(), plan.step_begin[7] - plan.step_begin[3]);
    EXPECT_EQ(window.slice.pack.front(), plan.step_begin[3]);
    EXPECT_EQ(window.step_packs.front(), plan.step_begin[3]);
    EXPECT_EQ(window.step_packs.back(), plan.step_begin[7]);
    EXPECT_EQ(window.step_targets.size(), 4U);
}

}  // namespace
}  // namespace lockstep
