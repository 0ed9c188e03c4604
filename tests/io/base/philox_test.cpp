#include "io/base/philox.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

namespace lockstep {
namespace {

TEST(PhiloxTest, Random123KnownAnswers) {
    // kat_vectors of the Random123 distribution, philox4x32 10.
    constexpr std::uint32_t ones = 0xFFFFFFFFU;
    EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
              (PhiloxCounter{0x6627E8D5U, 0xE169C58DU, 0xBC57AC4CU, 0x9B00DBD8U}));
    EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}),
              (PhiloxCounter{0x408F276DU, 0x41C83B0EU, 0xA20BC7C6U, 0x6D5451FDU}));
    EXPECT_EQ(philox4x32({0x243F6A88U, 0x85A308D3U, 0x13198A2EU, 0x03707344U}, {0xA4093822U, 0x299F31D0U}),
              (PhiloxCounter{0xD16CFE09U, 0x94FDCCEBU, 0x5001E420U, 0x24126EA1U}));
}

TEST(PhiloxTest, IsAConstantExpression) {
    static_assert(philox4x32({0, 0, 0, 0}, {0, 0})[0] == 0x6627E8D5U);
    static_assert(Philox(1, "test").below(0, 1) == 0);
}

TEST(PhiloxTest, AStreamIsThePlainFunctionOfKeyAndCounter) {
    // FNV-1a of "a", from its published test vectors.
    constexpr std::uint64_t fnv_a = 0xAF63DC4C8601EC8CULL;
    const std::uint64_t key = 42 ^ fnv_a;
    const PhiloxCounter expected =
        philox4x32({7, 1, 9, 2}, {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32U)});
    const Philox philox(42, "a", (std::uint64_t{2} << 32U) + 9);
    const std::uint64_t index = (std::uint64_t{1} << 32U) + 7;
    EXPECT_EQ(philox.block(index), expected);
    EXPECT_EQ(philox.word64(index), (std::uint64_t{expected[1]} << 32U) | expected[0]);
}

TEST(PhiloxTest, SeedPurposeStreamAndIndexAllMatter) {
    const std::set<std::uint64_t> words{Philox(1, "shuffle", 0).word64(0), Philox(2, "shuffle", 0).word64(0),
                                        Philox(1, "weights", 0).word64(0), Philox(1, "shuffle", 1).word64(0),
                                        Philox(1, "shuffle", 0).word64(1)};
    EXPECT_EQ(words.size(), 5U);
}

TEST(PhiloxTest, BelowStaysBelow) {
    const Philox philox(3, "test");
    const std::vector<std::uint64_t> bounds{
        1, 2, 3, 1000, (std::uint64_t{1} << 32U) + 1, (std::uint64_t{1} << 63U) + 1, ~std::uint64_t{0}};
    for (const std::uint64_t bound : bounds) {
        for (std::uint64_t index = 0; index < 2000; ++index) ASSERT_LT(philox.below(index, bound), bound);
    }
}

TEST(PhiloxTest, BelowIsUniform) {
    // 30,000 draws of 3: 10,000 each, standard deviation 82.
    const Philox philox(3, "test");
    std::array<int, 3> counts{};
    for (std::uint64_t index = 0; index < 30'000; ++index) ++counts[philox.below(index, 3)];
    for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);
}

TEST(PhiloxTest, BelowRejectsRatherThanFavourSomeValues) {
    // With 3·2^62 values, multiply-shift alone would give multiples of 3 twice as often as others. A quarter
    // of the draws is rejected, and what remains is even.
    const Philox philox(5, "test");
    const std::uint64_t bound = std::uint64_t{3} << 62U;
    std::array<int, 3> counts{};
    int redrawn = 0;
    for (std::uint64_t index = 0; index < 30'000; ++index) {
        const std::uint64_t value = philox.below(index, bound);
        ++counts[value % 3];
        __extension__ using u128 = unsigned __int128;
        redrawn +=
            value != static_cast<std::uint64_t>((static_cast<u128>(philox.word64(index)) * bound) >> 64U);
    }
    for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);
    EXPECT_NEAR(redrawn, 7'500, 500);
}

TEST(PhiloxTest, BelowIsFixedForEver) {
    // Part of the plan format: a change here changes every plan.
    const Philox philox(42, "pack-shuffle", 1);
    const std::vector<std::uint64_t> expected{437454, 749588, 180921, 674927, 616849, 399961, 94053, 285600};
    std::vector<std::uint64_t> found;
    for (std::uint64_t index = 0; index < expected.size(); ++index)
        found.push_back(philox.below(index, 1'000'000));
    EXPECT_EQ(found, expected);
}

}  // namespace
}  // namespace lockstep
