#include "plan/balance.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <set>

#include "plan/shard.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

std::vector<std::uint64_t> random_costs(std::uint64_t seed, std::size_t count) {
    Dice dice(seed);
    std::vector<std::uint64_t> costs(count);
    for (std::uint64_t& cost : costs) cost = dice.roll(1, 1000000);
    return costs;
}

std::vector<std::uint32_t> order_packs(std::span<const std::uint64_t> costs, const PlanOptions& options,
                                       std::uint64_t epoch) {
    PackDraws draws(options.seed, epoch);
    std::vector<std::uint32_t> packs(costs.size());
    std::iota(packs.begin(), packs.end(), 0U);
    lockstep::order_packs(std::span(packs), costs, options, draws);
    return packs;
}

TEST(OrderPacksTest, IsAPermutationThatKeepsPacksInTheirWindow) {
    PlanOptions options;
    options.packs_per_step = 5;
    PlanOptions plain = options;
    plain.balance = false;
    for (const std::size_t packs : {0U, 1U, 4U, 5U, 6U, 79U, 80U, 81U, 1234U}) {
        const auto costs = random_costs(packs, packs);
        auto balanced = order_packs(costs, options, 3);
        auto shuffled = order_packs(costs, plain, 3);
        ASSERT_EQ(balanced.size(), packs);
        const std::size_t full = packs / 5 * 5;
        for (std::size_t begin = 0; begin < full; begin += 5 * balance_window_steps) {
            const std::size_t end = std::min(begin + 5 * balance_window_steps, full);
            EXPECT_TRUE(std::is_permutation(balanced.begin() + static_cast<std::ptrdiff_t>(begin),
                                            balanced.begin() + static_cast<std::ptrdiff_t>(end),
                                            shuffled.begin() + static_cast<std::ptrdiff_t>(begin)));
        }
        // The short last step is left as it was shuffled.
        EXPECT_TRUE(std::equal(balanced.begin() + static_cast<std::ptrdiff_t>(full), balanced.end(),
                               shuffled.begin() + static_cast<std::ptrdiff_t>(full)));
        std::sort(balanced.begin(), balanced.end());
        for (std::uint32_t i = 0; i < packs; ++i) EXPECT_EQ(balanced[i], i);
    }
}

// Windows of 16 to 640 packs, of equal, near and far costs: each is as if sorted by comparison.
TEST(OrderPacksTest, StepsOfAWindowAreSlicesOfItSortedByCost) {
    for (const std::uint32_t packs_per_step : {1U, 2U, 3U, 4U, 40U}) {
        for (const std::uint64_t range : {1ULL, 200ULL, 70'000ULL, ~0ULL}) {
            PlanOptions options;
            options.packs_per_step = packs_per_step;
            PlanOptions plain = options;
            plain.balance = false;
            Dice dice(range % 1000 + packs_per_step);
            std::vector<std::uint64_t> costs(packs_per_step * balance_window_steps);
            for (std::uint64_t& cost : costs) cost = range == 1 ? 7 : dice.roll(0, range - 1);
            const auto balanced = order_packs(costs, options, 2);
            auto sorted = order_packs(costs, plain, 2);
            std::ranges::stable_sort(sorted, {}, [&](std::uint32_t pack) { return costs[pack]; });
            std::set<std::vector<std::uint32_t>> expected, found;
            for (std::size_t begin = 0; begin < costs.size(); begin += packs_per_step) {
                const auto step = [&](const std::vector<std::uint32_t>& order) {
                    return std::vector(order.begin() + static_cast<std::ptrdiff_t>(begin),
                                       order.begin() + static_cast<std::ptrdiff_t>(begin + packs_per_step));
                };
                expected.insert(step(sorted));
                found.insert(step(balanced));
            }
            EXPECT_EQ(found, expected) << packs_per_step << " packs a step, costs below " << range;
        }
    }
}

TEST(OrderPacksTest, PacksOfOneContentMayShareANumber) {
    for (const std::uint32_t packs_per_step : {2U, 8U}) {  // Windows sorted by comparison and by digits.
        for (const bool balance : {false, true}) {
            PlanOptions options;
            options.packs_per_step = packs_per_step;
            options.balance = balance;
            const auto content_cost = random_costs(3, 334);
            std::vector<std::uint32_t> shared(1000);
            std::vector<std::uint64_t> cost(shared.size());
            for (std::uint32_t p = 0; p < shared.size(); ++p) {
                shared[p] = p / 3;
                cost[p] = content_cost[p / 3];
            }
            auto expected = order_packs(cost, options, 1);
            for (std::uint32_t& pack : expected) pack /= 3;
            PackDraws draws(options.seed, 1);
            lockstep::order_packs(std::span(shared), content_cost, options, draws);
            EXPECT_EQ(shared, expected) << packs_per_step << " packs a step, balance " << balance;
        }
    }
}

TEST(OrderPacksTest, InOrderIsTheInputOrder) {
    PlanOptions options;
    options.order = PackOrder::in_order;
    const auto order = order_packs(random_costs(1, 100), options, 0);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(OrderPacksTest, StepsOfAWindowAreNotSortedByCost) {
    PlanOptions options;
    const auto costs = random_costs(2, 128);
    const auto order = order_packs(costs, options, 0);
    std::vector<std::uint64_t> step_cost(16, 0);
    for (std::size_t i = 0; i < order.size(); ++i) step_cost[i / 8] += costs[order[i]];
    EXPECT_FALSE(std::is_sorted(step_cost.begin(), step_cost.end()));
    EXPECT_FALSE(std::is_sorted(step_cost.rbegin(), step_cost.rend()));
}

/// Log-normal lengths, mean 600 before clipping to [1, 4096]. Only the bounds below depend on the library's
/// logarithm.
TestSource log_normal_source(std::size_t count) {
    const Philox philox(9, "test-log-normal");
    TestSource source;
    for (std::size_t i = 0; i < count; ++i) {
        const PhiloxCounter words = philox.block(i);
        const double u = (words[0] + 0.5) / 4294967296.0;
        const double v = (words[1] + 0.5) / 4294967296.0;
        const double normal = std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
        const double length = std::exp(std::log(600.0) - 0.72 + 1.2 * normal);
        source.sample_tokens.push_back(static_cast<std::uint32_t>(std::clamp(length, 1.0, 4096.0)));
    }
    return source;
}

/// Time of the slowest ranks over the time of evenly loaded ones, over all full steps.
double imbalance(const BatchPlan& plan, int world_size) {
    double slowest = 0;
    double total = 0;
    for (std::uint64_t step = 0; step < plan.num_steps(); ++step) {
        const std::uint64_t begin = plan.step_begin[step];
        const std::uint64_t packs = plan.step_begin[step + 1] - begin;
        if (packs < plan.options.packs_per_step) continue;
        const auto costs = std::span(plan.pack_cost).subspan(begin, packs);
        const auto rank_of = assign_packs(costs, WorldSize{world_size});
        std::vector<std::uint64_t> load(static_cast<std::size_t>(world_size), 0);
        for (std::size_t p = 0; p < packs; ++p) load[static_cast<std::size_t>(rank_of[p].value)] += costs[p];
        slowest += static_cast<double>(*std::max_element(load.begin(), load.end()));
        total += static_cast<double>(std::accumulate(load.begin(), load.end(), std::uint64_t{0}));
    }
    return slowest * world_size / total;
}

TEST(BalanceTest, AttentionCostIsEvenOver64Ranks) {
    const TestSource source = log_normal_source(150000);
    PlanOptions options;
    options.cost = {0, 1};
    options.packs_per_step = 64;
    EXPECT_LE(imbalance(build_plan(options, source), 64), 1.09);
    options.packs_per_step = 256;
    EXPECT_LE(imbalance(build_plan(options, source), 64), 1.02);
}

TEST(BalanceTest, WindowsAreWhatMakesItEven) {
    const TestSource source = log_normal_source(60000);
    PlanOptions options;
    options.cost = {0, 1};
    options.balance = false;
    const double without = imbalance(build_plan(options, source), 8);
    options.balance = true;
    EXPECT_GT(without, 1.8);
    EXPECT_LT(imbalance(build_plan(options, source), 8), 1.15);
}

}  // namespace
}  // namespace lockstep
