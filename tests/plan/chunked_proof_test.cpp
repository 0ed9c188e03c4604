// What a proof must remember from one chunk of steps to the next.

#include <algorithm>
#include <string>
#include <vector>

#include "plan/lazarus/plan.h"
#include "plan/plan_revision.h"
#include "plan/plan_structure.h"
#include "plan/plan_view.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

constexpr std::uint64_t chunk_steps = plan_steps_per_chunk;

TestSource source_of(std::size_t samples, std::uint32_t tokens) {
    TestSource source;
    source.sample_tokens.assign(samples, tokens);
    return source;
}

/// A pack a step.
PlanOptions one_pack_a_step(std::uint32_t token_budget) {
    PlanOptions options;
    options.token_budget = token_budget;
    options.packs_per_step = 1;
    return options;
}

/// Two epochs; of 1,500 samples four chunks.
BatchPlan plan_of_pairs(const TestSource& source) {
    PlanOptions options = one_pack_a_step(4);
    options.epochs = 2;
    return build_plan(options, source);
}

TEST(ChunkedProofTest, TheTargetsOfAPackAreNamedWhereTheyStand) {
    const TestSource source = source_of(1500, 3);
    BatchPlan plan = plan_of_pairs(source);
    const std::uint64_t row = 1500 + chunk_steps + 7;
    --plan.pack_targets[row];
    plan.fingerprints = fingerprint_plan(plan);
    const std::string at = "step " + std::to_string(row) + ", pack " + std::to_string(row);
    expect_error(ErrorCode::corrupt_data, at + ": pack_targets, expected 2, found 1",
                 [&] { validate_plan(plan, source); });
    expect_error(ErrorCode::corrupt_data, "epoch 1 (from step 1500) has 2999 targets, the first epoch 3000",
                 [&] { validate_plan(plan, std::span<const SourceLengths>{}); });
}

TEST(ChunkedProofTest, TargetsOfEpochsAreSummedOverTheirChunks) {
    const TestSource source = source_of(1500, 3);
    BatchPlan plan = plan_of_pairs(source);
    // One target less in the same chunk of each epoch: the sums agree, the packs do not.
    --plan.pack_targets[5];
    --plan.pack_targets[1500 + 5];
    plan.fingerprints = fingerprint_plan(plan);
    validate_plan(plan, std::span<const SourceLengths>{});
    expect_error(ErrorCode::corrupt_data, "step 5, pack 5", [&] { validate_plan(plan, source); });
}

TEST(ChunkedProofTest, AStageEndsItsStepOnceAnEpoch) {
    PlanOptions options = one_pack_a_step(3);
    options.packs_per_step = 4;
    options.order = PackOrder::length_stages;
    options.stages = 2;
    options.balance = false;
    // All steps full but the last, of two packs: two others may give it one each.
    BatchPlan plan;
    std::size_t samples = 8000;
    const auto steps_before_last_are_full = [&] {
        for (std::uint64_t step = 0; step + 1 < plan.num_steps(); ++step)
            if (plan.step_begin[step + 1] - plan.step_begin[step] != 4) return false;
        return plan.num_packs() - plan.step_begin[plan.num_steps() - 1] == 2;
    };
    do {
        plan = build_plan(options, source_of(++samples, 3));
    } while (!steps_before_last_are_full() && samples < 8100);
    ASSERT_TRUE(steps_before_last_are_full());
    check_structure(plan);
    const auto shorten = [&](std::uint64_t first) {
        for (std::uint64_t step = first + 1; step < plan.num_steps(); ++step) --plan.step_begin[step];
    };
    shorten(100);
    check_structure(plan);
    shorten(chunk_steps + 100);
    expect_error(ErrorCode::corrupt_data, "step 1124 has another number of packs: expected 4, found 3",
                 [&] { check_structure(plan); });
}

TEST(ChunkedProofTest, ALazarusBucketStaysEndedInTheNextChunk) {
    PlanOptions options = one_pack_a_step(20);
    options.mode = PlanMode::bucket;
    options.compat = PlanCompat::lazarus;
    options.bucket_edges = {10};
    options.bucket_overflow_max = 20;
    BatchPlan plan = build_plan(options, source_of(3001, 10));
    const auto check = [&] {
        const PlanView view = view_of(plan);
        LazarusTails tails(plan);
        for (std::size_t c = 0; c < view.num_chunks(); ++c) tails.add(view.chunk(c));
        tails.finish({});
    };
    check();
    // The last pack of the first chunk loses a sample.
    const std::uint64_t pack = chunk_steps - 1;
    const std::uint64_t segment = plan.pack_begin[pack];
    const auto erase = [&](auto& column) {
        column.erase(column.begin() + static_cast<std::ptrdiff_t>(segment));
    };
    erase(plan.segment_sample);
    erase(plan.segment_offset);
    erase(plan.segment_tokens);
    for (std::uint64_t p = pack + 1; p < plan.pack_begin.size(); ++p) --plan.pack_begin[p];
    expect_error(ErrorCode::corrupt_data,
                 "pack " + std::to_string(pack + 1) + " has 2 of 2 samples and follows the bucket's last",
                 check);
}

/// Samples of seven tokens lie in two pieces, far apart as a rule.
std::vector<TestSource> sources_in_pieces() {
    std::vector<TestSource> sources = {source_of(1200, 3), source_of(900, 7)};
    sources[0].name = "whole";
    sources[1].name = "pieces";
    return sources;
}

/// A piece of `plan` in the last chunk that is not its sample's first.
std::uint64_t late_piece(const BatchPlan& plan) {
    std::uint64_t segment = plan.num_segments();
    do {
        --segment;
    } while (plan.segment_offset[segment] == 0);
    return segment;
}

/// The first segment from `segment` on of a sample that is planned whole.
std::uint64_t whole_from(const BatchPlan& plan, std::uint64_t segment) {
    while (plan.segment_sample[segment] >= plan.sources[1].sample_base) ++segment;
    return segment;
}

TEST(ChunkedProofTest, PiecesOfASampleAreFoundInAllChunksOfAnEpoch) {
    const std::vector<TestSource> sources = sources_in_pieces();
    const auto views = views_of(sources);
    BatchPlan plan = build_plan(one_pack_a_step(4), views);
    ASSERT_GT(plan.num_steps(), 2 * chunk_steps);
    validate_plan(plan, views);
    const std::uint64_t segment = late_piece(plan);
    ASSERT_GE(segment, chunk_steps);
    ++plan.segment_offset[segment];
    plan.fingerprints = fingerprint_plan(plan);
    const std::string at = std::to_string(segment);
    const auto validate = [&] { validate_plan(plan, std::span<const SourceLengths>{}); };
    expect_error(ErrorCode::corrupt_data, "step " + at + ", segment " + at, validate);
    // Once more where it was: two pieces begin there.
    --plan.segment_offset[segment];
    std::uint64_t other = segment - 1;
    while (plan.segment_offset[other] == 0) --other;
    plan.segment_sample[other] = plan.segment_sample[segment];
    plan.segment_tokens[other] = plan.segment_tokens[segment];
    plan.fingerprints = fingerprint_plan(plan);
    expect_error(ErrorCode::corrupt_data, "has two pieces that begin at token 3", validate);
}

TEST(ChunkedProofTest, PiecesOfAMixtureAreFoundInAllChunksOfTheRun) {
    std::vector<TestSource> sources = sources_in_pieces();
    sources[0].passes = 2;
    sources[1].passes = 1;
    const auto views = views_of(sources);
    BatchPlan plan = build_plan(one_pack_a_step(4), views);
    ASSERT_GT(plan.num_steps(), 2 * chunk_steps);
    validate_plan(plan, views);
    validate_plan(plan, std::span<const SourceLengths>{});
    const std::uint64_t segment = late_piece(plan);
    ++plan.segment_offset[segment];
    plan.fingerprints = fingerprint_plan(plan);
    const std::string at = std::to_string(segment);
    expect_error(ErrorCode::corrupt_data, "step " + at + ", segment " + at,
                 [&] { validate_plan(plan, views); });
    --plan.segment_offset[segment];
    // A whole sample twice in one pass, another not: both come otherwise than twice in the run.
    const std::uint64_t whole = whole_from(plan, 0);
    plan.segment_sample[whole] = plan.segment_sample[whole] == 0 ? 1 : 0;
    plan.fingerprints = fingerprint_plan(plan);
    expect_error(ErrorCode::corrupt_data, "its samples come 1 to 3 times in the run",
                 [&] { validate_plan(plan, views); });
}

TEST(ChunkedProofTest, ARevisedMixtureMayLackSamplesButHasNoneTooOften) {
    std::vector<TestSource> sources = sources_in_pieces();
    sources[0].passes = sources[1].passes = 1;
    const auto views = views_of(sources);
    const BatchPlan plan = build_plan(one_pack_a_step(4), views);
    const std::uint64_t piece = late_piece(plan);
    const std::uint64_t first = whole_from(plan, 0);
    // Steps without a whole sample, and without the last piece of another.
    BatchPlan revised = revise_plan(plan, {0, {}, {first, piece}}, {}).plan;
    validate_plan(revised, views);
    validate_plan(revised, std::span<const SourceLengths>{});
    const std::uint64_t second = whole_from(revised, 0);
    const std::uint64_t third = whole_from(revised, second + 1);
    revised.segment_sample[third] = revised.segment_sample[second];
    revised.fingerprints = fingerprint_plan(revised);
    expect_error(ErrorCode::corrupt_data, "its samples come 0 to 2 times in the run",
                 [&] { validate_plan(revised, views); });
}

/// No memory on the word of a plan alone: only a mixture or a revision may name more samples than it has
/// rows.
TEST(ChunkedProofTest, MoreSamplesThanRowsCouldAccountForAreRefused) {
    std::vector<TestSource> sources = sources_in_pieces();
    sources[0].passes = sources[1].passes = 1;
    BatchPlan mixture = build_plan(one_pack_a_step(4), views_of(sources));
    BatchPlan revision = build_plan(one_pack_a_step(4), source_of(100, 3));
    revision.parent = revision.fingerprints.plan;
    for (BatchPlan* plan : {&mixture, &revision}) {
        plan->sources.back().num_samples = std::uint64_t{1} << 40U;
        plan->fingerprints = fingerprint_plan(*plan);
        expect_error(ErrorCode::corrupt_data, "expected at most 64 a row",
                     [&] { validate_plan(*plan, std::span<const SourceLengths>{}); });
    }
}

}  // namespace
}  // namespace lockstep
