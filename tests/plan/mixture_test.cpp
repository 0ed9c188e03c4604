#include "plan/mixture.h"

#include <algorithm>

#include "plan/balance.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

std::size_t source_of(const BatchPlan& plan, std::uint64_t sample) {
    std::size_t source = 0;
    while (sample >= plan.sources[source].sample_base + plan.sources[source].num_samples) ++source;
    return source;
}

/// Largest distance, at any step boundary, of a source's tokens from its share of all tokens so far.
double largest_error(const BatchPlan& plan, const std::vector<std::uint64_t>& totals) {
    std::uint64_t run = 0;
    for (const std::uint64_t total : totals) run += total;
    std::vector<double> given(totals.size(), 0);
    double all = 0;
    double largest = 0;
    for (std::uint64_t step = 0; step < plan.num_steps(); ++step) {
        const std::uint64_t end = plan.pack_begin[plan.step_begin[step + 1]];
        for (std::uint64_t s = plan.pack_begin[plan.step_begin[step]]; s < end; ++s) {
            given[source_of(plan, plan.segment_sample[s])] += plan.segment_tokens[s];
            all += plan.segment_tokens[s];
        }
        for (std::size_t i = 0; i < totals.size(); ++i) {
            const double due = all * static_cast<double>(totals[i]) / static_cast<double>(run);
            largest = std::max(largest, std::abs(given[i] - due));
        }
    }
    return largest;
}

std::vector<std::uint64_t> tokens_by_source(const BatchPlan& plan) {
    std::vector<std::uint64_t> totals(plan.sources.size(), 0);
    for (std::uint64_t s = 0; s < plan.num_segments(); ++s) {
        totals[source_of(plan, plan.segment_sample[s])] += plan.segment_tokens[s];
    }
    return totals;
}

TEST(MixtureTest, WeightsAreSharesOfTokensAtEveryStepWithinOneWindow) {
    std::vector<TestSource> sources(3);
    for (std::size_t i = 0; i < sources.size(); ++i) {
        sources[i].name = "source" + std::to_string(i);
        sources[i].sample_tokens = long_tailed_lengths(i + 1, 4000 * (i + 1), 600);
        sources[i].weight = 3 - i;
    }
    PlanOptions options;
    options.token_budget = 512;
    options.epochs = 2;
    const auto inputs = views_of(sources);
    const BatchPlan plan = build_plan(options, inputs);
    validate_plan(plan, inputs);
    const auto totals = tokens_by_source(plan);
    const double run = static_cast<double>(totals[0] + totals[1] + totals[2]);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_NEAR(static_cast<double>(totals[i]) / run, static_cast<double>(3 - i) / 6, 600 / run + 1e-9);
    }
    const double window =
        static_cast<double>(balance_window_steps) * options.packs_per_step * options.token_budget;
    EXPECT_LE(largest_error(plan, totals), window);
    // The first source runs out first: its samples come exactly as often as there are epochs.
    std::vector<int> times(sources[0].sample_tokens.size(), 0);
    for (std::uint64_t s = 0; s < plan.num_segments(); ++s) {
        if (plan.segment_sample[s] < times.size() && plan.segment_offset[s] == 0)
            ++times[plan.segment_sample[s]];
    }
    EXPECT_EQ(*std::ranges::min_element(times), 2);
    EXPECT_EQ(*std::ranges::max_element(times), 2);
    // Packs are as full as anywhere: nothing is lost to the blocks but the last one.
    EXPECT_GT(run / (static_cast<double>(plan.num_packs()) * options.token_budget), 0.985);
}

TEST(MixtureTest, PassesAreExact) {
    std::vector<TestSource> sources(2);
    sources[0].sample_tokens = long_tailed_lengths(1, 300, 100);
    sources[0].passes = 5;
    sources[1].sample_tokens = long_tailed_lengths(2, 5000, 100);
    sources[1].passes = 1;
    PlanOptions options;
    options.token_budget = 128;
    options.packs_per_step = 3;
    const auto inputs = views_of(sources);
    const BatchPlan plan = build_plan(options, inputs);
    validate_plan(plan, inputs);
    std::vector<int> times(5300, 0);
    for (const std::uint64_t sample : plan.segment_sample) ++times[sample];
    for (std::size_t i = 0; i < times.size(); ++i) EXPECT_EQ(times[i], i < 300 ? 5 : 1);
    // No pass begins before the one before it has ended, so repeats keep their distance on average.
    EXPECT_EQ(build_plan(options, inputs), plan);
}

TEST(MixtureTest, ACapOnPassesMakesTheRunLonger) {
    std::vector<TestSource> sources(2);
    sources[0].sample_tokens.assign(100, 50);
    sources[0].weight = 1;
    sources[1].sample_tokens.assign(10000, 50);
    sources[1].weight = 1;
    PlanOptions options;
    options.token_budget = 100;
    options.packs_per_step = 2;
    EXPECT_EQ(build_plan(options, views_of(sources)).num_segments(), 200U);
    sources[0].passes_max = 7;
    EXPECT_EQ(build_plan(options, views_of(sources)).num_segments(), 1400U);
    sources[0].passes_max = 1000;
    EXPECT_EQ(build_plan(options, views_of(sources)).num_segments(), 20000U);
}

TEST(MixtureTest, EveryRandomMixtureIsSound) {
    Dice dice(3);
    for (int i = 0; i < 400; ++i) {
        SCOPED_TRACE("case " + std::to_string(i));
        std::vector<TestSource> sources(dice.roll(1, 4));
        const bool weighted = dice.coin();
        for (TestSource& source : sources) {
            source.sample_tokens.resize(dice.roll(20, 80));
            for (std::uint32_t& tokens : source.sample_tokens)
                tokens = static_cast<std::uint32_t>(dice.roll(0, 90));
            source.sample_tokens.push_back(3);
            if (weighted) {
                source.weight = dice.roll(1, 1000);
                source.passes_max = static_cast<std::uint32_t>(dice.roll(0, 4));
            } else {
                source.passes = static_cast<std::uint32_t>(dice.roll(1, 4));
            }
            if (dice.coin()) add_random_spans(source, dice);
        }
        PlanOptions options;
        options.token_budget = static_cast<std::uint32_t>(dice.roll(8, 120));
        options.packs_per_step = static_cast<std::uint32_t>(dice.roll(1, 5));
        options.epochs = dice.roll(1, 4);
        options.long_policy = dice.coin() ? LongPolicy::split : LongPolicy::truncate;
        options.order = dice.coin() ? PackOrder::shuffle : PackOrder::in_order;
        options.segments_per_pack_max = static_cast<std::uint32_t>(dice.coin() ? 0 : dice.roll(1, 5));
        const auto inputs = views_of(sources);
        const BatchPlan plan = build_plan(options, inputs);
        ASSERT_NO_THROW(validate_plan(plan, inputs));
        const double window =
            static_cast<double>(balance_window_steps) * options.packs_per_step * options.token_budget;
        ASSERT_LE(largest_error(plan, tokens_by_source(plan)), window);
    }
}

TEST(MixtureTest, ImpossibleMixturesAreRefused) {
    std::vector<TestSource> sources(2);
    sources[0].sample_tokens = {5};
    sources[1].sample_tokens = {5};
    sources[0].weight = 1;
    const auto refused = [&](const std::string& what) {
        expect_error(ErrorCode::invalid_argument, what,
                     [&] { build_plan(PlanOptions{}, views_of(sources)); });
    };
    refused("no weight");
    sources[1].passes = 1;
    refused("weight");
    sources[1].passes = 0;
    sources[1].weight = 1;
    sources[1].sample_tokens = {0};
    refused("no tokens");
    sources[1].sample_tokens = {5};
    PlanOptions many;
    many.epochs = 10;
    sources[0].passes_max = sources[1].passes_max = 1;
    expect_error(ErrorCode::invalid_argument, "fewer epochs", [&] { build_plan(many, views_of(sources)); });
    PlanOptions staged;
    staged.order = PackOrder::length_stages;
    expect_error(ErrorCode::invalid_argument, "mixture", [&] { build_plan(staged, views_of(sources)); });
}

TEST(MixtureTest, AMissingOrRepeatedSampleIsFound) {
    std::vector<TestSource> sources(2);
    sources[0].sample_tokens.assign(40, 10);
    sources[1].sample_tokens.assign(40, 10);
    sources[0].passes = 2;
    sources[1].passes = 1;
    PlanOptions options;
    options.token_budget = 40;
    const auto inputs = views_of(sources);
    BatchPlan plan = build_plan(options, inputs);
    plan.segment_sample[5] = plan.segment_sample[5] == 7 ? 8 : 7;
    plan.fingerprints = fingerprint_plan(plan);
    expect_error(ErrorCode::corrupt_data, "times in the run", [&] { validate_plan(plan, inputs); });
}

TEST(MixtureTest, ASourceWhoseShareIsLessThanATokenIsRefused) {
    std::vector<TestSource> sources(2);
    sources[0].sample_tokens = {1};
    sources[0].weight = 9;
    sources[0].name = "common";
    sources[1].name = "rare";
    sources[1].sample_tokens = {1};
    sources[1].weight = 1;
    expect_error(ErrorCode::invalid_argument, "gets none of the",
                 [&] { build_plan(PlanOptions{}, views_of(sources)); });
}

}  // namespace
}  // namespace lockstep
