#include "plan/length_analysis.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>

#include "plan/bucket_edges.h"
#include "plan/dispositions.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

nlohmann::json golden_cases() {
    std::ifstream file(LOCKSTEP_TEST_DATA "/lazarus/analysis.json");
    return nlohmann::json::parse(file).at("cases");
}

std::vector<LengthCount> counts_of(const std::vector<std::uint32_t>& lengths) {
    return count_lengths(lengths);
}

TEST(LengthAnalysisTest, HistogramsAndPercentilesAreThoseOfLazarus) {
    const auto cases = golden_cases();
    ASSERT_FALSE(cases.empty());
    for (const auto& golden : cases) {
        const auto lengths = counts_of(golden.at("lengths_values").get<std::vector<std::uint32_t>>());
        const LengthSummary summary = summarize_lengths(lengths);
        const auto& expected = golden.at("histogram");
        EXPECT_EQ(summary.samples, expected.at("total_samples"));
        EXPECT_EQ(summary.min, expected.at("min_length"));
        EXPECT_EQ(summary.max, expected.at("max_length"));
        EXPECT_EQ(summary.mean, expected.at("mean_length"));
        EXPECT_EQ(summary.p50, expected.at("median_length"));
        EXPECT_NEAR(summary.deviation, expected.at("std_length").get<double>(), 1e-9);
        EXPECT_EQ(summary.p25, expected.at("p25"));
        EXPECT_EQ(summary.p75, expected.at("p75"));
        EXPECT_EQ(summary.p90, expected.at("p90"));
        EXPECT_EQ(summary.p95, expected.at("p95"));
        EXPECT_EQ(summary.p99, expected.at("p99"));
        const auto bins = equal_bins(lengths, 10);
        ASSERT_EQ(bins.size(), golden.at("bins").size());
        for (std::size_t i = 0; i < bins.size(); ++i) {
            EXPECT_EQ(bins[i].begin, golden.at("bins")[i][0]);
            EXPECT_EQ(bins[i].end, golden.at("bins")[i][1]);
            EXPECT_EQ(bins[i].samples, golden.at("bins")[i][2]);
        }
        const std::vector<std::uint32_t> edges = {128, 256, 512, 1024};
        EXPECT_DOUBLE_EQ(use_of_buckets(lengths, edges, 2048).efficiency(),
                         golden.at("default_edges_efficiency").get<double>());
    }
}

TEST(LengthAnalysisTest, SuggestedEdgesAreAtLeastAsEfficientAsThoseOfLazarus) {
    for (const auto& golden : golden_cases()) {
        const auto lengths = counts_of(golden.at("lengths_values").get<std::vector<std::uint32_t>>());
        for (const auto& [goal, suggestion] : golden.at("suggest").items()) {
            const auto edges = suggestion.at("edges").get<std::vector<std::uint32_t>>();
            const auto overflow_max = suggestion.at("overflow_max").get<std::uint32_t>();
            const double theirs = suggestion.at("estimated_efficiency").get<double>();
            EXPECT_DOUBLE_EQ(use_of_buckets(lengths, edges, overflow_max).efficiency(), theirs) << goal;
            const auto num_buckets = golden.at("num_buckets").get<std::uint32_t>();
            EXPECT_GE(optimal_bucket_edges(lengths, num_buckets, overflow_max).efficiency(), theirs) << goal;
            EXPECT_GE(optimal_bucket_edges(lengths, num_buckets, lengths.back().tokens).efficiency(), theirs);
        }
    }
}

/// Least padded tokens by trying every set of edges.
std::uint64_t least_padded(const std::vector<LengthCount>& lengths, std::uint32_t num_buckets,
                           std::uint32_t overflow_max) {
    std::vector<std::uint32_t> candidates;
    for (const LengthCount& row : lengths) {
        if (row.tokens > 0 && row.tokens < overflow_max) candidates.push_back(row.tokens);
    }
    std::vector<LengthCount> used;
    for (const LengthCount& row : lengths) {
        if (row.tokens <= overflow_max) used.push_back(row);
    }
    std::uint64_t least = UINT64_MAX;
    for (std::uint32_t set = 0; set < 1U << candidates.size(); ++set) {
        std::vector<std::uint32_t> edges;
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            if ((set >> i & 1U) != 0) edges.push_back(candidates[i]);
        }
        if (edges.size() + 1 > num_buckets) continue;
        least = std::min(least, use_of_buckets(used, edges, overflow_max).padded_tokens);
    }
    return least;
}

TEST(BucketEdgesTest, AreTheBestOfAllOnSmallInputs) {
    Dice dice(11);
    for (int repeat = 0; repeat < 300; ++repeat) {
        std::vector<std::uint32_t> samples(dice.roll(1, 40));
        const std::uint64_t distinct = dice.roll(1, 10);
        for (std::uint32_t& tokens : samples)
            tokens = static_cast<std::uint32_t>(dice.roll(1, distinct) * dice.roll(1, 3) % 13);
        samples.push_back(static_cast<std::uint32_t>(dice.roll(1, 12)));
        const auto lengths = counts_of(samples);
        const auto num_buckets = static_cast<std::uint32_t>(dice.roll(1, 8));
        const auto overflow_max = static_cast<std::uint32_t>(lengths.back().tokens + dice.roll(0, 2) * 3);
        const BucketEdges best = optimal_bucket_edges(lengths, num_buckets, overflow_max);
        EXPECT_EQ(best.padded_tokens, least_padded(lengths, num_buckets, overflow_max));
        EXPECT_LT(best.edges.size(), num_buckets);
        EXPECT_EQ(use_of_buckets(lengths, best.edges, overflow_max).padded_tokens, best.padded_tokens);
    }
}

TEST(BucketEdgesTest, LengthsOfZeroAndBeyondTheLastBucketTakeNoPart) {
    const std::vector<std::uint32_t> samples = {0, 0, 3, 5, 9, 200};
    const BucketEdges best = optimal_bucket_edges(counts_of(samples), 3, 10);
    EXPECT_EQ(best.edges, (std::vector<std::uint32_t>{3, 5}));
    EXPECT_EQ(best.tokens, 17U);
    EXPECT_EQ(best.padded_tokens, 18U);
}

TEST(BucketEdgesTest, ImpossibleQuestionsAreRefused) {
    const auto lengths = counts_of({5, 6});
    expect_error(ErrorCode::invalid_argument, "number of buckets",
                 [&] { optimal_bucket_edges(lengths, 0, 10); });
    expect_error(ErrorCode::invalid_argument, "256", [&] { optimal_bucket_edges(lengths, 257, 10); });
    expect_error(ErrorCode::invalid_argument, "no sample", [&] { optimal_bucket_edges(lengths, 2, 4); });
    expect_error(ErrorCode::invalid_argument, "no sample", [&] { optimal_bucket_edges({}, 2, 4); });
    const std::vector<LengthCount> many = {{1, std::uint64_t{1} << 40U}};
    expect_error(ErrorCode::invalid_argument, "2^64", [&] { optimal_bucket_edges(many, 2, 1U << 31U); });
}

/// The notes' case: splitmix64 and Box–Muller, log-normal with mu 5.3 and sigma 0.9, 1 to 2048.
std::vector<std::uint32_t> lengths_of_the_notes(std::size_t count) {
    std::uint64_t state = 42;
    const auto uniform = [&state] {
        std::uint64_t z = state += 0x9E3779B97F4A7C15U;
        z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
        z ^= z >> 31U;
        return (static_cast<double>(z >> 11U) + 0.5) / 9007199254740992.0;
    };
    std::vector<std::uint32_t> lengths;
    while (lengths.size() < count) {
        const double radius = std::sqrt(-2 * std::log(uniform()));
        const double normal = radius * std::cos(2 * std::numbers::pi * uniform());
        lengths.push_back(
            static_cast<std::uint32_t>(std::clamp(std::floor(std::exp(5.3 + 0.9 * normal)), 1.0, 2048.0)));
    }
    return lengths;
}

TEST(BucketEdgesTest, ReachTheEfficiencyOfTheNotes) {
    const auto lengths = counts_of(lengths_of_the_notes(100000));
    EXPECT_NEAR(optimal_bucket_edges(lengths, 4, 2048).efficiency(), 0.641, 0.003);
    EXPECT_NEAR(optimal_bucket_edges(lengths, 5, 2048).efficiency(), 0.703, 0.003);
    EXPECT_NEAR(optimal_bucket_edges(lengths, 8, 2048).efficiency(), 0.803, 0.003);
    EXPECT_NEAR(optimal_bucket_edges(lengths, 16, 2048).efficiency(), 0.898, 0.003);
}

TEST(BucketEdgesTest, ManyDistinctLengthsAreJoinedAndSaidSo) {
    std::vector<LengthCount> lengths;
    for (std::uint32_t tokens = 1; tokens <= 65536; ++tokens) lengths.push_back({tokens, 1 + tokens % 3});
    EXPECT_EQ(optimal_bucket_edges(lengths, 8, 65536).granularity, 1U);
    lengths.push_back({200000, 4});
    const BucketEdges joined = optimal_bucket_edges(lengths, 8, 200000);
    EXPECT_EQ(joined.granularity, 4U);
    EXPECT_EQ(joined.edges.size(), 7U);
    EXPECT_EQ(use_of_buckets(lengths, joined.edges, 200000).padded_tokens, joined.padded_tokens);
}

TEST(LengthAnalysisTest, CountsAreOfAllLengths) {
    Dice dice(3);
    std::vector<std::uint32_t> samples;
    std::map<std::uint32_t, std::uint64_t> expected;
    for (int i = 0; i < 2000; ++i) {
        samples.push_back(
            static_cast<std::uint32_t>(dice.coin() ? dice.roll(0, 50) : dice.roll(1, 3) << 30U));
        ++expected[samples.back()];
    }
    std::map<std::uint32_t, std::uint64_t> found;
    for (const LengthCount& row : counts_of(samples)) found[row.tokens] = row.samples;
    EXPECT_EQ(found, expected);
    EXPECT_TRUE(counts_of({}).empty());
}

TEST(LengthAnalysisTest, BinsHoldEverySampleOnce) {
    Dice dice(4);
    for (int repeat = 0; repeat < 100; ++repeat) {
        std::vector<std::uint32_t> samples(dice.roll(1, 200));
        for (std::uint32_t& tokens : samples) tokens = static_cast<std::uint32_t>(dice.roll(0, 3000));
        const auto lengths = counts_of(samples);
        for (const auto& bins : {equal_bins(lengths, dice.roll(1, 30)), doubling_bins(lengths)}) {
            std::uint64_t total = 0;
            for (const LengthBin& bin : bins) {
                const auto inside = std::ranges::count_if(
                    samples, [&](std::uint32_t tokens) { return tokens >= bin.begin && tokens < bin.end; });
                EXPECT_EQ(bin.samples, static_cast<std::uint64_t>(inside));
                total += bin.samples;
            }
            EXPECT_EQ(total, samples.size());
        }
    }
}

TEST(LengthAnalysisTest, WasteIsThatOfThePlan) {
    const std::vector<std::uint32_t> edges = {16, 64};
    for (const std::uint32_t budget : {100U, 256U, 1000U}) {
        TestSource source;
        source.sample_tokens = long_tailed_lengths(9, 3000, 700);
        source.sample_tokens.push_back(0);
        const WasteComparison waste = compare_waste(counts_of(source.sample_tokens), edges, 4096, budget);
        PlanOptions options;
        options.token_budget = budget;
        options.long_policy = LongPolicy::split;
        options.packing = PackingPolicy::best_fit_decreasing;
        const BatchPlan plan = build_plan(options, source);
        const PlanStats stats = plan_stats(plan);
        EXPECT_EQ(waste.packs, stats.packs);
        EXPECT_EQ(waste.segments, stats.segments);
        EXPECT_EQ(waste.tokens, stats.planned_tokens);
        EXPECT_EQ(waste.overlap_tokens, stats.overlap_tokens);
        EXPECT_EQ(waste.packs_lower_bound, stats.packs_lower_bound);
        EXPECT_LE(waste.packed, waste.padded_to_longest + budget);
    }
}

TEST(LengthAnalysisTest, LongSamplesAreCutAsAPlanCutsThem) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(9, 3000, 700);
    source.sample_tokens.push_back(0);
    for (const std::uint32_t most : {2U, 3U, 100U, 256U, 5000U}) {
        PlanOptions options;
        options.token_budget = most;
        options.long_policy = LongPolicy::split;
        const auto lengths = counts_of(source.sample_tokens);
        const auto pieces = cut_long_samples(lengths, most);
        EXPECT_EQ(pieces, counts_of(build_plan(options, source).segment_tokens)) << most;
        EXPECT_LE(use_of_buckets(pieces, {}, most).efficiency(), 1.0) << most;
    }
    expect_error(ErrorCode::invalid_argument, "pieces of 1", [&] { cut_long_samples(counts_of({5}), 1); });
}

TEST(LengthAnalysisTest, AdviceNamesWhatItSaves) {
    std::vector<std::uint32_t> samples(1000, 100);
    samples.push_back(1);
    samples.push_back(5000);
    const auto lengths = counts_of(samples);
    const std::vector<std::uint32_t> edges = {128, 256, 512};
    const auto advice = advise_on_lengths(lengths, edges, 1024, 4096);
    std::map<std::string, LengthAdvice> by_subject;
    for (const LengthAdvice& item : advice) by_subject[item.subject] = item;
    const WasteComparison waste = compare_waste(lengths, edges, 1024, 4096);
    EXPECT_EQ(by_subject.at("packing").tokens_saved, waste.padded_to_bucket - waste.packed);
    // The long one is four pieces of 1024 and one of 908.
    EXPECT_EQ(by_subject.at("edges").tokens_saved,
              128 * 1001U + 5 * 1024U - (1 + 100 * 1000U + 908 + 4 * 1024U));
    EXPECT_NE(by_subject.at("empty_buckets").text.find("129-256, 257-512"), std::string::npos);
    EXPECT_NE(by_subject.at("overflow").text.find("1 samples"), std::string::npos);
    EXPECT_TRUE(by_subject.contains("budget") && by_subject.contains("no_target"));
    EXPECT_TRUE(std::ranges::is_sorted(advice, std::ranges::greater(), &LengthAdvice::tokens_saved));
}

TEST(LengthAnalysisTest, BadBucketsAndNoSamplesAreRefused) {
    const auto lengths = counts_of({5});
    const std::vector<std::uint32_t> falling = {10, 10};
    expect_error(ErrorCode::invalid_argument, "ascend", [&] { use_of_buckets(lengths, falling, 20); });
    expect_error(ErrorCode::invalid_argument, "ascend",
                 [&] { use_of_buckets(lengths, std::vector<std::uint32_t>{10}, 10); });
    expect_error(ErrorCode::invalid_argument, "ascend",
                 [&] { use_of_buckets(lengths, std::vector<std::uint32_t>{0}, 10); });
    expect_error(ErrorCode::invalid_argument, "no samples", [] { summarize_lengths({}); });
    expect_error(ErrorCode::invalid_argument, "budget", [&] { compare_waste(lengths, {}, 10, 0); });
    expect_error(ErrorCode::invalid_argument, "pieces of 1", [&] { compare_waste(lengths, {}, 10, 1); });
}

}  // namespace
}  // namespace lockstep
