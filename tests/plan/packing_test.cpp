#include "plan/packing.h"

#include <algorithm>
#include <numeric>
#include <set>

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

void expect_sound(const PackLayout& layout, std::span<const std::uint32_t> lengths, std::uint32_t budget) {
    std::vector<int> seen(lengths.size(), 0);
    ASSERT_EQ(layout.segments.size(), lengths.size());
    ASSERT_EQ(layout.pack_begin.front(), 0U);
    ASSERT_EQ(layout.pack_begin.back(), lengths.size());
    for (std::size_t p = 0; p < layout.num_packs(); ++p) {
        std::uint64_t tokens = 0;
        ASSERT_FALSE(layout.pack(p).empty());
        for (const SegmentIndex segment : layout.pack(p)) {
            ++seen[segment];
            tokens += lengths[segment];
        }
        ASSERT_LE(tokens, budget);
    }
    for (const int count : seen) ASSERT_EQ(count, 1);
}

std::vector<std::uint32_t> random_lengths(Dice& dice, std::uint32_t budget) {
    std::vector<std::uint32_t> lengths(dice.roll(0, 300));
    const std::uint64_t low = dice.roll(1, budget);
    const std::uint64_t high = dice.roll(low, budget);
    for (std::uint32_t& length : lengths) length = static_cast<std::uint32_t>(dice.roll(low, high));
    return lengths;
}

TEST(PackSegmentsTest, PlacesEverySegmentOnceWithinTheBudget) {
    Dice dice(1);
    for (int i = 0; i < 1000; ++i) {
        const auto budget = static_cast<std::uint32_t>(dice.roll(1, 500));
        const auto lengths = random_lengths(dice, budget);
        for (const auto policy : {PackingPolicy::in_order, PackingPolicy::best_fit_decreasing}) {
            expect_sound(pack_segments(lengths, budget, policy), lengths, budget);
        }
    }
}

TEST(PackSegmentsTest, NeedsAsManyPacksAsPlainBestFitDecreasing) {
    Dice dice(2);
    std::size_t best = 0;
    std::size_t in_order = 0;
    for (int i = 0; i < 3000; ++i) {
        const auto budget = static_cast<std::uint32_t>(dice.roll(1, 2000));
        const auto lengths = random_lengths(dice, budget);
        const std::size_t packs =
            pack_segments(lengths, budget, PackingPolicy::best_fit_decreasing).num_packs();
        ASSERT_EQ(packs, packs_of_plain_best_fit_decreasing(lengths, budget)) << "case " << i;
        best += packs;
        in_order += pack_segments(lengths, budget, PackingPolicy::in_order).num_packs();
    }
    EXPECT_LT(best, in_order);
}

TEST(PackSegmentsTest, NeedsNoMorePacksThanFirstFitDecreasing) {
    // No theorem, but it holds on all of these.
    Dice dice(3);
    for (int i = 0; i < 1000; ++i) {
        const auto budget = static_cast<std::uint32_t>(dice.roll(1, 2000));
        const auto lengths = random_lengths(dice, budget);
        ASSERT_LE(pack_segments(lengths, budget, PackingPolicy::best_fit_decreasing).num_packs(),
                  packs_of_plain_first_fit_decreasing(lengths, budget))
            << "case " << i;
    }
}

TEST(PackSegmentsTest, LongTailedLengthsReachTheLowerBound) {
    const auto lengths64 = long_tailed_lengths(4, 100000, 4096);
    const std::vector<std::uint32_t> lengths(lengths64.begin(), lengths64.end());
    const LengthClasses classes = classify_lengths(lengths);
    const std::size_t packs = pack_segments(lengths, 4096, PackingPolicy::best_fit_decreasing).num_packs();
    EXPECT_LE(packs, packs_lower_bound(classes.tokens, classes.sizes(), 4096) + 1);
}

TEST(PackSegmentsTest, TieBreaksAreFixed) {
    const std::vector<std::uint32_t> lengths = {3, 5, 5, 2, 3, 8, 2};
    const PackLayout best = pack_segments(lengths, 8, PackingPolicy::best_fit_decreasing);
    EXPECT_EQ(best.segments, (std::vector<SegmentIndex>{5, 1, 0, 2, 4, 3, 6}));
    EXPECT_EQ(best.pack_begin, (std::vector<SegmentIndex>{0, 1, 3, 5, 7}));
    const PackLayout in_order = pack_segments(lengths, 8, PackingPolicy::in_order);
    EXPECT_EQ(in_order.segments, (std::vector<SegmentIndex>{0, 1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(in_order.pack_begin, (std::vector<SegmentIndex>{0, 2, 4, 5, 6, 7}));
}

TEST(PackSegmentsTest, NothingGivesNoPack) {
    for (const auto policy : {PackingPolicy::in_order, PackingPolicy::best_fit_decreasing}) {
        EXPECT_EQ(pack_segments({}, 8, policy).num_packs(), 0U);
    }
}

TEST(PackSegmentsTest, NamesTheSegmentOverBudget) {
    const std::vector<std::uint32_t> lengths = {4, 9, 10};
    expect_error(ErrorCode::invalid_argument, "segment 1",
                 [&] { pack_segments(lengths, 8, PackingPolicy::best_fit_decreasing); });
    const std::vector<std::uint32_t> with_empty = {4, 0};
    expect_error(ErrorCode::invalid_argument, "segment 1",
                 [&] { pack_segments(with_empty, 8, PackingPolicy::in_order); });
    expect_error(ErrorCode::invalid_argument, "budget",
                 [&] { pack_segments(lengths, 0, PackingPolicy::in_order); });
    expect_error(ErrorCode::invalid_argument, "budget",
                 [&] { pack_segments(lengths, 0x80000000U, PackingPolicy::in_order); });
}

TEST(PackSegmentsTest, HugeBudgetsNeedNoMemoryOfTheirSize) {
    const std::vector<std::uint32_t> lengths = {0x7FFFFFFFU, 1, 0x7FFFFFFEU, 5};
    EXPECT_EQ(pack_segments(lengths, 0x7FFFFFFFU, PackingPolicy::best_fit_decreasing).num_packs(), 3U);
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
        const std::uint64_t bound = packs_lower_bound(classes.tokens, classes.sizes(), budget);
        const std::uint64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0});
        ASSERT_GE(bound, (tokens + budget - 1) / budget);
        ASSERT_LE(bound, packs_of_plain_best_fit_decreasing(lengths, budget));
    }
}

TEST(PacksLowerBoundTest, SeesThatSixesCannotShare) {
    const std::vector<std::uint32_t> tokens = {6, 5};
    const std::vector<std::uint64_t> counts = {3, 1};
    EXPECT_EQ(packs_lower_bound(tokens, counts, 10), 4U);  // The sum alone says 3.
}

TEST(CuSeqlensTest, IsTheRunningSumOfOnePack) {
    const std::vector<std::uint32_t> lengths = {3, 5, 4};
    const PackLayout layout = pack_segments(lengths, 8, PackingPolicy::in_order);
    EXPECT_EQ(cu_seqlens(layout, 0, lengths), (std::vector<std::int32_t>{0, 3, 8}));
    EXPECT_EQ(cu_seqlens(layout, 1, lengths), (std::vector<std::int32_t>{0, 4}));
}

}  // namespace
}  // namespace lockstep
