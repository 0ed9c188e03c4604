#include "plan/epoch_order.h"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

TestSource long_tailed(std::size_t count) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(11, count, 512);
    return source;
}

std::vector<std::uint32_t> longest_by_pack(const BatchPlan& plan) {
    std::vector<std::uint32_t> longest;
    for (std::uint64_t p = 0; p < plan.num_packs(); ++p) {
        longest.push_back(*std::max_element(
            plan.segment_tokens.begin() + static_cast<std::ptrdiff_t>(plan.pack_begin[p]),
            plan.segment_tokens.begin() + static_cast<std::ptrdiff_t>(plan.pack_begin[p + 1])));
    }
    return longest;
}

TEST(EpochOrderTest, DrawsAnyRunOfPacks) {
    SegmentTable table;
    table.own_tokens = long_tailed_lengths(3, 2000, 512);
    table.tokens = table.own_tokens;
    for (const PackOrder order : {PackOrder::shuffle, PackOrder::in_order, PackOrder::length_stages}) {
        for (const PlanMode mode : {PlanMode::pack, PlanMode::bucket}) {
            if (mode == PlanMode::bucket && order == PackOrder::length_stages) continue;
            PlanOptions options;
            options.mode = mode;
            options.token_budget = 512;
            options.order = order;
            options.stages = order == PackOrder::length_stages ? 3 : 0;
            options.epochs = 2;
            options.bucket_edges = {64, 256};
            options.bucket_overflow_max = 512;
            const auto epochs = make_epochs(effective_options(options), table, {});
            EpochOrder made;
            for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
                epochs->make(epoch, made);
                ASSERT_EQ(made.segments.size(), table.size());
                // Any run of packs, forwards or back: all, all but the ends, some at the start.
                for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{0, made.num_packs()},
                                                 {3, made.num_packs() - 3},
                                                 {made.num_packs() - 2, made.num_packs()},
                                                 {1, 2}}) {
                    const auto whole =
                        std::span(made.segments)
                            .subspan(made.pack_begin[begin], made.pack_begin[end] - made.pack_begin[begin]);
                    std::vector<NarrowIndex> segments(whole.size());
                    std::vector<std::uint32_t> tokens(whole.size());
                    std::vector<PackWork> work(end - begin);
                    epochs->draw(made, begin, end, {segments, tokens, work});
                    ASSERT_TRUE(std::ranges::equal(segments, whole));
                    for (std::size_t i = 0; i < tokens.size(); ++i)
                        ASSERT_EQ(tokens[i], table.tokens[whole[i]]);
                    for (std::size_t p = begin; p < end; ++p) {
                        PackWork expected;
                        for (const auto segment : made.pack(p)) expected.add(table.tokens[segment]);
                        ASSERT_EQ(work[p - begin].tokens, expected.tokens);
                        ASSERT_EQ(work[p - begin].squares, expected.squares);
                    }
                }
            }
        }
    }
}

// Their memory does not grow with the packs.
TEST(EpochOrderTest, PacksOfOneShapeHaveTheirLengthsInFewOrders) {
    SegmentTable table;
    table.own_tokens.assign(600, 100);
    table.own_tokens.insert(table.own_tokens.end(), 600, 60);
    table.tokens = table.own_tokens;
    PlanOptions options;
    options.token_budget = 480;
    EpochOrder made;
    make_epochs(effective_options(options), table, {})->make(0, made);
    std::map<std::vector<std::uint32_t>, std::set<std::vector<std::uint32_t>>> orders_of_shapes;
    for (std::size_t p = 0; p < made.num_packs(); ++p) {
        std::vector<std::uint32_t> lengths;
        for (const auto segment : made.pack(p)) lengths.push_back(table.tokens[segment]);
        std::vector<std::uint32_t> shape = lengths;
        std::ranges::sort(shape);
        orders_of_shapes[shape].insert(lengths);
    }
    std::size_t most = 0;
    for (const auto& [shape, orders] : orders_of_shapes) most = std::max(most, orders.size());
    EXPECT_GT(most, 1U);
    EXPECT_LE(most, 4U);
}

TEST(EpochOrderTest, ShortToLongIsACurriculum) {
    const TestSource source = long_tailed(3000);
    PlanOptions options;
    options.token_budget = 512;
    options.order = PackOrder::short_to_long;
    options.epochs = 2;
    const BatchPlan plan = build_plan(options, source);
    validate_plan(plan, source);
    const std::uint64_t epoch = plan.pack_begin[plan.step_begin[plan.epoch_begin[1]]];
    EXPECT_TRUE(std::is_sorted(plan.segment_tokens.begin(),
                               plan.segment_tokens.begin() + static_cast<std::ptrdiff_t>(epoch)));
    // Equal lengths are in another order in every epoch.
    EXPECT_NE(std::vector(plan.segment_sample.begin(),
                          plan.segment_sample.begin() + static_cast<std::ptrdiff_t>(epoch)),
              std::vector(plan.segment_sample.begin() + static_cast<std::ptrdiff_t>(epoch),
                          plan.segment_sample.end()));
}

TEST(EpochOrderTest, LengthStagesAscendAndAreShuffledWithin) {
    const TestSource source = long_tailed(5000);
    PlanOptions options;
    options.token_budget = 512;
    options.order = PackOrder::length_stages;
    options.stages = 3;
    const BatchPlan plan = build_plan(options, source);
    validate_plan(plan, source);
    // A stage ends its step: at most one short step a stage.
    std::vector<std::uint64_t> stage_end;
    for (std::uint64_t step = 0; step < plan.num_steps(); ++step) {
        if (plan.step_begin[step + 1] - plan.step_begin[step] < options.packs_per_step)
            stage_end.push_back(step + 1);
    }
    ASSERT_LE(stage_end.size(), 3U);
    const auto longest = longest_by_pack(plan);
    EXPECT_FALSE(std::is_sorted(longest.begin(), longest.end()));
    // Thirds of the tokens: the longest segment of the first third is no longer than the shortest of the
    // last.
    std::vector<std::uint32_t> sorted = plan.segment_tokens;
    std::ranges::sort(sorted);
    const std::uint64_t first_packs = plan.num_packs() / 4;
    const std::uint64_t last_packs = plan.num_packs() * 3 / 4;
    std::uint32_t first_longest = 0;
    for (std::uint64_t s = 0; s < plan.pack_begin[first_packs]; ++s)
        first_longest = std::max(first_longest, plan.segment_tokens[s]);
    std::uint32_t last_shortest = 512;
    for (std::uint64_t s = plan.pack_begin[last_packs]; s < plan.num_segments(); ++s)
        last_shortest = std::min(last_shortest, plan.segment_tokens[s]);
    EXPECT_LE(first_longest, last_shortest);
}

TEST(EpochOrderTest, ScoreStagesFollowTheScores) {
    TestSource source = long_tailed(4000);
    Dice dice(4);
    for (std::size_t i = 0; i < source.sample_tokens.size(); ++i) {
        source.sample_score.push_back(static_cast<double>(dice.roll(0, 1000)) / 8 - 50);
    }
    PlanOptions options;
    options.token_budget = 512;
    options.order = PackOrder::score_stages;
    options.stages = 2;
    const BatchPlan plan = build_plan(options, source);
    validate_plan(plan, source);
    double first = -1e9;
    double last = 1e9;
    for (std::uint64_t s = 0; s < plan.num_segments(); ++s) {
        const double score = source.sample_score[plan.segment_sample[s]];
        if (s < plan.num_segments() * 2 / 5) first = std::max(first, score);
        if (s > plan.num_segments() * 3 / 5) last = std::min(last, score);
    }
    EXPECT_LE(first, last);
    source.sample_score.clear();
    expect_error(ErrorCode::invalid_argument, "no scores", [&] { build_plan(options, source); });
    source.sample_score.assign(source.sample_tokens.size(), std::numeric_limits<double>::quiet_NaN());
    expect_error(ErrorCode::corrupt_data, "no number", [&] { build_plan(options, source); });
}

TEST(EpochOrderTest, InterleavedBucketsLastAsLongAsTheEpoch) {
    TestSource source = long_tailed(20000);
    PlanOptions options;
    options.mode = PlanMode::bucket;
    options.token_budget = 2048;
    options.bucket_edges = {32, 128};
    options.bucket_overflow_max = 512;
    options.order = PackOrder::buckets_interleaved;
    const BatchPlan plan = build_plan(options, source);
    validate_plan(plan, source);
    for (std::uint16_t bucket = 0; bucket < 3; ++bucket) {
        std::vector<std::uint64_t> at;
        for (std::uint64_t p = 0; p < plan.num_packs(); ++p) {
            if (plan.pack_bucket[p] == bucket) at.push_back(p);
        }
        ASSERT_GT(at.size(), 10U);
        const double spacing = static_cast<double>(plan.num_packs()) / static_cast<double>(at.size());
        for (std::size_t i = 1; i < at.size(); ++i) {
            ASSERT_LE(static_cast<double>(at[i] - at[i - 1]), spacing + 3);
        }
    }
    options.mode = PlanMode::pack;
    expect_error(ErrorCode::invalid_argument, "buckets-interleaved", [&] { build_plan(options, source); });
}

TEST(EpochOrderTest, BucketsShortToLong) {
    TestSource source = long_tailed(2000);
    PlanOptions options;
    options.mode = PlanMode::bucket;
    options.token_budget = 2048;
    options.order = PackOrder::short_to_long;
    const BatchPlan plan = build_plan(options, source);
    validate_plan(plan, source);
    EXPECT_TRUE(std::is_sorted(plan.pack_bucket.begin(), plan.pack_bucket.end()));
}

TEST(EpochOrderTest, ConcatenatedPacksAreFull) {
    const TestSource source = long_tailed(2000);
    PlanOptions options;
    options.token_budget = 300;
    options.packing = PackingPolicy::concatenate;
    const BatchPlan plan = build_plan(options, source);
    validate_plan(plan, source);
    std::uint64_t short_packs = 0;
    for (std::uint64_t p = 0; p < plan.num_packs(); ++p) short_packs += plan.pack_tokens(p) < 299 ? 1U : 0U;
    EXPECT_LE(short_packs, 1U);
}

}  // namespace
}  // namespace lockstep
