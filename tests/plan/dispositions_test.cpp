#include "plan/dispositions.h"

#include <limits>

#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

/// Lengths may be borrowed from the source, which outlives the result here.
Fates fates_of(const TestSource& source, std::uint32_t budget, LongPolicy policy) {
    PlanOptions options;
    options.token_budget = budget;
    options.long_policy = policy;
    const SourceLengths view = source.view();
    return decide_fates(options, std::span(&view, 1));
}

TestSource source_of(std::vector<std::uint32_t> lengths) {
    TestSource source;
    source.sample_tokens = std::move(lengths);
    return source;
}

TEST(DecideFatesTest, WholeSamplesAreSegmentsAndLeaveNoRow) {
    const TestSource source = source_of({2, 5, 10});
    const Fates fates = fates_of(source, 10, LongPolicy::automatic);
    EXPECT_TRUE(fates.segments.sample.empty());
    EXPECT_TRUE(fates.segments.offset.empty());
    EXPECT_EQ(fates.segments.tokens.data(), source.sample_tokens.data());
    EXPECT_EQ(fates.segments.sample_of(2), 2U);
    EXPECT_EQ(fates.segments.offset_of(2), 0U);
    EXPECT_EQ(fates.segments.targets_of(2), 9U);
    EXPECT_TRUE(fates.segments.targets.empty());
    EXPECT_TRUE(fates.dispositions.empty());
}

TEST(DecideFatesTest, SplitPiecesOverlapByOneTokenAndLoseNoTarget) {
    const Fates fates = fates_of(source_of({11}), 4, LongPolicy::automatic);
    EXPECT_EQ(fates.segments.offset, (std::vector<std::uint32_t>{0, 3, 6, 9}));
    EXPECT_EQ(fates.segments.own_tokens, (std::vector<std::uint32_t>{4, 4, 4, 2}));
    EXPECT_EQ(fates.dispositions, (std::vector<Disposition>{{0, DispositionKind::split, 0}}));
    std::uint32_t targets = 0;
    for (const std::uint32_t tokens : fates.segments.tokens) targets += tokens - 1;
    EXPECT_EQ(targets, 10U);
}

TEST(DecideFatesTest, EveryLengthAndBudgetSplitsWithoutLoss) {
    for (std::uint32_t budget = 2; budget < 12; ++budget) {
        for (std::uint32_t length = 1; length < 60; ++length) {
            const TestSource source = source_of({length});
            const SegmentTable table = fates_of(source, budget, LongPolicy::split).segments;
            std::uint64_t end = 0;
            for (std::size_t i = 0; i < table.size(); ++i) {
                EXPECT_EQ(table.offset_of(i), i == 0 ? 0 : end - 1);
                EXPECT_LE(table.tokens[i], budget);
                EXPECT_GE(table.tokens[i], i > 0 ? 2U : 1U);
                end = table.offset_of(i) + table.tokens[i];
            }
            EXPECT_EQ(end, length);
        }
    }
}

TEST(DecideFatesTest, TruncateAndDropSayWhatIsLost) {
    const Fates truncated = fates_of(source_of({3, 9}), 4, LongPolicy::truncate);
    EXPECT_EQ(truncated.segments.own_tokens, (std::vector<std::uint32_t>{3, 4}));
    EXPECT_EQ(truncated.dispositions, (std::vector<Disposition>{{1, DispositionKind::truncated, 5}}));
    const Fates dropped = fates_of(source_of({3, 9}), 4, LongPolicy::drop);
    EXPECT_EQ(dropped.segments.own_tokens, (std::vector<std::uint32_t>{3}));
    EXPECT_EQ(dropped.dispositions, (std::vector<Disposition>{{1, DispositionKind::dropped, 9}}));
}

TEST(DecideFatesTest, ErrorNamesSampleLengthBudgetAndChoices) {
    expect_error(ErrorCode::invalid_argument, "sample 1 of 'test' has 9 tokens, over the 4", [] {
        fates_of(source_of({3, 9}), 4, LongPolicy::error);
    });
    expect_error(ErrorCode::invalid_argument, "split, truncate or drop", [] {
        fates_of(source_of({3, 9}), 4, LongPolicy::error);
    });
}

TEST(DecideFatesTest, AutomaticRefusesLongSamplesOfASourceWithLossSpans) {
    TestSource source = source_of({9});
    source.loss_span_begin = {0, 1};
    source.loss_spans = {2, 5};
    expect_error(ErrorCode::invalid_argument, "sample 0",
                 [&] { fates_of(source, 4, LongPolicy::automatic); });
    EXPECT_EQ(fates_of(source, 4, LongPolicy::split).segments.targets, (std::vector<std::uint32_t>{2, 1, 0}));
}

TEST(DecideFatesTest, EmptyIsNotPlannedAndNoTargetIs) {
    const Fates fates = fates_of(source_of({0, 1, 2}), 4, LongPolicy::automatic);
    EXPECT_EQ(fates.segments.sample, (std::vector<std::uint64_t>{1, 2}));
    EXPECT_EQ(fates.dispositions,
              (std::vector<Disposition>{{0, DispositionKind::empty, 0}, {1, DispositionKind::no_target, 0}}));
}

TEST(DecideFatesTest, ATargetStandsInALossSpanAndNotFirst) {
    TestSource source = source_of({4, 4, 4, 4});
    source.loss_span_begin = {0, 1, 1, 2, 4};
    source.loss_spans = {0, 1, 0, 4, 1, 2, 3, 4};
    const Fates fates = fates_of(source, 4, LongPolicy::automatic);
    // Only the first token; no span; all; two of four.
    EXPECT_EQ(fates.segments.targets, (std::vector<std::uint32_t>{0, 0, 3, 2}));
    EXPECT_EQ(fates.dispositions, (std::vector<Disposition>{{0, DispositionKind::no_target, 0},
                                                            {1, DispositionKind::no_target, 0}}));
}

TEST(DecideFatesTest, BudgetOfOneCannotSplit) {
    expect_error(ErrorCode::invalid_argument, "at least 2",
                 [] { fates_of(source_of({2}), 1, LongPolicy::split); });
    EXPECT_EQ(fates_of(source_of({1, 1}), 1, LongPolicy::split).segments.size(), 2U);
}

TEST(DecideFatesTest, TheLongestSampleIsSplitAtTheLongestBudget) {
    const std::uint32_t longest = std::numeric_limits<std::uint32_t>::max();
    const SegmentTable table = fates_of(source_of({longest}), 0x7FFFFFFFU, LongPolicy::split).segments;
    EXPECT_EQ(table.offset, (std::vector<std::uint32_t>{0, 0x7FFFFFFEU, 0xFFFFFFFCU}));
    EXPECT_EQ(table.tokens.back(), 3U);
}

TEST(DecideFatesTest, BadLossSpansNameTheSample) {
    const auto with_spans = [](std::vector<std::uint64_t> begin, std::vector<std::uint32_t> spans) {
        TestSource source = source_of({5, 5});
        source.loss_span_begin = std::move(begin);
        source.loss_spans = std::move(spans);
        fates_of(source, 10, LongPolicy::automatic);
    };
    expect_error(ErrorCode::corrupt_data, "sample 1", [&] { with_spans({0, 1, 2}, {0, 5, 2, 6}); });
    expect_error(ErrorCode::corrupt_data, "sample 0", [&] { with_spans({0, 2, 2}, {0, 3, 2, 4}); });
    expect_error(ErrorCode::corrupt_data, "sample 0", [&] { with_spans({0, 1, 1}, {3, 2}); });
    expect_error(ErrorCode::corrupt_data, "table", [&] { with_spans({0, 1}, {0, 1}); });
    expect_error(ErrorCode::corrupt_data, "table", [&] { with_spans({0, 2, 1}, {0, 1}); });
    expect_error(ErrorCode::corrupt_data, "table", [&] { with_spans({0, 1, 9}, {0, 1}); });
}

TEST(DecideFatesTest, SourcesAreNumberedOneAfterAnother) {
    const TestSource first = source_of({3, 0});
    const TestSource second = source_of({4, 9});
    const std::vector<SourceLengths> sources = {first.view(), second.view()};
    PlanOptions options;
    options.token_budget = 8;
    options.long_policy = LongPolicy::truncate;
    const Fates fates = decide_fates(options, sources);
    EXPECT_EQ(fates.segments.sample, (std::vector<std::uint64_t>{0, 2, 3}));
    EXPECT_EQ(fates.dispositions,
              (std::vector<Disposition>{{1, DispositionKind::empty, 0}, {3, DispositionKind::truncated, 1}}));
}

TEST(DecideFatesTest, ConcatenatedSamplesAreCutWherePacksAreFull) {
    PlanOptions options;
    options.token_budget = 8;
    options.packing = PackingPolicy::concatenate;
    // 5 | 3 of 6, then 4 with the overlap | 3 fit, one of 2 would be left alone: the next pack.
    const TestSource source = source_of({5, 6, 3, 2});
    const SourceLengths view = source.view();
    const Fates fates = decide_fates(options, std::span(&view, 1));
    EXPECT_EQ(fates.segments.sample, (std::vector<std::uint64_t>{0, 1, 1, 2, 3}));
    EXPECT_EQ(fates.segments.offset, (std::vector<std::uint32_t>{0, 0, 2, 0, 0}));
    EXPECT_EQ(fates.segments.own_tokens, (std::vector<std::uint32_t>{5, 3, 4, 3, 2}));
    EXPECT_EQ(fates.dispositions, (std::vector<Disposition>{{1, DispositionKind::split, 0}}));
}

TEST(DecideFatesTest, BucketModeCutsAtTheOverflowBucket) {
    PlanOptions options;
    options.mode = PlanMode::bucket;
    options.token_budget = 100;
    options.bucket_edges = {4};
    options.bucket_overflow_max = 8;
    const TestSource source = source_of({9});
    const SourceLengths view = source.view();
    EXPECT_EQ(decide_fates(options, std::span(&view, 1)).segments.own_tokens,
              (std::vector<std::uint32_t>{8, 2}));
}

}  // namespace
}  // namespace lockstep
