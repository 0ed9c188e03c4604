// tests/kernels/gemm_case.h
//
// One matrix product with all around it, and what the contracts say of it, written
// a second time and independent of kernels/reference.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/base/philox.h"
#include "kernels/blas_runtime.h"
#include "kernels/gemm.h"
#include "kernels/gemm/kernels.h"

namespace lockstep {

using Form = GemmShape::Form;

/// Room for panels, null for none: every other time at a cache line, as a step has them, where they are
/// written past the caches; else between two.
inline float* room_for(std::size_t floats, std::vector<float>& space) {
    static bool is_at_line = false;
    if (floats == 0) return nullptr;
    is_at_line = !is_at_line;
    constexpr std::size_t line = 16;
    space.resize(floats + 2 * line);
    const std::size_t past = reinterpret_cast<std::uintptr_t>(space.data()) / sizeof(float) % line;
    return space.data() + (line - past) + (is_at_line ? 0 : 1);
}

inline float element_of_fma256(const float* a, std::size_t a_step, const float* b, std::size_t b_step,
                               std::size_t k, float c) {
    for (std::size_t begin = 0; begin < k; begin += 256) {
        float chain = 0.0f;
        for (std::size_t i = begin; i < std::min(k, begin + 256); ++i) {
            chain = std::fma(a[i * a_step], b[i * b_step], chain);
        }
        c = c + chain;
    }
    return c;
}

// For normal numbers: eight bits of significand, ties to even.
inline float rounded_to_bf16(float x) {
    int exponent = 0;
    const float fraction = std::frexp(x, &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

// Where no sum comes near the least normal number.
inline float element_of_bf16(const float* a, std::size_t a_step, const float* b, std::size_t b_step,
                             std::size_t k, float c) {
    for (std::size_t block = 0; block < k; block += 256) {
        float sum = 0;
        const auto chain = [&](std::size_t begin) {
            float x = 0;
            for (std::size_t i = begin; i < std::min({k, block + 256, begin + 16}); ++i) {
                x = std::fma(rounded_to_bf16(a[i * a_step]), rounded_to_bf16(b[i * b_step]), x);
            }
            return x;
        };
        for (std::size_t begin = block; begin < std::min(k, block + 256); begin += 32) {
            sum = sum + (chain(begin) + chain(begin + 16));
        }
        c = c + sum;
    }
    return c;
}

// One product with its operands in buffers of odd strides and offsets, and a margin that must stay as it is.
struct GemmCase {
    Form form;
    std::size_t m, n, k;
    Accumulate accumulate;
    std::size_t a_margin, b_margin, c_margin, offset;
    std::vector<float> a, b, c;
    GemmNumerics numerics = GemmNumerics::fma256;  ///< Of expected().

    GemmCase(const GemmShape& shape, Accumulate acc, std::uint64_t seed, bool tight = false)
        : form(shape.form), m(shape.m), n(shape.n), k(shape.k), accumulate(acc) {
        const Philox random(seed, "gemm-test");
        a_margin = tight ? 0 : random.below(0, 6);
        b_margin = tight ? 0 : random.below(1, 6);
        c_margin = tight ? 0 : random.below(2, 6);
        offset = tight ? 0 : random.below(3, 16);
        a = values(Philox(seed, "gemm-test-a"), offset + a_rows() * a_stride());
        b = values(Philox(seed, "gemm-test-b"), offset + b_rows() * b_stride());
        c = values(Philox(seed, "gemm-test-c"), offset + m * c_stride());
    }

    std::size_t a_rows() const { return form == Form::tn ? k : m; }
    std::size_t b_rows() const { return form == Form::nt ? n : k; }
    std::size_t a_cols() const { return form == Form::tn ? m : k; }
    std::size_t b_cols() const { return form == Form::nt ? k : n; }
    std::size_t a_stride() const { return a_cols() + a_margin; }
    std::size_t b_stride() const { return b_cols() + b_margin; }
    std::size_t c_stride() const { return n + c_margin; }
    ConstMatrixView a_view() const { return {a.data() + offset, a_rows(), a_cols(), a_stride()}; }
    ConstMatrixView b_view() const { return {b.data() + offset, b_rows(), b_cols(), b_stride()}; }

    static std::vector<float> values(const Philox& random, std::size_t count) {
        std::vector<float> out(count);
        for (std::size_t i = 0; i < count; ++i) {
            const auto bits = static_cast<std::int64_t>(random.word64(i) >> 40U);
            out[i] = static_cast<float>(bits - (1 << 23)) * 0x1p-23f;
        }
        return out;
    }

    /// With `panels`, B is laid out first, where the backend has a layout and the form one.
    /// @param start, finish  fused with the product, by every form but tn.
    std::vector<float> product(const Gemm& gemm, bool panels = false, ConstMatrixView start = {},
                               const std::function<void(MatrixView part)>& finish = {}) const {
        std::vector<float> out = c;
        const MatrixView view(out.data() + offset, m, n, c_stride());
        const auto finish_range = [&](const MatrixRange& range) { finish(view.part(range)); };
        GemmFusion fusion{start, {}};
        if (finish) fusion.finish = finish_range;
        switch (form) {
            case Form::nt: {
                std::vector<float> space;
                float* const laid_out = room_for(panels ? gemm.nt_panel_floats(n, k) : 0, space);
                if (laid_out != nullptr) gemm.pack(b_view(), laid_out, nullptr);
                gemm.multiply_nt(a_view(), {b_view(), laid_out}, view, accumulate, fusion);
                break;
            }
            case Form::nn: {
                std::vector<float> space;
                float* const laid_out = room_for(panels ? gemm.nn_panel_floats(k, n) : 0, space);
                if (laid_out != nullptr) gemm.pack(b_view(), nullptr, laid_out);
                gemm.multiply_nn(a_view(), {b_view(), nullptr, laid_out}, view, accumulate, fusion);
                break;
            }
            case Form::tn:
                gemm.multiply_tn(a_view(), b_view(), view, accumulate);
                break;
        }
        return out;
    }

    std::vector<float> product_by(void (*multiply)(const GemmProblem&)) const {
        std::vector<float> out = c;
        multiply(problem(out));
        return out;
    }
    /// By a kernel alone. With `panels`, B is laid out first, if the kernel reads panels.
    std::vector<float> product_by(const Bf16Kernel& kernel, bool panels) const {
        std::vector<float> out = c;
        GemmProblem x = problem(out);
        const std::size_t lines = (n + panel_lines - 1) / panel_lines * panel_lines;
        std::vector<float> room(panels && kernel.pack != nullptr ? lines * bf16_floats(k) : 0);
        for (std::size_t begin = 0; begin < k && !room.empty(); begin += gemm_block_k) {
            kernel.pack({x.b.data + begin * x.b.k_stride, x.b.line_stride, x.b.k_stride}, n,
                        std::min(gemm_block_k, k - begin), room.data() + bf16_floats(begin) * lines);
            x.panels = {room.data(), lines, 0, 0};
        }
        kernel.multiply(x);
        return out;
    }
    GemmProblem problem(std::vector<float>& out) const {
        const bool a_transposed = form == Form::tn;
        const bool b_transposed = form == Form::nt;
        return {m,
                n,
                k,
                {a.data() + offset, a_transposed ? 1 : a_stride(), a_transposed ? a_stride() : 1},
                {b.data() + offset, b_transposed ? b_stride() : 1, b_transposed ? 1 : b_stride()},
                out.data() + offset,
                c_stride(),
                accumulate == Accumulate::yes};
    }

    float expected_element(std::size_t i, std::size_t j) const {
        const float* line_a = a.data() + offset + (form == Form::tn ? i : i * a_stride());
        const float* line_b = b.data() + offset + (form == Form::nt ? j * b_stride() : j);
        const auto element = numerics == GemmNumerics::bf16 ? element_of_bf16 : element_of_fma256;
        return element(line_a, form == Form::tn ? a_stride() : 1, line_b, form == Form::nt ? 1 : b_stride(),
                       k, accumulate == Accumulate::yes ? c[offset + i * c_stride() + j] : 0.0f);
    }

    // All elements of small products; of large ones a scattering, the edges among it.
    std::vector<float> expected(const std::vector<float>& found, std::size_t most = 1U << 17U) const {
        std::vector<float> out = c;
        const std::size_t skip = 1 + m * n * k / most;
        for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < n; ++j) {
                const std::size_t at = offset + i * c_stride() + j;
                const bool edge = (i + 1 == m || i == 0) && (j + 1 == n || j == 0);
                out[at] = edge || (i * 31 + j) % skip == 0 ? expected_element(i, j) : found[at];
            }
        }
        return out;
    }
};

inline std::string text_of(const GemmCase& x) {
    constexpr std::array names{"nt ", "nn ", "tn "};
    return names[static_cast<std::size_t>(x.form)] + std::to_string(x.m) + "x" + std::to_string(x.n) + "x" +
           std::to_string(x.k) + (x.accumulate == Accumulate::yes ? " +=" : " =");
}

inline ::testing::AssertionResult same_bits(const std::vector<float>& x, const std::vector<float>& y) {
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (std::bit_cast<std::uint32_t>(x[i]) != std::bit_cast<std::uint32_t>(y[i])) {
            return ::testing::AssertionFailure() << "differ at " << i << ": " << x[i] << " and " << y[i];
        }
    }
    return ::testing::AssertionSuccess();
}

/// A backend on an instruction set with so many threads.
struct Machine {
    GemmBackend backend;
    KernelIsa isa;
    int threads;
};

inline std::string name_of_machine(const ::testing::TestParamInfo<Machine>& machine) {
    return std::string(name_of(machine.param.backend)) + "_" + name_of(machine.param.isa) + "_" +
           std::to_string(machine.param.threads);
}

class MachineTest : public ::testing::TestWithParam<Machine> {
  protected:
    void SetUp() override {
        before_ = kernel_isa();
        set_kernel_isa(GetParam().isa);
    }
    void TearDown() override { set_kernel_isa(before_); }

    ThreadPool pool_{GetParam().threads};

  private:
    KernelIsa before_ = KernelIsa::scalar;
};

/// m, n, k around the edges of tiles and blocks.
inline constexpr std::array<std::array<std::size_t, 3>, 26> product_shapes{{
    {1, 1, 1},      {1, 1, 0},      {0, 5, 3},      {5, 0, 3},      {1, 64, 64},   {64, 1, 300},
    {2, 3, 255},    {3, 2, 256},    {5, 7, 257},    {6, 16, 40},    {7, 17, 41},   {12, 32, 64},
    {13, 33, 65},   {11, 31, 513},  {64, 64, 256},  {63, 65, 300},  {64, 65, 257}, {65, 64, 256},
    {96, 97, 113},  {97, 131, 512}, {191, 193, 67}, {193, 191, 31}, {1, 1030, 17}, {300, 128, 64},
    {128, 37, 700}, {40, 2060, 21},
}};

/// What is fused with a product has the bits of the same work before and after it, and is done once.
inline void expect_fused_work_has_the_bits_of_separate_work(const Gemm& gemm) {
    // Doing it twice, too early or not at all shows.
    const auto finish = [](MatrixView part) {
        for (std::size_t i = 0; i < part.rows; ++i) {
            for (std::size_t j = 0; j < part.cols; ++j) part.row(i)[j] = 0.5F * part.row(i)[j] + 3.0F;
        }
    };
    std::uint64_t seed = 300;
    // Beside the usual edges, those of the blocks in which fused work is done.
    std::vector<std::array<std::size_t, 3>> shapes(product_shapes.begin(), product_shapes.end());
    shapes.insert(shapes.end(), {{193, 1025, 33}, {450, 1100, 40}, {385, 40, 300}});
    for (const auto& [m, n, k] : shapes) {
        for (const Form form : {Form::nt, Form::nn}) {
            GemmCase x({form, m, n, k}, Accumulate::yes, ++seed);
            const std::vector<float> start = x.c;
            std::vector<float> expected = x.product(gemm);
            finish({expected.data() + x.offset, m, n, x.c_stride()});
            for (const bool panels : {false, true}) {
                EXPECT_TRUE(same_bits(x.product(gemm, panels, {}, finish), expected)) << text_of(x);
            }
            // From a matrix of its own, whatever C holds.
            for (std::size_t i = 0; i < m; ++i) {
                std::fill_n(x.c.begin() + static_cast<std::ptrdiff_t>(x.offset + i * x.c_stride()), n, NAN);
            }
            const ConstMatrixView from(start.data() + x.offset, m, n, x.c_stride());
            x.accumulate = Accumulate::no;
            for (const bool panels : {false, true}) {
                EXPECT_TRUE(same_bits(x.product(gemm, panels, from, finish), expected))
                    << text_of(x) << " from a start";
            }
        }
    }
}

}  // namespace lockstep
