#include "plan/bucketing.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

PlanOptions bucket_options() {
    PlanOptions options;
    options.mode = PlanMode::bucket;
    return options;
}

TEST(LengthBucketsTest, AssignsAsLazarusDoes) {
    std::ifstream file(LOCKSTEP_TEST_DATA "/lazarus/bucket-assignment.json");
    const auto golden = nlohmann::json::parse(file);
    ASSERT_FALSE(golden.at("cases").empty());
    for (const auto& spec : golden.at("cases")) {
        const auto edges = spec.at("edges").get<std::vector<std::uint32_t>>();
        const LengthBuckets buckets(edges, spec.at("overflow_max").get<std::uint32_t>());
        EXPECT_EQ(buckets.size(), spec.at("num_buckets").get<std::size_t>());
        const auto lengths = spec.at("lengths").get<std::vector<std::uint32_t>>();
        for (std::size_t i = 0; i < lengths.size(); ++i) {
            const std::uint16_t bucket = buckets.index_of(lengths[i]);
            EXPECT_EQ(bucket, spec.at("bucket_id")[i].get<unsigned>()) << "length " << lengths[i];
            EXPECT_EQ(buckets.upper(bucket), spec.at("pad_to")[i].get<std::uint32_t>());
        }
    }
}

TEST(LengthBucketsTest, RefusesWhatLazarusRefuses) {
    std::ifstream file(LOCKSTEP_TEST_DATA "/lazarus/bucket-assignment.json");
    const auto golden = nlohmann::json::parse(file);
    ASSERT_FALSE(golden.at("validation").empty());
    for (const auto& spec : golden.at("validation")) {
        // The smallest accepted length is not an option here.
        if (spec.at("accepted").get<bool>() || spec.contains("min_length")) continue;
        PlanOptions options = bucket_options();
        options.bucket_edges = spec.at("edges").get<std::vector<std::uint32_t>>();
        options.bucket_overflow_max = spec.at("overflow_max").get<std::uint32_t>();
        EXPECT_THROW(check_options(options), Error) << spec.dump();
    }
}

TEST(PackBucketsTest, FillsEveryPackOfABucketButItsLast) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(1, 5000, 2048);
    const BatchPlan plan = build_plan(bucket_options(), source);
    const LengthBuckets buckets(plan.options.bucket_edges, plan.options.bucket_overflow_max);
    std::map<std::uint16_t, std::uint64_t> segments_of;
    std::map<std::uint16_t, std::uint64_t> packs_of;
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
        segments_of[plan.pack_bucket[pack]] += plan.pack_begin[pack + 1] - plan.pack_begin[pack];
        ++packs_of[plan.pack_bucket[pack]];
    }
    std::uint64_t segments = 0;
    for (const auto& [bucket, count] : segments_of) {
        const std::uint64_t capacity = plan.options.token_budget / buckets.upper(bucket);
        EXPECT_EQ(packs_of[bucket], (count + capacity - 1) / capacity);
        segments += count;
    }
    EXPECT_EQ(segments, source.sample_tokens.size());  // No tail is dropped.
    validate_plan(plan, source);
}

TEST(PackBucketsTest, PadTokensFillThePackToItsBucket) {
    TestSource source;
    source.sample_tokens = {100, 128, 129, 2048};
    PlanOptions options = bucket_options();
    options.token_budget = 2048;
    options.predictable = true;
    const BatchPlan plan = build_plan(options, source);
    EXPECT_EQ(plan.pack_bucket, (std::vector<std::uint16_t>{0, 1, 4}));
    EXPECT_EQ(plan.pack_pad_tokens, (std::vector<std::uint32_t>{28, 127, 0}));
}

TEST(PackBucketsTest, ABucketOverTheBudgetIsNamedOnlyWhenInUse) {
    TestSource source;
    source.sample_tokens = {100, 400};
    PlanOptions options = bucket_options();
    options.token_budget = 600;
    EXPECT_NO_THROW(build_plan(options, source));
    source.sample_tokens.push_back(550);
    expect_error(ErrorCode::invalid_argument, "bucket 3 (lengths 513 to 1024",
                 [&] { build_plan(options, source); });
    expect_error(ErrorCode::invalid_argument, "raise -b", [&] { build_plan(options, source); });
}

TEST(PackBucketsTest, LongSamplesFollowTheirPolicyAtTheOverflowBucket) {
    TestSource source;
    source.sample_tokens = {5000, 10};
    PlanOptions options = bucket_options();
    const BatchPlan split = build_plan(options, source);
    EXPECT_EQ(split.num_segments(), 4U);
    EXPECT_EQ(split.dispositions[0].kind, DispositionKind::split);
    validate_plan(split, source);
    options.long_policy = LongPolicy::truncate;
    EXPECT_EQ(build_plan(options, source).dispositions[0].tokens_lost, 5000U - 2048U);
}

TEST(PackBucketsTest, NoBucketRunsOutEarly) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(2, 20000, 2048);
    const BatchPlan plan = build_plan(bucket_options(), source);
    // In every tenth of the epoch every bucket has about its share of the packs.
    std::vector<double> share(5, 0);
    for (const std::uint16_t bucket : plan.pack_bucket)
        share[bucket] += 1.0 / static_cast<double>(plan.num_packs());
    const std::uint64_t tenth = plan.num_packs() / 10;
    for (std::uint64_t part = 0; part < 10; ++part) {
        std::vector<double> found(5, 0);
        for (std::uint64_t pack = part * tenth; pack < (part + 1) * tenth; ++pack) {
            found[plan.pack_bucket[pack]] += 1.0 / static_cast<double>(tenth);
        }
        for (std::size_t bucket = 0; bucket < 5; ++bucket) EXPECT_NEAR(found[bucket], share[bucket], 0.12);
    }
}

TEST(PackBucketsTest, InOrderDoesNotGoFromShortToLong) {
    TestSource source;
    source.sample_tokens = {2000, 10, 300, 2000, 10, 300, 2000, 2000};
    PlanOptions options = bucket_options();
    options.order = PackOrder::in_order;
    const BatchPlan plan = build_plan(options, source);
    EXPECT_EQ(plan.pack_bucket, (std::vector<std::uint16_t>{4, 0, 2, 4}));
    EXPECT_EQ(plan.segment_sample, (std::vector<std::uint64_t>{0, 3, 1, 4, 2, 5, 6, 7}));
}

TEST(PackBucketsTest, EpochsPermuteTheMembersOfEveryBucket) {
    TestSource source;
    source.sample_tokens.assign(64, 100);
    PlanOptions options = bucket_options();
    options.epochs = 2;
    const BatchPlan plan = build_plan(options, source);
    const std::vector<std::uint64_t> first(plan.segment_sample.begin(), plan.segment_sample.begin() + 64);
    const std::vector<std::uint64_t> second(plan.segment_sample.begin() + 64, plan.segment_sample.end());
    EXPECT_NE(first, second);
    EXPECT_TRUE(std::is_permutation(first.begin(), first.end(), second.begin(), second.end()));
}

TEST(BucketingTest, ACapOnSegmentsHoldsInEveryBucket) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(3, 200, 64);
    PlanOptions options;
    options.mode = PlanMode::bucket;
    options.bucket_edges = {8, 32};
    options.bucket_overflow_max = 64;
    options.token_budget = 256;
    options.segments_per_pack_max = 3;
    BatchPlan plan = build_plan(options, source);
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
        EXPECT_LE(plan.pack_begin[pack + 1] - plan.pack_begin[pack], 3U);
    }
    validate_plan(plan, source);
    plan.options.segments_per_pack_max = 2;
    expect_error(ErrorCode::corrupt_data, "more segments", [&] { validate_plan(plan, source); });
}

}  // namespace
}  // namespace lockstep
