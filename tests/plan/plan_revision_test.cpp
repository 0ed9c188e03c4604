#include "plan/plan_revision.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "plan/dispositions.h"
#include "plan/plan_columns.h"
#include "plan/plan_diff.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

TestSource random_source(Dice& dice, bool spans) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(dice.roll(0, 1U << 20U), dice.roll(5, 80), 64);
    if (spans) add_random_spans(source, dice);
    return source;
}

PlanOptions random_options(Dice& dice) {
    PlanOptions options;
    options.token_budget = 64;
    options.packs_per_step = static_cast<std::uint32_t>(dice.roll(1, 4));
    options.epochs = dice.roll(1, 3);
    options.seed = dice.roll(0, 1000);
    if (dice.coin()) {
        options.mode = PlanMode::bucket;
        options.bucket_edges = {8, 24};
        options.bucket_overflow_max = 64;
    }
    return options;
}

/// What must be true of a revision, told segment by segment from the plan and the exclusion.
void expect_revision_of(const BatchPlan& plan, const Exclusion& exclusion, const BatchPlan& revised,
                        const SegmentTargets& targets) {
    EXPECT_EQ(revised.parent, plan.fingerprints.plan);
    EXPECT_EQ(revised.from_step, exclusion.from_step);
    EXPECT_EQ(revised.step_begin, plan.step_begin);
    EXPECT_EQ(revised.epoch_begin, plan.epoch_begin);
    ASSERT_EQ(revised.num_packs(), plan.num_packs());
    const std::set<std::uint64_t> samples(exclusion.samples.begin(), exclusion.samples.end());
    const std::set<std::uint64_t> steps(exclusion.steps.begin(), exclusion.steps.end());
    std::uint64_t at = 0;
    for (std::uint64_t step = 0; step < plan.num_steps(); ++step) {
        for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
            std::uint32_t expected_targets = 0;
            for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s) {
                if (step >= exclusion.from_step &&
                    (steps.contains(step) || samples.contains(plan.segment_sample[s]))) {
                    continue;
                }
                ASSERT_LT(at, revised.num_segments());
                EXPECT_EQ(revised.segment_sample[at], plan.segment_sample[s]);
                EXPECT_EQ(revised.segment_offset[at], plan.segment_offset[s]);
                EXPECT_EQ(revised.segment_tokens[at], plan.segment_tokens[s]);
                expected_targets +=
                    targets(plan.segment_sample[s], plan.segment_offset[s], plan.segment_tokens[s]);
                ++at;
            }
            EXPECT_EQ(revised.pack_begin[pack + 1], at) << "pack " << pack;
            EXPECT_EQ(revised.pack_targets[pack], expected_targets) << "pack " << pack;
        }
    }
    EXPECT_EQ(at, revised.num_segments());
}

TEST(PlanRevisionTest, LeavesOutWhatIsNamedAndNothingElse) {
    Dice dice(11);
    for (int round = 0; round < 300; ++round) {
        const TestSource source = random_source(dice, dice.coin());
        const SourceLengths view = source.view();
        const BatchPlan plan = build_plan(random_options(dice), source);
        const SegmentTargets targets = [&](std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens) {
            return segment_targets(view, sample, offset, tokens);
        };
        Exclusion exclusion;
        exclusion.from_step = dice.roll(0, plan.num_steps() - 1);
        const std::uint64_t first = plan.pack_begin[plan.step_begin[exclusion.from_step]];
        std::set<std::uint64_t> samples;
        for (std::uint64_t i = dice.roll(0, 3); i > 0; --i) {
            samples.insert(plan.segment_sample[dice.roll(first, plan.num_segments() - 1)]);
        }
        exclusion.samples.assign(samples.begin(), samples.end());
        if (samples.empty() || dice.coin()) {
            exclusion.steps.push_back(dice.roll(exclusion.from_step, plan.num_steps() - 1));
        }
        const Revision revision = revise_plan(plan, exclusion, targets);
        expect_revision_of(plan, exclusion, revision.plan, targets);
        EXPECT_EQ(revision.segments_removed, plan.num_segments() - revision.plan.num_segments());
        EXPECT_NO_THROW(validate_plan(revision.plan, source));
        EXPECT_EQ(from_columns(to_columns(revision.plan)), revision.plan);
        EXPECT_FALSE(first_difference(view_of(plan), view_of(revision.plan), exclusion.from_step));
        EXPECT_NE(revision.plan.fingerprints.plan, plan.fingerprints.plan);
        EXPECT_EQ(revision.plan.fingerprints.settings, plan.fingerprints.settings);
        const RevisionCounts proven = check_revision(view_of(plan), view_of(revision.plan));
        EXPECT_EQ(proven.segments_removed, revision.segments_removed);
        EXPECT_EQ(proven.tokens_removed, revision.tokens_removed);
        EXPECT_EQ(proven.packs_changed, revision.packs_changed);
        EXPECT_EQ(proven.packs_emptied, revision.packs_emptied);
    }
}

class SmallRevisionTest : public testing::Test {
  protected:
    SmallRevisionTest() {
        source_.sample_tokens = long_tailed_lengths(5, 60, 64);
        options_.token_budget = 64;
        options_.packs_per_step = 2;
        options_.epochs = 2;
        plan_ = build_plan(options_, source_);
    }

    void expect_refused(const Exclusion& exclusion, const std::string& noun) {
        expect_error(ErrorCode::invalid_argument, noun, [&] { revise_plan(plan_, exclusion, {}); });
    }

    TestSource source_;
    PlanOptions options_;
    BatchPlan plan_;
};

TEST_F(SmallRevisionTest, ARevisionOfARevisionNamesItsOwnParent) {
    const std::uint64_t last = plan_.num_steps() - 1;
    const Revision first = revise_plan(plan_, {last - 3, {}, {last - 2}}, {});
    const Revision second = revise_plan(first.plan, {last - 1, {}, {last}}, {});
    EXPECT_EQ(second.plan.parent, first.plan.fingerprints.plan);
    EXPECT_NO_THROW(validate_plan(second.plan, source_));
    const std::uint64_t pack = plan_.step_begin[last - 2];
    EXPECT_EQ(second.plan.pack_begin[pack], second.plan.pack_begin[pack + 1]) << "the first hole stays";
    expect_error(ErrorCode::invalid_argument, "is empty already", [&] {
        revise_plan(second.plan, {0, {}, {last}}, {});
    });
}

TEST_F(SmallRevisionTest, ChunksWithoutAnythingExcludedKeepTheirFingerprint) {
    const Revision revision = revise_plan(plan_, {plan_.epoch_begin[1], {}, {plan_.epoch_begin[1]}}, {});
    EXPECT_EQ(revision.plan.fingerprints.epochs[0], plan_.fingerprints.epochs[0]);
    EXPECT_NE(revision.plan.fingerprints.epochs[1], plan_.fingerprints.epochs[1]);
}

TEST_F(SmallRevisionTest, WhatWasNotLeftOutIsProvenUnchanged) {
    const std::uint64_t from_step = plan_.num_steps() - 2;
    const BatchPlan revised = revise_plan(plan_, {from_step, {}, {from_step}}, {}).plan;
    const auto expect_found = [&](const char* noun, const auto& change) {
        BatchPlan other = revised;
        change(other);
        other.fingerprints = fingerprint_plan(other);
        expect_error(ErrorCode::corrupt_data, noun, [&] { check_revision(view_of(plan_), view_of(other)); });
    };
    expect_found("step 0, pack 0", [](BatchPlan& other) { ++other.segment_tokens[0]; });
    expect_found("tokens 0 on of sample", [](BatchPlan& other) {
        std::swap(other.segment_sample[0], other.segment_sample[other.num_segments() - 1]);
    });
    expect_found("cost, targets", [](BatchPlan& other) { ++other.pack_cost[1]; });
    expect_found("before the revision's first step",
                 [&](BatchPlan& other) { other.from_step = plan_.num_steps() - 1; });
    expect_found("number of packs than", [](BatchPlan& other) { ++other.step_begin[1]; });
    expect_found("settings", [](BatchPlan& other) { ++other.options.seed; });
    expect_error(ErrorCode::invalid_argument, "no revision",
                 [&] { check_revision(view_of(plan_), view_of(plan_)); });
    const BatchPlan third = revise_plan(revised, {from_step + 1, {}, {from_step + 1}}, {}).plan;
    expect_error(ErrorCode::fingerprint_mismatch, "give the plan it was made from",
                 [&] { check_revision(view_of(plan_), view_of(third)); });
}

TEST_F(SmallRevisionTest, AbsentThingsAreRefused) {
    expect_refused({0, {}, {}}, "nothing is named");
    expect_refused({0, {60}, {}}, "sample 60 does not exist");
    expect_refused({plan_.num_steps(), {1}, {}}, "from-step");
    expect_refused({3, {}, {2}}, "step 2");
    expect_refused({3, {}, {plan_.num_steps()}}, "step " + std::to_string(plan_.num_steps()));
    expect_refused({0, {4, 4}, {}}, "sample 4");
    // Present, but never from there on.
    const std::uint64_t last = plan_.num_steps() - 1;
    const std::set<std::uint64_t> in_last(
        plan_.segment_sample.begin() + static_cast<std::ptrdiff_t>(plan_.pack_begin[plan_.step_begin[last]]),
        plan_.segment_sample.end());
    std::uint64_t absent = 0;
    while (in_last.contains(absent)) ++absent;
    expect_refused({last, {absent}, {}}, "sample " + std::to_string(absent));
    const Revision gone = revise_plan(plan_, {0, {7}, {}}, {});
    expect_error(ErrorCode::invalid_argument, "sample 7", [&] { revise_plan(gone.plan, {0, {7}, {}}, {}); });
}

TEST_F(SmallRevisionTest, PacksWithLossSpansNeedTheirCorpus) {
    Dice dice(2);
    add_random_spans(source_, dice);
    options_.long_policy = LongPolicy::split;
    plan_ = build_plan(options_, source_);
    // A pack of several segments that trains some of its tokens.
    std::uint64_t pack = 0;
    while (plan_.pack_begin[pack + 1] - plan_.pack_begin[pack] < 2 || plan_.pack_targets[pack] == 0) ++pack;
    expect_refused({0, {plan_.segment_sample[plan_.pack_begin[pack]]}, {}}, "pass -d CORPUS");
}

}  // namespace
}  // namespace lockstep
