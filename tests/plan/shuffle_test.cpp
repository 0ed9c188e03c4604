#include "plan/shuffle.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <vector>

#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

std::vector<int> shuffled(int count, std::uint64_t seed, std::string_view purpose, std::uint64_t stream) {
    std::vector<int> values(static_cast<std::size_t>(count));
    std::iota(values.begin(), values.end(), 0);
    DrawSequence draws(seed, purpose, stream);
    shuffle_values(std::span(values), draws);
    return values;
}

TEST(DrawSequenceTest, DrawsAreTheWordsOfTheStreamInOrder) {
    // With a power of two nothing is rejected: the draw is the word's upper bits.
    const Philox philox(5, "purpose", 9);
    DrawSequence draws(5, "purpose", 9);
    for (std::uint64_t block = 0; block < 40; ++block) {
        for (const std::uint32_t word : philox.block(block)) EXPECT_EQ(draws.below(1U << 16U), word >> 16U);
    }
}

TEST(DrawSequenceTest, StaysBelowTheBound) {
    DrawSequence draws(1, "bound", 0);
    for (const std::uint32_t bound : {1U, 2U, 3U, 7U, 1000U, 0x80000001U, 0xFFFFFFFFU}) {
        for (int i = 0; i < 1000; ++i) EXPECT_LT(draws.below(bound), bound);
    }
}

// Beyond 2^32 values a shuffle draws one place from a word, and places are wide.
TEST(DrawSequenceTest, WideDrawsAreUniformBelowTheirBound) {
    constexpr std::uint64_t bounds[] = {(std::uint64_t{1} << 32U) + 1, std::uint64_t{3} << 40U,
                                        ~std::uint64_t{0}};
    for (const std::uint64_t bound : bounds) {
        DrawSequence draws(11, "wide", bound);
        std::array<int, 8> eighth{};
        for (int i = 0; i < 16000; ++i) {
            std::array<std::uint64_t, 1> draw{};
            draws.below_descending(bound, draw);
            ASSERT_LT(draw[0], bound);
            ++eighth[draw[0] / (bound / 8 + 1)];
        }
        for (const int count : eighth) {
            EXPECT_GT(count, 1800);
            EXPECT_LT(count, 2200);
        }
    }
    // A narrow bound gives what a narrow draw gives.
    DrawSequence wide(7, "draws", 0), narrow(7, "draws", 0);
    for (std::uint32_t bound = 1; bound < 2000; ++bound) {
        std::array<std::uint64_t, 1> a{};
        std::array<std::uint32_t, 1> b{};
        wide.below_descending(std::uint64_t{bound}, a);
        narrow.below_descending(bound, b);
        ASSERT_EQ(a[0], b[0]);
    }
}

TEST(ShuffleValuesTest, IsAPermutation) {
    for (const int count : {0, 1, 2, 3, 1000}) {
        std::vector<int> values = shuffled(count, 42, "test", 0);
        std::sort(values.begin(), values.end());
        for (int i = 0; i < count; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], i);
    }
}

TEST(ShuffleValuesTest, EveryCoordinateMatters) {
    const auto base = shuffled(50, 1, "test", 1);
    EXPECT_EQ(shuffled(50, 1, "test", 1), base);
    EXPECT_NE(shuffled(50, 2, "test", 1), base);
    EXPECT_NE(shuffled(50, 1, "tent", 1), base);
    EXPECT_NE(shuffled(50, 1, "test", 2), base);
    // Seed plus epoch would make these equal.
    EXPECT_NE(shuffled(50, 2, "test", 0), base);
    EXPECT_NE(shuffled(50, 0, "test", 2), base);
}

TEST(ShuffleValuesTest, OrdersOfFourAreAboutEquallyLikely) {
    std::map<std::vector<int>, int> counts;
    for (std::uint64_t stream = 0; stream < 24000; ++stream) ++counts[shuffled(4, 3, "test", stream)];
    ASSERT_EQ(counts.size(), 24U);
    for (const auto& [order, count] : counts) {
        EXPECT_GT(count, 800);
        EXPECT_LT(count, 1200);
    }
}

}  // namespace
}  // namespace lockstep
