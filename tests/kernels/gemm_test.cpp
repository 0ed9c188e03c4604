#include "kernels/gemm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "kernels/blas_runtime.h"
#include "kernels/gemm/kernels.h"
#include "tests/kernels/gemm_case.h"
#include "tests/support/conforming_blas.h"

namespace lockstep {
namespace {

using Case = GemmCase;

// --- Every backend on every instruction set with one and more threads ---

std::vector<Machine> machines() {
    // `automatic` is the faster of OpenBLAS and our own. The reference knows no instruction sets.
    std::vector<Machine> all{{GemmBackend::reference, KernelIsa::scalar, 1},
                             {GemmBackend::reference, KernelIsa::scalar, 2},
                             {GemmBackend::automatic, kernel_isa(), 3},
                             {GemmBackend::own, kernel_isa(), 5}};
    for (const KernelIsa isa : {KernelIsa::scalar, KernelIsa::avx2, KernelIsa::avx512}) {
        if (!kernel_isa_supported(isa)) continue;
        for (const int threads : {1, 2}) {
            all.push_back({GemmBackend::automatic, isa, threads});
            if (kernel_isa_supported(KernelIsa::avx512)) all.push_back({GemmBackend::openblas, isa, threads});
            if (isa != KernelIsa::scalar) all.push_back({GemmBackend::own, isa, threads});
        }
    }
    return all;
}

class GemmTest : public MachineTest {};

INSTANTIATE_TEST_SUITE_P(Everywhere, GemmTest, ::testing::ValuesIn(machines()), name_of_machine);

TEST_P(GemmTest, EqualsTheScalarChainInEveryForm) {
    const Gemm gemm(pool_, GetParam().backend, {});
    std::uint64_t seed = 0;
    for (const auto& [m, n, k] : product_shapes) {
        for (const Form form : {Form::nt, Form::nn, Form::tn}) {
            for (const Accumulate accumulate : {Accumulate::no, Accumulate::yes}) {
                const Case x({form, m, n, k}, accumulate, ++seed);
                const std::vector<float> found = x.product(gemm);
                EXPECT_TRUE(same_bits(found, x.expected(found))) << text_of(x);
                EXPECT_TRUE(same_bits(found, x.product(gemm, true))) << text_of(x) << " from panels";
            }
        }
    }
}

TEST_P(GemmTest, EqualsTheScalarChainOnRandomShapes) {
    const Gemm gemm(pool_, GetParam().backend, {});
    const Philox random(7, "gemm-test-shapes");
    for (std::uint64_t i = 0; i < 60; ++i) {
        // Each dimension now small, now large; the product stays small enough for many cases.
        const auto dimension = [&](std::uint64_t which) {
            const std::array<std::uint64_t, 4> most{16, 70, 300, 700};
            return std::size_t{1} +
                   random.below(8 * i + which, most[random.below(8 * i + 4 + which, most.size())]);
        };
        const GemmShape shape{static_cast<Form>(i % 3), dimension(0), dimension(1), dimension(2)};
        if (GetParam().isa == KernelIsa::scalar && shape.m * shape.n * shape.k > 10'000'000) continue;
        const Case x(shape, random.below(8 * i + 7, 2) == 0 ? Accumulate::no : Accumulate::yes, 1000 + i);
        const std::vector<float> found = x.product(gemm);
        ASSERT_TRUE(same_bits(found, x.expected(found))) << text_of(x);
        ASSERT_TRUE(same_bits(found, x.product(gemm, true))) << text_of(x) << " from panels";
    }
}

// Rows of a pack are its tokens: what a token computes may not depend on its neighbours.
TEST_P(GemmTest, ARowOrColumnAloneHasTheBitsItHasInTheWhole) {
    const Gemm gemm(pool_, GetParam().backend, {});
    const Case x({Form::nt, 131, 149, 300}, Accumulate::no, 5, true);
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
TEST_P(GemmTest, BlocksOf256AccumulatedAreTheWhole) {
    const Gemm gemm(pool_, GetParam().backend, {});
    const Case x({Form::tn, 70, 130, 600}, Accumulate::no, 6, true);
    std::vector<float> sum(x.m * x.n, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t k = 0; k < x.k; k += 256) {
        const std::size_t end = std::min(x.k, k + 256);
        gemm.multiply_tn(x.a_view().row_range(k, end), x.b_view().row_range(k, end), {sum.data(), x.m, x.n},
                         k == 0 ? Accumulate::no : Accumulate::yes);
    }
    EXPECT_TRUE(same_bits(sum, x.product(gemm)));
}

TEST_P(GemmTest, FusedWorkHasTheBitsOfSeparateWork) {
    const Gemm gemm(pool_, GetParam().backend, {});
    expect_fused_work_has_the_bits_of_separate_work(gemm);
}

TEST_P(GemmTest, WithoutTermsWritesZerosOrAddsNothing) {
    const Gemm gemm(pool_, GetParam().backend, {});
    std::vector<float> c(6, 7.0f);
    gemm.multiply_nt({nullptr, 2, 0}, ConstMatrixView(nullptr, 3, 0), {c.data(), 2, 3}, Accumulate::yes);
    EXPECT_THAT(c, ::testing::Each(7.0f));
    gemm.multiply_tn({nullptr, 0, 2}, {nullptr, 0, 3}, {c.data(), 2, 3}, Accumulate::no);
    EXPECT_THAT(c, ::testing::Each(0.0f));
}

// Denormal results are kept, and a chain that underflows to -0 is added to +0, so no backend leaves a -0.
TEST_P(GemmTest, TinyValuesAreNotFlushedAndNoNegativeZeroIsLeft) {
    const Gemm gemm(pool_, GetParam().backend, {});
    const std::size_t m = 64, n = 128, k = 192;  // Large enough for OpenBLAS.
    std::vector<float> a(m * k, 0x1p-80f), b(n * k, -0x1p-80f), c(m * n, 1.0f);
    gemm.multiply_nt({a.data(), m, k}, ConstMatrixView(b.data(), n, k), {c.data(), m, n}, Accumulate::no);
    EXPECT_TRUE(same_bits(c, std::vector<float>(m * n, 0.0f)));
    a.assign(m * k, 0x1p-70f);
    b.assign(n * k, 0x1p-70f);
    gemm.multiply_nt({a.data(), m, k}, ConstMatrixView(b.data(), n, k), {c.data(), m, n}, Accumulate::no);
    EXPECT_TRUE(same_bits(c, std::vector<float>(m * n, 192 * 0x1p-140f)));
}

TEST_P(GemmTest, DescribesItself) {
    const std::vector<GemmShape> model{
        {Form::nt, 4096, 768, 768}, {Form::tn, 768, 768, 4096}, {Form::nn, 0, 1, 1}};
    const Gemm gemm(pool_, GetParam().backend, model);
    EXPECT_NE(gemm.backend(), GemmBackend::automatic);
    EXPECT_THAT(gemm.describe(), ::testing::HasSubstr("self-test passed on 10 shapes"));
    EXPECT_EQ(&gemm.pool(), &pool_);
}

// --- Our own kernel ---

TEST(OwnGemmTest, EqualsTheScalarChainOnTenThousandRandomShapes) {
    const KernelIsa before = kernel_isa();
    for (const KernelIsa isa : {KernelIsa::avx2, KernelIsa::avx512}) {
        if (!kernel_isa_supported(isa)) continue;
        set_kernel_isa(isa);
        ThreadPool pool(1);
        const Gemm gemm(pool, GemmBackend::own, {});
        const Philox random(9, "gemm-test-own");
        for (std::uint64_t i = 0; i < 10'000; ++i) {
            const auto dimension = [&](std::uint64_t which) {
                const std::array<std::uint64_t, 4> most{8, 40, 100, 280};
                return std::size_t{1} +
                       random.below(8 * i + which, most[random.below(8 * i + 4 + which, most.size())]);
            };
            const GemmShape shape{static_cast<Form>(i % 3), dimension(0), dimension(1), dimension(2)};
            const Case x(shape, i % 2 == 0 ? Accumulate::no : Accumulate::yes, 5000 + i);
            const std::vector<float> found = x.product(gemm, i % 5 < 3);
            ASSERT_TRUE(same_bits(found, x.expected(found, 1U << 13U)))
                << text_of(x) << " on " << gemm.describe();
        }
    }
    set_kernel_isa(before);
}

// --- OpenBLAS and its recipe ---

// Every shape here lies on an edge of the recipe (K <= 256 a call, M*N*K > 2^20 a call), or is split
// unevenly. On a CPU with AVX-512 it fails when the recipe is loosened: OpenBLAS called with K = 640 or 768
// at once blocks K elsewhere, and below 2^20 its small-matrix kernel sums in another order. (That M must be a
// multiple of 32 and at least 64 was seen to matter in other builds of OpenBLAS, not in 0.3.21; it is kept,
// and no shape can show it here.)
TEST(GemmRecipeTest, EdgesOfTheRecipeEqualTheScalarChain) {
    constexpr std::array<GemmShape, 22> edges{{
        {Form::nn, 64, 114, 52},   {Form::nn, 64, 145, 71},   {Form::nn, 128, 55, 47},
        {Form::nn, 64, 4, 184},    {Form::nt, 64, 17, 253},   {Form::nt, 160, 6, 144},
        {Form::nn, 64, 52, 213},   {Form::nt, 128, 33, 84},   {Form::nt, 64, 18, 164},
        {Form::nn, 64, 135, 56},   {Form::nn, 64, 135, 312},  {Form::nt, 64, 18, 420},
        {Form::nt, 128, 128, 640}, {Form::nt, 128, 192, 700}, {Form::nn, 96, 256, 768},
        {Form::tn, 256, 96, 1000}, {Form::tn, 768, 64, 333},  {Form::nt, 95, 300, 333},
        {Form::nn, 65, 129, 256},  {Form::nn, 64, 64, 256},   {Form::nn, 64, 65, 256},
        {Form::tn, 127, 511, 641},
    }};
    ThreadPool pool(1);
    if (!kernel_isa_supported(KernelIsa::avx512)) {
        // With OpenBLAS' other kernels the recipe does not give the chain: it must be refused.
        EXPECT_THROW(Gemm(pool, GemmBackend::openblas, edges), Error);
        return;
    }
    const Gemm gemm(pool, GemmBackend::openblas, edges);
    std::uint64_t seed = 90;
    for (const GemmShape& shape : edges) {
        for (const Accumulate accumulate : {Accumulate::no, Accumulate::yes}) {
            const Case x(shape, accumulate, ++seed);
            const std::vector<float> found = x.product_by(multiply_by_recipe);
            EXPECT_TRUE(same_bits(found, x.expected(found))) << text_of(x) << " on " << gemm.describe();
        }
    }
    const Philox random(8, "gemm-test-recipe");
    for (std::uint64_t i = 0; i < 100; ++i) {
        const auto upto = [&](std::uint64_t which, std::uint64_t most) {
            return std::size_t{1} + random.below(4 * i + which, most);
        };
        const GemmShape shape{static_cast<Form>(i % 3), 63 + upto(0, 200), upto(1, 300), 100 + upto(2, 500)};
        const Case x(shape, i % 2 == 0 ? Accumulate::no : Accumulate::yes, 2000 + i);
        const std::vector<float> found = x.product_by(multiply_by_recipe);
        ASSERT_TRUE(same_bits(found, x.expected(found))) << text_of(x) << " on " << gemm.describe();
    }
}

// Large enough that Gemm itself gives each thread's part to OpenBLAS.
TEST(GemmRecipeTest, LargeProductsEqualTheScalarChainOnOneAndTwoThreads) {
    const Case x({Form::nt, 1001, 1030, 600}, Accumulate::no, 77);
    std::vector<float> first;
    for (const int threads : {1, 2}) {
        ThreadPool pool(threads);
        const Gemm gemm(
            pool, kernel_isa_supported(KernelIsa::avx512) ? GemmBackend::openblas : GemmBackend::own, {});
        const std::vector<float> found = x.product(gemm);
        EXPECT_TRUE(same_bits(found, x.expected(found))) << gemm.describe();
        if (threads == 1) first = found;
        EXPECT_TRUE(same_bits(found, first));
    }
}

TEST(GemmRecipeTest, NamesAreReadBack) {
    for (const GemmBackend backend :
         {GemmBackend::automatic, GemmBackend::openblas, GemmBackend::own, GemmBackend::reference}) {
        EXPECT_EQ(parse_gemm_backend(name_of(backend)), backend);
    }
    try {
        parse_gemm_backend("mkl");
        FAIL() << "accepted mkl";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_THAT(error.what(), ::testing::HasSubstr("openblas"));
    }
}

}  // namespace
}  // namespace lockstep

int main(int argc, char** argv) {
    lockstep::ensure_conforming_blas(argv);
    ::testing::InitGoogleMock(&argc, argv);
    return RUN_ALL_TESTS();
}
