// Order matters, and is seen: two plans that differ by one swap across steps end in different bits.

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "coordinator/plan_store.h"
#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

/// Swap the first segment of `step` with an equally long one of a later step, so that nothing else changes.
bool swap_across_steps(BatchPlan& plan, std::uint64_t step) {
    const std::uint64_t first = plan.pack_begin[plan.step_begin[step]];
    for (std::uint64_t s = plan.pack_begin[plan.step_begin[step + 1]];
         s < plan.pack_begin[plan.step_begin[step + 3]]; ++s) {
        if (plan.segment_tokens[s] != plan.segment_tokens[first] || plan.segment_offset[s] != 0) continue;
        std::swap(plan.segment_sample[s], plan.segment_sample[first]);
        std::swap(plan.segment_offset[s], plan.segment_offset[first]);
        return true;
    }
    return false;
}

TEST(PlanSwapTest, OneSwapAcrossStepsChangesPlanLossAndState) {
    const SmallWorld& world = SmallWorld::get();
    std::vector<PlanInput> inputs;
    inputs.push_back(PlanInput::open(world.corpus(), ""));
    BatchPlan plan = load_plan(world.plan(), PlanCheck::content);
    bool swapped = false;
    for (std::uint64_t step = 0; step < 6 && !swapped; ++step) swapped = swap_across_steps(plan, step);
    ASSERT_TRUE(swapped) << "the small world holds no two segments of equal length in its first steps";
    plan.fingerprints = fingerprint_plan(plan);
    const std::string other = world.fresh("plan");
    save_plan(other, plan, plan_stats(plan), inputs, WriteJsonl::always, Overwrite::no);

    const std::string run = world.fresh("run");
    auto arguments = train_arguments(run, 8);
    *std::find(arguments.begin(), arguments.end(), world.plan()) = other;
    const auto trained = run_lockstep_program(2, arguments);
    ASSERT_EQ(trained.exit_code, 0) << trained.err;
    const RunBits bits = bits_of(run);
    EXPECT_NE(bits.state_digest, undisturbed_bits(8).state_digest);
    EXPECT_NE(bits.loss_hex, undisturbed_bits(8).loss_hex);
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 0) << "each run is true to its own plan";

    // And with the first plan in its place, the same run is not proven.
    const auto verify = run_lockstep_program(0, {"verify", run, "-p", world.plan()});
    EXPECT_EQ(verify.exit_code, 65) << verify.out << verify.err;
}

}  // namespace
}  // namespace lockstep::test
