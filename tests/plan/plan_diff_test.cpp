#include "plan/plan_diff.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

PlanOptions small_steps() {
    PlanOptions options;
    options.token_budget = 64;
    options.packs_per_step = 2;
    options.epochs = 2;
    return options;
}

/// More than one chunk an epoch.
BatchPlan long_plan(std::uint64_t seed = 42) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(7, 20000, 64);
    PlanOptions options = small_steps();
    options.packs_per_step = 1;
    options.seed = seed;
    return build_plan(options, source);
}

std::uint64_t step_of(const BatchPlan& plan, std::uint64_t pack) {
    const auto after = std::upper_bound(plan.step_begin.begin(), plan.step_begin.end(), pack);
    return static_cast<std::uint64_t>(after - plan.step_begin.begin()) - 1;
}

TEST(PlanDiffTest, EqualPlansHaveNoDifference) {
    const BatchPlan plan = long_plan();
    EXPECT_FALSE(first_difference(view_of(plan), view_of(plan)));
    EXPECT_TRUE(setting_differences(view_of(plan), view_of(plan)).empty());
    EXPECT_EQ(count_differing_chunks(view_of(plan), view_of(plan)).differing, 0U);
}

TEST(PlanDiffTest, NamesTheFirstFieldThatDiffersWhereverItIs) {
    const BatchPlan plan = long_plan();
    ASSERT_GT(plan.fingerprints.chunks.size(), 3U);
    Dice dice(3);
    for (int round = 0; round < 60; ++round) {
        BatchPlan other = plan;
        const std::uint64_t pack = dice.roll(0, plan.num_packs() - 1);
        const std::uint64_t segment = dice.roll(plan.pack_begin[pack], plan.pack_begin[pack + 1] - 1);
        std::string field;
        switch (dice.roll(0, 4)) {
            case 0:
                field = "segment_sample";
                other.segment_sample[segment] ^= 1U;
                break;
            case 1:
                field = "segment_offset";
                other.segment_offset[segment] += 1;
                break;
            case 2:
                field = "segment_tokens";
                other.segment_tokens[segment] += 1;
                break;
            case 3:
                field = "pack_cost";
                other.pack_cost[pack] += 1;
                break;
            default:
                field = "pack_targets";
                other.pack_targets[pack] += 1;
        }
        other.fingerprints = fingerprint_plan(other);
        const auto found = first_difference(view_of(plan), view_of(other));
        ASSERT_TRUE(found);
        const std::uint64_t step = step_of(plan, pack);
        EXPECT_EQ(found->field, field);
        EXPECT_EQ(found->step, step);
        EXPECT_EQ(found->epoch, plan.epoch_of(step));
        EXPECT_EQ(found->pack, pack);
        if (field.starts_with("segment")) {
            EXPECT_EQ(found->segment, segment - plan.pack_begin[pack]);
        }
        EXPECT_FALSE(first_difference(view_of(plan), view_of(other), step)) << "steps before it agree";
        EXPECT_TRUE(first_difference(view_of(plan), view_of(other), step + 1));
        EXPECT_EQ(count_differing_chunks(view_of(plan), view_of(other)).differing, 1U);
    }
}

TEST(PlanDiffTest, LooksOnlyIntoChunksThatDiffer) {
    const BatchPlan plan = long_plan();
    BatchPlan other = plan;
    other.segment_sample.back() ^= 1U;
    other.fingerprints = fingerprint_plan(other);
    std::vector<std::size_t> fetched;
    PlanView view = view_of(plan);
    view.chunk = [&, inner = view.chunk](std::size_t chunk) {
        fetched.push_back(chunk);
        return inner(chunk);
    };
    EXPECT_TRUE(first_difference(view, view_of(other)));
    EXPECT_EQ(fetched, (std::vector<std::size_t>{plan.fingerprints.chunks.size() - 1}));
}

TEST(PlanDiffTest, ShorterEpochsAndFewerEpochsAreDifferences) {
    TestSource source;
    source.sample_tokens.assign(20, 64);
    const BatchPlan plan = build_plan(small_steps(), source);
    PlanOptions once = small_steps();
    once.epochs = 1;
    const BatchPlan shorter = build_plan(once, source);
    const auto epochs = first_difference(view_of(plan), view_of(shorter));
    ASSERT_TRUE(epochs);
    EXPECT_EQ(epochs->field, "epochs");
    EXPECT_EQ(epochs->step, 10U);
    EXPECT_FALSE(first_difference(view_of(plan), view_of(shorter), 10));

    // The same packs in order, but the source ends earlier.
    PlanOptions in_order = small_steps();
    in_order.predictable = true;
    TestSource fewer = source;
    fewer.sample_tokens.resize(16);
    const BatchPlan whole = build_plan(in_order, source);
    const BatchPlan cut = build_plan(in_order, fewer);
    const auto end = first_difference(view_of(whole), view_of(cut));
    ASSERT_TRUE(end);
    EXPECT_EQ(end->field, "steps of the epoch");
    EXPECT_EQ(end->step, 8U);
    EXPECT_FALSE(first_difference(view_of(whole), view_of(cut), 8));
}

TEST(PlanDiffTest, SummaryNamesOptionsSourcesAndCounts) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(1, 100, 64);
    PlanOptions options = small_steps();
    const BatchPlan a = build_plan(options, source);
    options.token_budget = 128;
    source.name = "other";
    const BatchPlan b = build_plan(options, source);
    std::vector<std::string> names;
    for (const SettingDifference& line : setting_differences(view_of(a), view_of(b))) {
        names.push_back(line.what);
    }
    const auto has = [&](const std::string& name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    EXPECT_TRUE(has("option token_budget"));
    EXPECT_TRUE(has("source 0 'test': name"));
    EXPECT_TRUE(has("packs"));
    EXPECT_FALSE(has("option seed"));
}

}  // namespace
}  // namespace lockstep
