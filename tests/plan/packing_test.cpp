#include "plan/packing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "plan/pattern_packing.h"
#include "plan/sequential_packing.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

/// Best-fit decreasing as the textbook has it, one segment after another.
std::size_t packs_of_plain_best_fit_decreasing(std::vector<std::uint32_t> lengths, std::uint32_t budget) {
    std::sort(lengths.rbegin(), lengths.rend());
    std::multiset<std::uint32_t> rooms;
    for (const std::uint32_t length : lengths) {
        const auto fullest = rooms.lower_bound(length);
        std::uint32_t room = budget;
        if (fullest != rooms.end()) {
            room = *fullest;
            rooms.erase(fullest);
        }
        rooms.insert(room - length);
    }
    return rooms.size();
}

std::size_t packs_of_plain_first_fit_decreasing(std::vector<std::uint32_t> lengths, std::uint32_t budget) {
    std::sort(lengths.rbegin(), lengths.rend());
    std::vector<std::uint32_t> rooms;
    for (const std::uint32_t length : lengths) {
        const auto first =
            std::find_if(rooms.begin(), rooms.end(), [&](std::uint32_t room) { return room >= length; });
        if (first == rooms.end()) {
            rooms.push_back(budget - length);
        } else {
            *first -= length;
        }
    }
    return rooms.size();
}

void expect_sound(const PackLayout<>& layout, std::span<const std::uint32_t> lengths, PackLimits limits) {
    std::vector<int> seen(lengths.size(), 0);
    ASSERT_EQ(layout.segments.size(), lengths.size());
    ASSERT_EQ(layout.pack_begin.front(), 0U);
    ASSERT_EQ(layout.pack_begin.back(), lengths.size());
    for (std::size_t p = 0; p < layout.num_packs(); ++p) {
        std::uint64_t tokens = 0;
        ASSERT_FALSE(layout.pack(p).empty());
        for (const NarrowIndex segment : layout.pack(p)) {
            ++seen[segment];
            tokens += lengths[segment];
        }
        ASSERT_LE(tokens, limits.tokens_max);
        if (limits.segments_max > 0) {
            ASSERT_LE(layout.pack(p).size(), limits.segments_max);
        }
    }
    for (const int count : seen) ASSERT_EQ(count, 1);
}

void expect_sound(const PackShapes& shapes, const LengthClasses<>& classes, PackLimits limits) {
    std::vector<std::uint64_t> given(classes.num_classes(), 0);
    for (std::size_t s = 0; s < shapes.num_shapes(); ++s) {
        std::uint64_t tokens = 0;
        ASSERT_FALSE(shapes.shape(s).empty());
        ASSERT_GE(shapes.shape_packs[s], 1U);
        for (const std::uint32_t c : shapes.shape(s)) {
            tokens += classes.tokens[c];
            given[c] += shapes.shape_packs[s];
        }
        ASSERT_LE(tokens, limits.tokens_max);
        if (limits.segments_max > 0) {
            ASSERT_LE(shapes.shape(s).size(), limits.segments_max);
        }
    }
    ASSERT_EQ(given, classes.sizes());
}

PackShapes pack(std::span<const std::uint32_t> lengths, PackLimits limits, PackingPolicy policy) {
    return pack_shapes(classify_lengths(lengths), lengths, limits, policy);
}

std::uint64_t packs_of(std::span<const std::uint32_t> lengths, std::uint32_t budget, PackingPolicy policy) {
    return pack(lengths, {budget}, policy).num_packs();
}

std::vector<std::uint32_t> random_lengths(Dice& dice, std::uint32_t budget) {
    std::vector<std::uint32_t> lengths(dice.roll(0, 300));
    const std::uint64_t low = dice.roll(1, budget);
    const std::uint64_t high = dice.roll(low, budget);
    for (std::uint32_t& length : lengths) length = static_cast<std::uint32_t>(dice.roll(low, high));
    return lengths;
}

constexpr PackingPolicy shaped_policies[] = {
    PackingPolicy::automatic, PackingPolicy::best_fit_decreasing,  PackingPolicy::patterns,
    PackingPolicy::first_fit, PackingPolicy::first_fit_decreasing, PackingPolicy::best_fit};

TEST(PackShapesTest, PlacesEverySegmentOnceWithinTheLimits) {
    Dice dice(1);
    for (int i = 0; i < 1000; ++i) {
        const PackLimits limits{static_cast<std::uint32_t>(dice.roll(1, 500)),
                                static_cast<std::uint32_t>(dice.coin() ? 0 : dice.roll(1, 6))};
        const auto lengths = random_lengths(dice, limits.tokens_max);
        const LengthClasses classes = classify_lengths(lengths);
        const std::uint64_t bound = packs_lower_bound(classes.tokens, classes.sizes(), limits);
        for (const PackingPolicy policy : shaped_policies) {
            const PackShapes shapes = pack_shapes(classes, lengths, limits, policy);
            expect_sound(shapes, classes, limits);
            ASSERT_GE(shapes.num_packs(), bound) << name_of(policy);
        }
        expect_sound(pack_in_order(lengths, limits), lengths, limits);
        expect_sound(first_fit(lengths, limits), lengths, limits);
        expect_sound(best_fit(lengths, limits), lengths, limits);
        expect_sound(first_fit_decreasing(lengths, limits), lengths, limits);
    }
}

TEST(PackShapesTest, NeedsAsManyPacksAsPlainBestFitDecreasing) {
    Dice dice(2);
    std::size_t best = 0;
    std::size_t in_order = 0;
    for (int i = 0; i < 3000; ++i) {
        const auto budget = static_cast<std::uint32_t>(dice.roll(1, 2000));
        const auto lengths = random_lengths(dice, budget);
        const std::uint64_t packs = packs_of(lengths, budget, PackingPolicy::best_fit_decreasing);
        ASSERT_EQ(packs, packs_of_plain_best_fit_decreasing(lengths, budget)) << "case " << i;
        ASSERT_EQ(packs_of(lengths, budget, PackingPolicy::first_fit_decreasing),
                  packs_of_plain_first_fit_decreasing(lengths, budget));
        best += packs;
        in_order += pack_in_order(lengths, {budget}).num_packs();
    }
    EXPECT_LT(best, in_order);
}

TEST(PackShapesTest, AutomaticNeverNeedsMorePacksThanBestFitDecreasing) {
    Dice dice(7);
    std::uint64_t saved = 0;
    for (int i = 0; i < 10000; ++i) {
        const auto budget = static_cast<std::uint32_t>(dice.roll(1, 200));
        const auto lengths = random_lengths(dice, budget);
        const std::uint64_t best_fit = packs_of(lengths, budget, PackingPolicy::best_fit_decreasing);
        const std::uint64_t automatic = packs_of(lengths, budget, PackingPolicy::automatic);
        ASSERT_LE(automatic, best_fit) << "case " << i;
        saved += best_fit - automatic;
    }
    EXPECT_GT(saved, 0U);
}

TEST(PackShapesTest, LongTailedLengthsReachTheLowerBound) {
    const auto lengths = long_tailed_lengths(4, 100000, 4096);
    const LengthClasses classes = classify_lengths(lengths);
    EXPECT_LE(packs_of(lengths, 4096, PackingPolicy::best_fit_decreasing),
              packs_lower_bound(classes.tokens, classes.sizes(), {4096}) + 1);
}

TEST(PackShapesTest, BestFitDecreasingTieBreaksAreFixed) {
    const std::vector<std::uint32_t> lengths = {3, 5, 5, 2, 3, 8, 2};
    const PackShapes best = pack(lengths, {8}, PackingPolicy::best_fit_decreasing);
    EXPECT_EQ(best.item_class, (std::vector<std::uint32_t>{0, 1, 2, 3, 3}));  // 8 | 5 3 twice | 2 2
    EXPECT_EQ(best.shape_begin, (std::vector<std::uint64_t>{0, 1, 3, 5}));
    EXPECT_EQ(best.shape_packs, (std::vector<std::uint64_t>{1, 2, 1}));
}

TEST(SequentialPackingTest, TieBreaksAreFixed) {
    const std::vector<std::uint32_t> lengths = {3, 5, 5, 2, 3, 8, 2};
    const PackLayout in_order = pack_in_order(lengths, {8});
    EXPECT_EQ(in_order.segments, (std::vector<NarrowIndex>{0, 1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(in_order.pack_begin, (std::vector<NarrowIndex>{0, 2, 4, 5, 6, 7}));
    const PackLayout first = first_fit({{4, 5, 3, 2, 1}}, {8});
    EXPECT_EQ(first.segments, (std::vector<NarrowIndex>{0, 2, 4, 1, 3}));
    EXPECT_EQ(first.pack_begin, (std::vector<NarrowIndex>{0, 3, 5}));
    const PackLayout best = best_fit({{4, 5, 3, 2, 1}}, {8});
    EXPECT_EQ(best.segments, (std::vector<NarrowIndex>{0, 3, 4, 1, 2}));
    EXPECT_EQ(best.pack_begin, (std::vector<NarrowIndex>{0, 3, 5}));
}

TEST(ThriftyBestFitTest, PlacesEverySegmentOnceWithinTheLimits) {
    Dice dice(12);
    for (int i = 0; i < 2000; ++i) {
        const PackLimits limits{static_cast<std::uint32_t>(dice.roll(1, 500)),
                                static_cast<std::uint32_t>(dice.coin() ? 0 : dice.roll(1, 6))};
        const LengthClasses classes = classify_lengths(random_lengths(dice, limits.tokens_max));
        expect_sound(thrifty_best_fit(classes.tokens, classes.sizes(), limits), classes, limits);
    }
}

TEST(ThriftyBestFitTest, LeavesARemainderOnlyToSegmentsOfThatLength) {
    // Three of 33 leave one token, and only ten segments have one: the eleventh pack would waste it.
    const std::vector<std::uint32_t> tokens = {33, 22, 12, 1};
    const std::vector<std::uint64_t> enough = {30, 12, 12, 10};
    EXPECT_EQ(thrifty_best_fit(tokens, enough, {100}).item_class,
              best_fit_decreasing(tokens, enough, {100}).item_class);
    const std::vector<std::uint64_t> scarce = {66, 33, 33, 1};
    const PackShapes careful = thrifty_best_fit(tokens, scarce, {100});
    EXPECT_EQ(careful.shape_packs.front(), 33U);  // 33 33 22 12
    EXPECT_EQ(std::vector(careful.shape(0).begin(), careful.shape(0).end()),
              (std::vector<std::uint32_t>{0, 0, 1, 2}));
    EXPECT_EQ(careful.num_packs(), 34U);  // And the one token.
    EXPECT_GT(best_fit_decreasing(tokens, scarce, {100}).num_packs(), 33U);
}

TEST(ThriftyBestFitTest, ReachesTheBoundWhereScrapsAddUp) {
    // 3 · 10^6 lengths: best-fit decreasing fills thousands of packs with equal segments to all but a token.
    std::vector<std::uint32_t> tokens;
    std::vector<std::uint64_t> segments;
    for (std::uint32_t length = 1000; length > 0; --length) {
        tokens.push_back(length);
        segments.push_back(length < 8 ? 10 : 3000);
    }
    const std::uint64_t bound = packs_lower_bound(tokens, segments, {4096});
    const std::uint64_t best_fit = best_fit_decreasing(tokens, segments, {4096}).num_packs();
    EXPECT_GT(best_fit, bound + 1);
    EXPECT_LE(thrifty_best_fit(tokens, segments, {4096}).num_packs(), bound + 1);
    EXPECT_LE(pack_automatically(tokens, segments, {4096}).num_packs(), bound + 1);
}

TEST(PackShapesTest, TenMillionLogNormalLengthsStayWithinSixPacksOfTheBound) {
    std::mt19937_64 generator(20261121);
    std::lognormal_distribution<double> length(std::log(600.0) - 0.72, 1.2);
    std::vector<std::uint32_t> lengths(10'000'000);
    for (std::uint32_t& one : lengths)
        one = static_cast<std::uint32_t>(std::clamp(length(generator), 1.0, 4096.0));
    const LengthClasses classes = classify_lengths(lengths);
    const std::uint64_t bound = packs_lower_bound(classes.tokens, classes.sizes(), {4096});
    EXPECT_LE(pack_automatically(classes.tokens, classes.sizes(), {4096}).num_packs(), bound + 6);
}

TEST(PackShapesTest, NothingGivesNoPack) {
    for (const PackingPolicy policy : shaped_policies) EXPECT_EQ(packs_of({}, 8, policy), 0U);
    EXPECT_EQ(pack_in_order({}, {8}).num_packs(), 0U);
}

TEST(PackShapesTest, HugeBudgetsNeedNoMemoryOfTheirSize) {
    const std::vector<std::uint32_t> lengths = {0x7FFFFFFFU, 1, 0x7FFFFFFEU, 5};
    for (const PackingPolicy policy : shaped_policies) {
        EXPECT_GE(packs_of(lengths, 0x7FFFFFFFU, policy), 3U) << name_of(policy);
    }
    EXPECT_EQ(packs_of(lengths, 0x7FFFFFFFU, PackingPolicy::best_fit_decreasing), 3U);
}

// Mid-sized lengths, where best-fit decreasing leaves packs unfilled.
TEST(PatternPackingTest, SavesPacksOfMidSizedLengths) {
    Dice dice(8);
    std::vector<std::uint32_t> bell(1'000'000);
    for (std::uint32_t& length : bell) {
        std::uint64_t sum = 0;
        for (int i = 0; i < 12; ++i) sum += dice.roll(0, 350);
        length = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(sum, 601, 4696) - 600);
    }  // Mean 1500, deviation 350.
    std::vector<std::uint32_t> flat(200000);
    for (std::uint32_t& length : flat) length = static_cast<std::uint32_t>(dice.roll(1100, 2299));
    const std::uint64_t best_fit = packs_of(flat, 4096, PackingPolicy::best_fit_decreasing);
    const std::uint64_t patterns = packs_of(flat, 4096, PackingPolicy::automatic);
    EXPECT_LE(static_cast<double>(patterns), 0.964 * static_cast<double>(best_fit));
    EXPECT_LE(static_cast<double>(packs_of(bell, 4096, PackingPolicy::automatic)),
              0.975 * static_cast<double>(packs_of(bell, 4096, PackingPolicy::best_fit_decreasing)));
}

TEST(PatternPackingTest, FindsWhatGreedyMisses) {
    // Best fit puts 6 + 3 and leaves 4 + 4 with a gap; 6 + 4 and 4 + 3 + 3 fill all.
    std::vector<std::uint32_t> lengths;
    for (int i = 0; i < 60; ++i) lengths.insert(lengths.end(), {6, 4, 4, 3, 3});
    EXPECT_EQ(packs_of(lengths, 10, PackingPolicy::patterns), 120U);
    EXPECT_EQ(packs_of(lengths, 10, PackingPolicy::automatic), 120U);
}

TEST(ClassifyLengthsTest, SortingAndCountingAgree) {
    Dice dice(5);
    std::vector<std::uint32_t> lengths(500);
    for (std::uint32_t& length : lengths) length = static_cast<std::uint32_t>(dice.roll(1, 40));
    const LengthClasses counted = classify_lengths(lengths);
    for (std::uint32_t& length : lengths) length *= 1000000;
    const LengthClasses sorted = classify_lengths(lengths);
    EXPECT_EQ(counted.members, sorted.members);
    EXPECT_EQ(counted.begin, sorted.begin);
    for (std::size_t c = 0; c < counted.num_classes(); ++c)
        EXPECT_EQ(counted.tokens[c] * 1000000, sorted.tokens[c]);
    EXPECT_TRUE(std::is_sorted(counted.tokens.rbegin(), counted.tokens.rend()));
}

TEST(PacksLowerBoundTest, IsNeverAboveWhatBestFitNeedsNorBelowTheSum) {
    Dice dice(6);
    for (int i = 0; i < 2000; ++i) {
        const auto budget = static_cast<std::uint32_t>(dice.roll(1, 300));
        const auto lengths = random_lengths(dice, budget);
        const LengthClasses classes = classify_lengths(lengths);
        const std::uint64_t bound = packs_lower_bound(classes.tokens, classes.sizes(), {budget});
        const std::uint64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0});
        ASSERT_GE(bound, (tokens + budget - 1) / budget);
        ASSERT_LE(bound, packs_of_plain_best_fit_decreasing(lengths, budget));
    }
}

TEST(PacksLowerBoundTest, SeesThatSixesCannotShare) {
    const std::vector<std::uint32_t> tokens = {6, 5};
    const std::vector<std::uint64_t> counts = {3, 1};
    EXPECT_EQ(packs_lower_bound(tokens, counts, {10}), 4U);  // The sum alone says 3.
}

}  // namespace
}  // namespace lockstep
