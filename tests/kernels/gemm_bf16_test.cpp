// The contract bf16: the instruction and its model, and the product made of it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xmmintrin.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "kernels/blas_runtime.h"
#include "kernels/gemm.h"
#include "kernels/gemm/kernels.h"
#include "kernels/reference/gemm_bf16.h"
#include "tests/kernels/gemm_case.h"

namespace lockstep {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

std::uint32_t bits_of(float x) {
    return std::bit_cast<std::uint32_t>(x);
}

// The payload of "not a number" is outside the contract.
bool equal(float x, float y) {
    return bits_of(x) == bits_of(y) || (std::isnan(x) && std::isnan(y));
}

// --- Rounding ---

TEST(Bf16Test, RoundsToNearestEvenAndDenormalsToZero) {
    const auto rounded = [](float x) { return reference::from_bf16(reference::to_bf16(x)); };
    EXPECT_EQ(rounded(1.0F), 1.0F);
    EXPECT_EQ(rounded(1.0F + 0x1p-8F), 1.0F);                // A tie: to even, down,
    EXPECT_EQ(rounded(1.0F + 3 * 0x1p-8F), 1.0F + 0x1p-6F);  // and up.
    EXPECT_EQ(rounded(1.0F + 0x1p-8F + 0x1p-23F), 1.0F + 0x1p-7F);
    EXPECT_EQ(rounded(std::numeric_limits<float>::max()), infinity);
    EXPECT_EQ(rounded(-infinity), -infinity);
    EXPECT_TRUE(std::isnan(rounded(not_a_number)));
    EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7f800001U)))) << "its payload lies in the low half";
    EXPECT_EQ(rounded(0x1p-126F), 0x1p-126F);
    EXPECT_EQ(bits_of(rounded(std::bit_cast<float>(0x007fffffU))), 0U) << "not up to the least normal";
    EXPECT_EQ(bits_of(rounded(-0x1p-149F)), 0x80000000U);
    const Philox random(1, "bf16-test-rounding");
    for (std::uint64_t i = 0; i < 1'000'000; ++i) {
        const float x = std::bit_cast<float>(static_cast<std::uint32_t>(random.word64(i)));
        if (!std::isnormal(x) || std::fabs(x) > 0x1p127F) continue;
        ASSERT_EQ(rounded(x), rounded_to_bf16(x)) << x;
    }
}

// One term is the rounded operand itself: each kernel's packing against the scalar rounding, in every place
// an operand can have.
TEST(Bf16Test, EveryKernelRoundsAlike) {
    const Philox random(2, "bf16-test-packing");
    std::vector<float> values{0.0F,         -0.0F,     0x1p-126F, -0x1p-126F, infinity,   -infinity,
                              not_a_number, 0x1p-149F, 0x1p-127F, 1.0F,       1.00390625F};
    for (const std::uint32_t bits :
         {0x7fffffU, 0x807fffffU, 0x7f7fffffU, 0xff7f8000U, 0x7f800001U, 0xffffffffU, 0x00808000U,
          0x3f808000U, 0x3f818000U, 0x3f807fffU, 0x3f808001U}) {
        values.push_back(std::bit_cast<float>(bits));
    }
    for (std::uint64_t i = 0; values.size() < 40'000; ++i) {
        values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random.word64(i))));
    }
    // As lines of k = 1, side by side or with their k side by side, on either side of the product.
    constexpr std::size_t apart = 3;
    std::vector<float> spread(apart * values.size());
    for (std::size_t i = 0; i < values.size(); ++i) spread[apart * i] = values[i];
    const float one = 1.0F;
    for (const Bf16Kernel& kernel : bf16_kernels()) {
        for (const GemmOperand& lines :
             {GemmOperand{values.data(), 1, values.size()}, GemmOperand{spread.data(), apart, 1}}) {
            std::vector<float> left(values.size()), right(values.size());
            kernel.multiply({values.size(), 1, 1, lines, {&one, 1, 1}, left.data(), 1, false});
            kernel.multiply({1, values.size(), 1, {&one, 1, 1}, lines, right.data(), values.size(), false});
            for (std::size_t i = 0; i < values.size(); ++i) {
                const float expected = reference::from_bf16(reference::to_bf16(values[i])) + 0.0F;
                ASSERT_TRUE(equal(left[i], expected))
                    << kernel.name << ": " << values[i] << " is " << left[i];
                ASSERT_TRUE(equal(right[i], expected))
                    << kernel.name << ": " << values[i] << " is " << right[i];
            }
        }
    }
}

// --- The instruction ---

// Operands of one lane: everything a pattern of bits can be, ordinary numbers, sums that cancel, and sums and
// products around the least normal number.
struct Lane {
    std::uint32_t a, b;
    float sum;
};

Lane lane_of(std::uint64_t r, std::uint64_t q, std::uint64_t w) {
    const auto word = [](std::uint64_t x, unsigned shift) { return static_cast<std::uint32_t>(x >> shift); };
    const auto bf16 = [](std::uint32_t bits, std::uint32_t exponent) {
        return (bits & 0x807fU) | exponent << 7U;
    };
    const auto pair = [](std::uint32_t high, std::uint32_t low) { return high << 16U | low; };
    const auto value = [](std::uint32_t half) {
        return reference::from_bf16(static_cast<std::uint16_t>(half));
    };
    Lane lane{word(r, 0), word(r, 32), std::bit_cast<float>(word(q, 0))};
    const std::uint32_t kind = word(q, 32) % 8;
    if (kind == 0) return lane;
    // Exponents: ordinary; products near 2^−126; products near 2^−126 beside others below 2^−150.
    std::array<std::uint32_t, 4> exponents{};  // a high, b high, a low, b low
    for (std::size_t i = 0; i < 4; ++i) {
        const std::uint32_t e = word(w, static_cast<unsigned>(8 * i)) & 0xffU;
        exponents[i] = kind < 4 ? 118 + e % 20 : kind < 6 ? 62 + e % 5 : i < 2 ? 63 + e % 3 : 48 + e % 10;
    }
    const std::array<std::uint32_t, 4> halves{
        bf16(word(r, 0) & 0xffffU, exponents[0]), bf16(word(r, 16) & 0xffffU, exponents[1]),
        bf16(word(r, 32) & 0xffffU, exponents[2]), bf16(word(r, 48), exponents[3])};
    lane.a = pair(halves[0], halves[2] & 0xffffU);
    lane.b = pair(halves[1], halves[3] & 0xffffU);
    const std::uint32_t low_bits = word(q, 0);
    if (kind == 7) {
        // The least normal number, less a product that 24 bits see and a denormal number does not.
        lane.a = pair(0, bf16(word(r, 32), 51) & 0xffffU);
        lane.b = pair(0, bf16(word(r, 48), 51 + low_bits % 2) & 0xffffU);
        lane.sum = std::bit_cast<float>((low_bits & 0x80000000U) + 0x00800000U);
        return lane;
    }
    switch (word(w, 32) % 4) {
        case 0:  // The first product, or nearly, with the other sign.
        case 1:
            lane.sum = -(value(halves[0]) * value(halves[1]));
            if (word(w, 40) % 2 == 0) lane.sum = std::bit_cast<float>(bits_of(lane.sum) ^ (low_bits & 7U));
            break;
        case 2:  // On and about the least normal number.
            lane.sum = std::bit_cast<float>((low_bits & 0x80000007U) + 0x007ffffcU);
            break;
        default:
            lane.sum = std::bit_cast<float>((low_bits & 0x807fffffU) |
                                            (kind < 4 ? 110 + word(w, 48) % 30 : word(w, 48) % 8) << 23U);
    }
    return lane;
}

TEST(Bf16Test, TheModelIsTheInstructionOnTwelveMillionLanes) {
    const Philox random(3, "bf16-test-lanes");
    const bool has_instruction = cpu_has_bf16_dot();
    std::size_t flushed = 0, rounded_up_and_flushed = 0, nans = 0;
    std::array<std::uint32_t, 16> a{}, b{};
    std::array<float, 16> sums{}, found{};
    for (std::uint64_t i = 0; i < 12'000'000 / 16; ++i) {
        for (std::size_t lane = 0; lane < 16; ++lane) {
            const std::uint64_t at = 3 * (16 * i + lane);
            const Lane x = lane_of(random.word64(at), random.word64(at + 1), random.word64(at + 2));
            a[lane] = x.a;
            b[lane] = x.b;
            sums[lane] = x.sum;
        }
        if (has_instruction) dot_pairs_by_instruction(sums.data(), a.data(), b.data(), found.data());
        for (std::size_t lane = 0; lane < 16; ++lane) {
            const float expected = reference::dot_pair(sums[lane], a[lane], b[lane]);
            if (has_instruction) {
                ASSERT_TRUE(equal(expected, found[lane]))
                    << std::hexfloat << sums[lane] << std::hex << " + pairs " << a[lane] << " and " << b[lane]
                    << std::hexfloat << ": model " << expected << ", instruction " << found[lane];
            }
            if (std::isnan(expected)) ++nans;
            const auto half = [](std::uint32_t x) {
                return reference::from_bf16(static_cast<std::uint16_t>(x));
            };
            const float first = std::fma(half(a[lane] >> 16U), half(b[lane] >> 16U), sums[lane]);
            const float plain = std::fma(half(a[lane]), half(b[lane]), first);
            if (expected == 0 && plain != 0) ++flushed;
            if (expected == 0 && std::fabs(plain) == 0x1p-126F) ++rounded_up_and_flushed;
        }
    }
    // The cases that matter have come.
    EXPECT_GT(flushed, 100'000U);
    EXPECT_GT(rounded_up_and_flushed, 10'000U);
    EXPECT_GT(nans, 1'000U);
}

TEST(Bf16Test, TheModelOfTheTileIsTheInstruction) {
    if (!cpu_has_bf16_tiles()) return;  // The model then stands on flushing_fma, tested above and below.
    const Philox random(5, "bf16-test-tiles");
    constexpr std::size_t edge = 16, size = edge * edge;
    std::array<std::uint32_t, size> a{}, b{};
    std::array<float, size> sums{}, found{};
    for (std::uint64_t i = 0; i < 5'000; ++i) {
        for (std::size_t e = 0; e < size; ++e) {
            const std::uint64_t at = 3 * (size * i + e);
            // One kind of lane for the whole of most tiles, so that their sums keep its character.
            const std::uint64_t kind =
                i % 3 == 0 ? random.word64(at + 1) : (i % 8) << 32U | (random.word64(at + 1) & 0xffffffffU);
            const Lane x = lane_of(random.word64(at), kind, random.word64(at + 2));
            a[e] = i % 2 == 0 ? x.a : x.a & 0xffff0000U;
            b[e] = i % 2 == 0 ? x.b : x.b & 0xffff0000U;
            sums[e] = x.sum;
        }
        dot_tiles_by_instruction(sums.data(), a.data(), b.data(), found.data());
        for (std::size_t row = 0; row < edge; ++row) {
            for (std::size_t column = 0; column < edge; ++column) {
                const std::size_t e = row * edge + column;
                const float expected =
                    reference::tile_dot(sums[e], a.data() + row * edge, 1, b.data() + column, edge, edge);
                ASSERT_TRUE(equal(expected, found[e])) << std::hexfloat << "tile " << i << ": model "
                                                       << expected << ", instruction " << found[e];
            }
        }
    }
}

// The same, where there is no such instruction: plain fma in the processor's own flushing mode.
TEST(Bf16Test, TheModelIsAFusedMultiplyAddThatFlushes) {
    const Philox random(4, "bf16-test-lanes");
    const unsigned mode = _mm_getcsr();
    for (std::uint64_t i = 0; i < 2'000'000; ++i) {
        const Lane x = lane_of(random.word64(3 * i), random.word64(3 * i + 1), random.word64(3 * i + 2));
        const auto half = [](std::uint32_t pair) {
            return reference::from_bf16(static_cast<std::uint16_t>(pair));
        };
        const volatile float first_a = half(x.a >> 16U), first_b = half(x.b >> 16U);
        const volatile float second_a = half(x.a), second_b = half(x.b), sum = x.sum;
        _mm_setcsr(mode | 0x8040U);
        const volatile float first = std::fma(first_a, first_b, sum);
        const volatile float found = std::fma(second_a, second_b, first);
        _mm_setcsr(mode);
        const float expected = reference::dot_pair(x.sum, x.a, x.b);
        const float result = found;
        ASSERT_TRUE(equal(expected, result))
            << std::hexfloat << x.sum << std::hex << " + pairs " << x.a << " and " << x.b << std::hexfloat
            << ": model " << expected << ", fma " << result;
    }
}

// --- The product ---

GemmCase bf16_case(const GemmShape& shape, Accumulate accumulate, std::uint64_t seed, bool tight = false) {
    GemmCase x(shape, accumulate, seed, tight);
    x.numerics = GemmNumerics::bf16;
    return x;
}

std::vector<Machine> machines() {
    std::vector<Machine> all{{GemmBackend::reference, KernelIsa::scalar, 1},
                             {GemmBackend::reference, kernel_isa(), 2},
                             {GemmBackend::automatic, kernel_isa(), 3},
                             {GemmBackend::own, kernel_isa(), 5}};
    for (const KernelIsa isa : {KernelIsa::scalar, KernelIsa::avx2, KernelIsa::avx512}) {
        if (!kernel_isa_supported(isa)) continue;
        for (const int threads : {1, 2}) all.push_back({GemmBackend::own, isa, threads});
    }
    return all;
}

class GemmBf16Test : public MachineTest {};

INSTANTIATE_TEST_SUITE_P(Everywhere, GemmBf16Test, ::testing::ValuesIn(machines()), name_of_machine);

TEST_P(GemmBf16Test, EqualsTheScalarChainInEveryForm) {
    const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
    std::uint64_t seed = 0;
    for (const auto& [m, n, k] : product_shapes) {
        for (const Form form : {Form::nt, Form::nn, Form::tn}) {
            for (const Accumulate accumulate : {Accumulate::no, Accumulate::yes}) {
                const GemmCase x = bf16_case({form, m, n, k}, accumulate, ++seed);
                const std::vector<float> found = x.product(gemm);
                EXPECT_TRUE(same_bits(found, x.expected(found))) << text_of(x);
                EXPECT_TRUE(same_bits(found, x.product(gemm, true))) << text_of(x) << " from panels";
            }
        }
    }
}

// More of k and of B than one chunk holds.
TEST_P(GemmBf16Test, EqualsTheScalarChainOnLargeShapes) {
    if (GetParam().isa == KernelIsa::scalar) {
        // The slow model: one shape beyond a chunk of k.
        const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
        const GemmCase x = bf16_case({Form::nt, 20, 30, 2600}, Accumulate::yes, 8);
        const std::vector<float> found = x.product(gemm);
        EXPECT_TRUE(same_bits(found, x.expected(found)));
        return;
    }
    const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
    std::uint64_t seed = 50;
    for (const GemmShape& shape : {GemmShape{Form::nt, 200, 1100, 2309}, GemmShape{Form::nn, 211, 2071, 515},
                                   GemmShape{Form::tn, 390, 1050, 2049}}) {
        const GemmCase x = bf16_case(shape, Accumulate::yes, ++seed);
        const std::vector<float> found = x.product(gemm);
        EXPECT_TRUE(same_bits(found, x.expected(found))) << text_of(x);
        EXPECT_TRUE(same_bits(found, x.product(gemm, true))) << text_of(x) << " from panels";
    }
}

// Rows of a pack are its tokens: what a token computes may not depend on its neighbours.
TEST_P(GemmBf16Test, ARowOrColumnAloneHasTheBitsItHasInTheWhole) {
    const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
    const GemmCase x = bf16_case({Form::nt, 131, 149, 300}, Accumulate::no, 5, true);
    const std::vector<float> whole = x.product(gemm);
    for (const std::size_t rows : {1U, 2U, 31U, 64U, 100U}) {
        const std::size_t begin = 131 - rows;
        std::vector<float> part(rows * x.n);
        gemm.multiply_nt(x.a_view().row_range(begin, 131), x.b_view(), {part.data(), rows, x.n},
                         Accumulate::no);
        EXPECT_EQ(std::memcmp(part.data(), whole.data() + begin * x.n, part.size() * sizeof(float)), 0)
            << rows;
    }
    for (const std::size_t column : {0U, 31U, 148U}) {
        std::vector<float> part(x.m);
        gemm.multiply_nt(x.a_view(), x.b_view().row_range(column, column + 1), {part.data(), x.m, 1},
                         Accumulate::no);
        for (std::size_t i = 0; i < x.m; ++i) EXPECT_EQ(part[i], whole[i * x.n + column]);
    }
}

// A weight gradient in slices of 256 tokens, accumulated, is the whole: the head works in such tiles.
TEST_P(GemmBf16Test, BlocksOf256AccumulatedAreTheWhole) {
    const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
    const GemmCase x = bf16_case({Form::tn, 70, 130, 601}, Accumulate::no, 6, true);
    std::vector<float> sum(x.m * x.n, not_a_number);
    for (std::size_t k = 0; k < x.k; k += 256) {
        const std::size_t end = std::min(x.k, k + 256);
        gemm.multiply_tn(x.a_view().row_range(k, end), x.b_view().row_range(k, end), {sum.data(), x.m, x.n},
                         k == 0 ? Accumulate::no : Accumulate::yes);
    }
    EXPECT_TRUE(same_bits(sum, x.product(gemm)));
}

// Chains flush, but C is added to in plain arithmetic: a denormal C stays. And the thread's mode is as
// before.
TEST_P(GemmBf16Test, FlushesInsideTheChainAlone) {
    const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
    const std::size_t m = 64, n = 128, k = 193;
    const unsigned mode = _mm_getcsr();
    std::vector<float> a(m * k, 0x1p-70F), b(n * k, 0x1p-70F), c(m * n, 0x1p-140F);
    gemm.multiply_nt({a.data(), m, k}, ConstMatrixView(b.data(), n, k), {c.data(), m, n}, Accumulate::yes);
    EXPECT_TRUE(same_bits(c, std::vector<float>(m * n, 0x1p-140F)));
    gemm.multiply_nt({a.data(), m, k}, ConstMatrixView(b.data(), n, k), {c.data(), m, n}, Accumulate::no);
    EXPECT_TRUE(same_bits(c, std::vector<float>(m * n, 0.0F)));
    // A chain of −0 from products that were flushed counts as +0.
    a.assign(m * k, -0x1p-70F);
    c.assign(m * n, -0.0F);
    gemm.multiply_nt({a.data(), m, k}, ConstMatrixView(b.data(), n, k), {c.data(), m, n}, Accumulate::yes);
    EXPECT_TRUE(same_bits(c, std::vector<float>(m * n, 0.0F)));
    EXPECT_EQ(_mm_getcsr() & 0xe040U, mode & 0xe040U);
}

TEST_P(GemmBf16Test, FusedWorkHasTheBitsOfSeparateWork) {
    const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
    expect_fused_work_has_the_bits_of_separate_work(gemm);
}

TEST_P(GemmBf16Test, WithoutTermsWritesZerosOrAddsNothing) {
    const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
    std::vector<float> c(6, 7.0f);
    gemm.multiply_nt({nullptr, 2, 0}, ConstMatrixView(nullptr, 3, 0), {c.data(), 2, 3}, Accumulate::yes);
    EXPECT_THAT(c, ::testing::Each(7.0f));
    gemm.multiply_tn({nullptr, 0, 2}, {nullptr, 0, 3}, {c.data(), 2, 3}, Accumulate::no);
    EXPECT_THAT(c, ::testing::Each(0.0f));
}

TEST_P(GemmBf16Test, DescribesItself) {
    const Gemm gemm(pool_, GetParam().backend, {}, GemmNumerics::bf16);
    EXPECT_EQ(gemm.numerics(), GemmNumerics::bf16);
    EXPECT_EQ(gemm.backend(),
              GetParam().backend == GemmBackend::reference ? GemmBackend::reference : GemmBackend::own);
    EXPECT_THAT(gemm.describe(), ::testing::HasSubstr("bf16"));
    const bool emulated = GetParam().backend != GemmBackend::reference &&
                          (GetParam().isa != KernelIsa::avx512 || !cpu_has_bf16_dot());
    EXPECT_EQ(gemm.describe().find("slower") != std::string::npos, emulated) << gemm.describe();
}

// Every kernel this CPU can run, the emulations too, against the chain written in the test.
TEST(Bf16KernelTest, EqualsTheScalarChainOnThreeThousandRandomShapes) {
    for (const Bf16Kernel& kernel : bf16_kernels()) {
        const bool scalar = kernel.pack == nullptr;
        const Philox random(9, "gemm-test-bf16");
        for (std::uint64_t i = 0; i < (scalar ? 300U : 3'000U); ++i) {
            const auto dimension = [&](std::uint64_t which) {
                const std::array<std::uint64_t, 4> most{8, 40, 100, 280};
                return std::size_t{1} +
                       random.below(8 * i + which, most[random.below(8 * i + 4 + which, most.size())]);
            };
            const GemmShape shape{static_cast<Form>(i % 3), dimension(0), dimension(1), dimension(2)};
            const GemmCase x = bf16_case(shape, i % 2 == 0 ? Accumulate::no : Accumulate::yes, 5000 + i);
            const std::vector<float> found = x.product_by(kernel, i % 5 < 3);
            ASSERT_TRUE(same_bits(found, x.expected(found, 1U << 12U))) << text_of(x) << ", " << kernel.name;
        }
    }
}

// Infinities, NaN, denormal operands, overflow and cancellation near the least normal number.
TEST(Bf16KernelTest, StrangeValuesGiveWhatTheScalarModelGives) {
    const Philox random(11, "gemm-test-bf16-strange");
    for (std::uint64_t i = 0; i < 120; ++i) {
        const GemmShape shape{static_cast<Form>(i % 3), 1 + random.below(4 * i, 40),
                              1 + random.below(4 * i + 1, 80), 1 + random.below(4 * i + 2, 300)};
        GemmCase x = bf16_case(shape, i % 2 == 0 ? Accumulate::no : Accumulate::yes, 700 + i);
        const float scale = i % 4 == 0 ? 0x1p-63F : i % 4 == 1 ? 0x1p-61F : i % 4 == 2 ? 0x1p62F : 1.0F;
        for (std::vector<float>* operand : {&x.a, &x.b, &x.c}) {
            const Philox strange(100 * i + static_cast<std::uint64_t>(operand - &x.a), "strange");
            for (std::size_t e = 0; e < operand->size(); ++e) {
                float& value = (*operand)[e];
                value *= scale;
                const std::uint64_t which = strange.below(e, 2000);
                if (i % 8 < 4 || which > 4) continue;
                value = std::array{infinity, -infinity, not_a_number, 0x1p-130F, 0x1.fp127F}[which];
            }
        }
        const std::vector<float> expected = x.product_by(reference::multiply_bf16);
        for (const Bf16Kernel& kernel : bf16_kernels()) {
            const std::vector<float> found = x.product_by(kernel, i % 5 < 3);
            for (std::size_t e = 0; e < expected.size(); ++e) {
                ASSERT_TRUE(equal(expected[e], found[e]))
                    << text_of(x) << ", " << kernel.name << ": " << expected[e] << " and " << found[e];
            }
        }
    }
}

TEST(Bf16KernelTest, EveryKernelOfAWiderCpuIsThere) {
    const std::size_t expected = cpu_has_bf16_tiles()                      ? 5U
                                 : cpu_has_bf16_dot()                      ? 4U
                                 : kernel_isa_supported(KernelIsa::avx512) ? 3U
                                 : kernel_isa_supported(KernelIsa::avx2)   ? 2U
                                                                           : 1U;
    EXPECT_EQ(bf16_kernels().size(), expected);
}

TEST(Bf16KernelTest, OpenblasIsRefused) {
    ThreadPool pool(1);
    try {
        const Gemm gemm(pool, GemmBackend::openblas, {}, GemmNumerics::bf16);
        FAIL() << "accepted openblas";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_THAT(error.what(), ::testing::HasSubstr("openblas"));
        EXPECT_THAT(error.what(), ::testing::HasSubstr("bf16"));
    }
}

TEST(Bf16KernelTest, NamesAreReadBack) {
    for (const GemmNumerics numerics : {GemmNumerics::fma256, GemmNumerics::bf16}) {
        EXPECT_EQ(parse_gemm_numerics(name_of(numerics)), numerics);
    }
    EXPECT_THROW(parse_gemm_numerics("fp16"), Error);
}

}  // namespace
}  // namespace lockstep
