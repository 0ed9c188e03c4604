// tests/kernels/kernel_checks.h
//
// What the tests of kernels share: numbers, bits, every instruction set and thread
// count, central differences.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <vector>

#include "kernels/blas_runtime.h"
#include "kernels/matrix_view.h"
#include "kernels/scalar_math.h"
#include "kernels/thread_pool.h"

namespace lockstep {

/// Sizes a test goes through.
using Sizes = std::initializer_list<std::size_t>;

/// n standard normal numbers times `scale`; equal streams give equal numbers.
inline std::vector<float> normals(std::size_t n, std::uint64_t stream, float scale = 1.0F) {
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = scale * standard_normal(1, stream, i);
    return values;
}

inline std::vector<double> as_doubles(std::span<const float> values) {
    return {values.begin(), values.end()};
}

inline std::vector<std::uint32_t> bits_of(std::span<const float> values) {
    std::vector<std::uint32_t> bits;
    for (const float x : values) bits.push_back(std::bit_cast<std::uint32_t>(x));
    return bits;
}

/// Largest |actual − expected| / (1 + |expected|).
inline double largest_error(std::span<const float> actual, std::span<const double> expected) {
    EXPECT_EQ(actual.size(), expected.size());
    double largest = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
        const double error =
            std::abs(static_cast<double>(actual[i]) - expected[i]) / (1 + std::abs(expected[i]));
        largest = std::isnan(error) ? INFINITY : std::max(largest, error);
    }
    return largest;
}

inline std::vector<KernelIsa> supported_isas() {
    std::vector<KernelIsa> isas;
    for (const KernelIsa isa : {KernelIsa::scalar, KernelIsa::avx2, KernelIsa::avx512}) {
        if (kernel_isa_supported(isa)) isas.push_back(isa);
    }
    return isas;
}

/// Puts the instruction set back at the end of a test.
class IsaScope {
  public:
    explicit IsaScope(KernelIsa isa) : before_(kernel_isa()) { set_kernel_isa(isa); }
    ~IsaScope() { set_kernel_isa(before_); }
    IsaScope(const IsaScope&) = delete;
    IsaScope& operator=(const IsaScope&) = delete;

  private:
    KernelIsa before_;
};

/// `run(pool)` gives the same bits on every instruction set, and with 1, 2 and 3 threads.
inline void expect_same_bits_everywhere(const std::function<std::vector<float>(ThreadPool&)>& run) {
    ThreadPool one(1);
    std::vector<std::uint32_t> expected;
    for (const KernelIsa isa : supported_isas()) {
        const IsaScope scope(isa);
        const std::vector<std::uint32_t> bits = bits_of(run(one));
        if (isa == KernelIsa::scalar) expected = bits;
        EXPECT_EQ(bits, expected) << name_of(isa);
    }
    for (const int threads : {2, 3}) {
        ThreadPool pool(threads);
        EXPECT_EQ(bits_of(run(pool)), expected) << threads << " threads";
    }
}

/// Compare a gradient with central differences of `loss` at up to `samples` of x's elements.
inline void expect_gradient(const std::function<double(std::span<const double>)>& loss,
                            std::span<const float> x, std::span<const float> gradient, std::size_t samples,
                            double tolerance = 1e-5) {
    ASSERT_EQ(x.size(), gradient.size());
    std::vector<double> at = as_doubles(x);
    constexpr double h = 1e-5;
    const std::size_t stride = std::max<std::size_t>(1, x.size() / samples);
    for (std::size_t i = 0; i < x.size(); i += stride) {
        const double before = at[i];
        at[i] = before + h;
        const double above = loss(at);
        at[i] = before - h;
        const double below = loss(at);
        at[i] = before;
        const double expected = (above - below) / (2 * h);
        EXPECT_NEAR(static_cast<double>(gradient[i]), expected, tolerance * (1 + std::abs(expected)))
            << "element " << i;
    }
}

inline double dot(std::span<const double> a, std::span<const float> b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * static_cast<double>(b[i]);
    return sum;
}

}  // namespace lockstep
