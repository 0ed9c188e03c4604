#include "plan/plan_options.h"

#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

TEST(PlanOptionsTest, NamesRoundTripAndUnknownOnesListTheKnown) {
    for (const auto mode : {PlanMode::pack, PlanMode::bucket})
        EXPECT_EQ(parse_plan_mode(name_of(mode)), mode);
    for (int value = 0; value < 8; ++value) {
        const auto packing = static_cast<PackingPolicy>(value);
        EXPECT_EQ(parse_packing_policy(name_of(packing)), packing);
    }
    for (const auto order : {PackOrder::shuffle, PackOrder::in_order}) {
        EXPECT_EQ(parse_pack_order(name_of(order)), order);
    }
    for (const auto policy : {LongPolicy::automatic, LongPolicy::split, LongPolicy::truncate,
                              LongPolicy::drop, LongPolicy::error}) {
        EXPECT_EQ(parse_long_policy(name_of(policy)), policy);
    }
    expect_error(ErrorCode::invalid_argument, "truncate", [] { parse_long_policy("cut"); });
    expect_error(ErrorCode::invalid_argument, "bucket", [] { parse_plan_mode(""); });
}

TEST(PlanOptionsTest, DefaultsAreSound) {
    EXPECT_NO_THROW(check_options(PlanOptions{}));
}

TEST(PlanOptionsTest, NamesTheImpossibleOption) {
    const auto refused = [](const char* noun, auto change) {
        PlanOptions options;
        change(options);
        expect_error(ErrorCode::invalid_argument, noun, [&] { check_options(options); });
    };
    refused("token budget", [](PlanOptions& o) { o.token_budget = 0; });
    refused("token budget", [](PlanOptions& o) { o.token_budget = 0x80000000U; });
    refused("packs per step", [](PlanOptions& o) { o.packs_per_step = 0; });
    refused("epochs", [](PlanOptions& o) { o.epochs = 0; });
    refused("epochs", [](PlanOptions& o) { o.epochs = std::uint64_t{1} << 32U; });
    refused("cost", [](PlanOptions& o) { o.cost = {0, 0}; });
    refused("cost", [](PlanOptions& o) { o.cost = {~std::uint64_t{0}, 1}; });
    refused("cost", [](PlanOptions& o) { o.cost = {0, ~std::uint64_t{0}}; });
    refused("mode", [](PlanOptions& o) { o.mode = static_cast<PlanMode>(7); });
    refused("order", [](PlanOptions& o) { o.order = static_cast<PackOrder>(7); });
    refused("packing", [](PlanOptions& o) { o.packing = static_cast<PackingPolicy>(8); });
    refused("long", [](PlanOptions& o) { o.long_policy = static_cast<LongPolicy>(7); });
    const auto refused_bucket = [&](const char* noun, std::vector<std::uint32_t> edges,
                                    std::uint32_t overflow) {
        refused(noun, [&](PlanOptions& o) {
            o.mode = PlanMode::bucket;
            o.bucket_edges = edges;
            o.bucket_overflow_max = overflow;
        });
    };
    refused_bucket("edges", {128, 128}, 256);
    refused_bucket("edges", {256, 128}, 512);
    refused_bucket("edges", {0, 128}, 512);
    refused_bucket("overflow", {128}, 128);
    refused_bucket("overflow", {}, 0);
    refused_bucket("overflow", {}, 0x80000000U);
    refused_bucket(
        "number of bucket edges",
        [] {
            std::vector<std::uint32_t> edges(65535);
            for (std::uint32_t i = 0; i < edges.size(); ++i) edges[i] = i + 1;
            return edges;
        }(),
        100000);
}

TEST(PlanOptionsTest, LargestBudgetIsLegal) {
    PlanOptions options;
    options.token_budget = 0x7FFFFFFFU;
    EXPECT_NO_THROW(check_options(options));
}

TEST(PlanOptionsTest, PredictableMeansInOrderWithoutBalanceAndWithTheFixedSeed) {
    PlanOptions options;
    options.predictable = true;
    options.seed = 7;
    const PlanOptions effective = effective_options(options);
    EXPECT_EQ(effective.order, PackOrder::in_order);
    EXPECT_EQ(effective.packing, PackingPolicy::in_order);
    EXPECT_FALSE(effective.balance);
    EXPECT_EQ(effective.seed, predictable_seed);
    EXPECT_EQ(effective_options(effective), effective);
}

TEST(PlanOptionsTest, OptionsOfTheOtherModeDoNotTakeEffect) {
    PlanOptions pack;
    PlanOptions same = pack;
    same.bucket_edges = {1, 2, 3};
    EXPECT_EQ(effective_options(pack), effective_options(same));
    PlanOptions bucket;
    bucket.mode = PlanMode::bucket;
    same = bucket;
    same.packing = PackingPolicy::in_order;
    EXPECT_EQ(effective_options(bucket), effective_options(same));
    EXPECT_EQ(effective_options(bucket).bucket_edges, bucket.bucket_edges);
}

}  // namespace
}  // namespace lockstep
