#include "kernels/exact_accumulate.h"

#include <limits>

#include "tests/kernels/kernel_checks.h"

namespace lockstep {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

ExactFlags accumulate(const std::vector<float>& g, int exponent, std::uint64_t packs, bool first,
                      std::vector<std::int64_t>& sum) {
    ThreadPool pool(1);
    return accumulate_exact(pool, g, exponent, packs, first, sum);
}
std::vector<std::int64_t> converted(const std::vector<float>& g, int exponent) {
    std::vector<std::int64_t> sum(g.size(), 99);
    const ExactFlags flags = accumulate(g, exponent, 1, true, sum);
    EXPECT_FALSE(flags.overflow || flags.non_finite);
    return sum;
}

TEST(AccumulateExactTest, RoundsTiesToEven) {
    for (const KernelIsa isa : supported_isas()) {
        const IsaScope scope(isa);
        EXPECT_EQ(converted({0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 0.49999997F, 0.50000006F, -0.0F}, 0),
                  (std::vector<std::int64_t>{0, 2, 2, 0, -2, -2, 0, 1, 0}));
    }
}

TEST(AccumulateExactTest, MatchesTheDefinitionAtEveryExponent) {
    for (const KernelIsa isa : supported_isas()) {
        const IsaScope scope(isa);
        for (int exponent = -100; exponent <= 62; ++exponent) {
            // Up to the largest that fits, down to a few below one half.
            std::vector<float> g;
            for (int i = 0; i < 67; ++i) {
                const float x = normals(1, static_cast<std::uint64_t>(i))[0];
                const float y = std::ldexp(x, i - 5 - exponent);
                if (std::abs(std::ldexp(static_cast<double>(y), exponent)) < 0x1p62) g.push_back(y);
            }
            const std::vector<std::int64_t> sum = converted(g, exponent);
            for (std::size_t i = 0; i < g.size(); ++i) {
                const double exact = std::ldexp(static_cast<double>(g[i]), exponent);
                ASSERT_EQ(sum[i], static_cast<std::int64_t>(std::nearbyint(exact)))
                    << g[i] << " at " << exponent;
            }
        }
    }
}

/// |g|·2^exponent·packs ≥ 2^62, in integers: |g| = mantissa·2^power.
bool overflows(float g, int exponent, std::uint64_t packs) {
    if (g == 0) return false;
    int power = 0;
    const float fraction = std::frexp(std::abs(g), &power);
    __extension__ using u128 = unsigned __int128;
    const u128 product = static_cast<u128>(static_cast<std::uint64_t>(std::ldexp(fraction, 24))) * packs;
    const int shift = 62 - exponent - (power - 24);
    if (shift <= 0) return true;
    return shift < 127 && product >= (static_cast<u128>(1) << static_cast<unsigned>(shift));
}

TEST(AccumulateExactTest, OverflowIsTheExactComparison) {
    for (const KernelIsa isa : supported_isas()) {
        const IsaScope scope(isa);
        for (const int exponent : {-100, -66, -10, 0, 1, 42, 50, 62}) {
            for (const std::uint64_t packs :
                 {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{7}, std::uint64_t{1000},
                  std::uint64_t{12345677}, std::uint64_t{1} << 53U}) {
                const double border = std::ldexp(0x1p62 / static_cast<double>(packs), -exponent);
                if (border > 3e38) {
                    std::vector<std::int64_t> sum(1);
                    EXPECT_FALSE(accumulate({3.4028235e38F}, exponent, packs, true, sum).overflow);
                    continue;
                }
                // The floats around the border, on both sides and with both signs.
                auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(border)) - 3;
                for (int i = 0; i < 7; ++i, ++bits) {
                    const auto g = std::bit_cast<float>(bits);
                    for (const float signed_g : {g, -g}) {
                        std::vector<std::int64_t> sum(1);
                        const ExactFlags flags = accumulate({signed_g}, exponent, packs, true, sum);
                        EXPECT_EQ(flags.overflow, overflows(g, exponent, packs))
                            << g << " · 2^" << exponent << ", " << packs << " packs";
                        EXPECT_FALSE(flags.non_finite);
                    }
                }
            }
        }
    }
}

TEST(AccumulateExactTest, NonFiniteIsNoOverflow) {
    for (const KernelIsa isa : supported_isas()) {
        const IsaScope scope(isa);
        for (const float bad : {infinity, -infinity, std::nanf(""), -std::nanf("")}) {
            for (const std::size_t position : Sizes{0, 15, 16, 20}) {
                std::vector<float> g(21, 1.0F);
                g[position] = bad;
                std::vector<std::int64_t> sum(21);
                const ExactFlags flags = accumulate(g, 50, 4, true, sum);
                EXPECT_TRUE(flags.non_finite);
                EXPECT_FALSE(flags.overflow);
            }
        }
        std::vector<std::int64_t> sum(2);
        const ExactFlags both = accumulate({infinity, 1e30F}, 50, 1, true, sum);
        EXPECT_TRUE(both.non_finite);
        EXPECT_TRUE(both.overflow);
    }
}

TEST(AccumulateExactTest, DenormalsRoundLikeAllNumbers) {
    for (const KernelIsa isa : supported_isas()) {
        const IsaScope scope(isa);
        EXPECT_EQ(converted({std::numeric_limits<float>::denorm_min(), 1e-40F, -1e-40F}, 50),
                  (std::vector<std::int64_t>{0, 0, 0}));
    }
}

TEST(AccumulateExactTest, AnyOrderGivesTheSameSum) {
    const std::vector<float> a = normals(100, 1);
    const std::vector<float> b = normals(100, 2, 1e-6F);
    const std::vector<float> c = normals(100, 3, 300.0F);
    const auto sum_of = [](const std::vector<float>& x, const std::vector<float>& y,
                           const std::vector<float>& z) {
        std::vector<std::int64_t> sum(100, 5);
        EXPECT_FALSE(accumulate(x, 50, 3, true, sum).overflow);
        EXPECT_FALSE(accumulate(y, 50, 3, false, sum).overflow);
        EXPECT_FALSE(accumulate(z, 50, 3, false, sum).overflow);
        return sum;
    };
    EXPECT_EQ(sum_of(a, b, c), sum_of(c, a, b));
    EXPECT_EQ(sum_of(a, b, c), sum_of(b, c, a));
}

TEST(AccumulateExactTest, SameIntegersForEveryInstructionSetAndThreadCount) {
    for (const std::size_t n : Sizes{0, 1, 15, 17, 20000}) {
        const std::vector<float> g = normals(n, 1, 0.01F);
        std::vector<std::int64_t> expected;
        for (const int threads : {1, 2, 3}) {
            ThreadPool pool(threads);
            for (const KernelIsa isa : supported_isas()) {
                const IsaScope scope(isa);
                std::vector<std::int64_t> sum(n, 7);
                accumulate_exact(pool, g, 50, 2, true, sum);
                accumulate_exact(pool, g, 50, 2, false, sum);
                if (expected.empty()) expected = sum;
                EXPECT_EQ(sum, expected);
            }
        }
    }
}

TEST(ExactToFloatTest, RoundsOnce) {
    ThreadPool pool(1);
    // Through double the third would be rounded twice, and down.
    const std::vector<std::int64_t> sum = {(1 << 24) + 1,
                                           (1 << 24) + 3,
                                           (std::int64_t{1} << 60) + (std::int64_t{1} << 36) + 1,
                                           std::numeric_limits<std::int64_t>::max(),
                                           std::numeric_limits<std::int64_t>::min(),
                                           0,
                                           -1};
    const std::vector<float> expected = {0x1p24F,  16777220.0F, 0x1.000002p60F, 0x1p63F,
                                         -0x1p63F, 0.0F,        -1.0F};
    for (const KernelIsa isa : supported_isas()) {
        const IsaScope scope(isa);
        for (const int exponent : {-60, 0, 50, 62}) {
            std::vector<float> out(sum.size());
            exact_to_float(pool, sum, exponent, out);
            for (std::size_t i = 0; i < sum.size(); ++i) {
                EXPECT_EQ(out[i], std::ldexp(expected[i], -exponent)) << sum[i] << " at " << exponent;
            }
        }
    }
}

TEST(ExactToFloatTest, SameBitsForEveryInstructionSetAndThreadCount) {
    std::vector<std::int64_t> sum(9001);
    for (std::size_t i = 0; i < sum.size(); ++i) {
        const auto spread = static_cast<std::int64_t>(i * 0x9E3779B97F4A7C15ULL);
        sum[i] = spread >> (i % 63);
    }
    expect_same_bits_everywhere([&](ThreadPool& pool) {
        std::vector<float> out(sum.size());
        exact_to_float(pool, sum, 50, out);
        return out;
    });
}

TEST(AddIntegersTest, Wraps) {
    ThreadPool pool(2);
    std::vector<std::int64_t> a = {std::numeric_limits<std::int64_t>::max(), 5};
    add_integers(pool, std::vector<std::int64_t>{1, -7}, a);
    EXPECT_EQ(a, (std::vector<std::int64_t>{std::numeric_limits<std::int64_t>::min(), -2}));
}

}  // namespace
}  // namespace lockstep
