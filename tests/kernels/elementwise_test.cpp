#include "kernels/elementwise.h"

#include <limits>

#include "kernels/reference/elementwise.h"
#include "kernels/simd/kernel_table.h"
#include "tests/kernels/kernel_checks.h"

namespace lockstep {
namespace {

std::vector<float> exponentials(const std::vector<float>& x) {
    std::vector<float> y(x.size());
    kernel_table().exponential(x.size(), x.data(), y.data());
    return y;
}

TEST(ExponentialTest, RelativeErrorIsBelowOneInTenMillion) {
    std::vector<float> x;
    for (float v = -87.3F; v < 88.7F; v += 0.0007F) x.push_back(v);
    const std::vector<float> y = exponentials(x);
    double largest = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = std::exp(static_cast<double>(x[i]));
        largest = std::max(largest, std::abs(static_cast<double>(y[i]) - expected) / expected);
    }
    EXPECT_LT(largest, 1e-7);
}

TEST(ExponentialTest, ExtremesOnEveryInstructionSet) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const std::vector<float> x = {-infinity, -1e30F,     -104.0F,  -87.4F, -87.33654F, -0.0F,   0.0F, 1e-40F,
                                  88.72283F, 88.722836F, 88.7229F, 1e30F,  infinity,   -1e-40F, 1.0F, -1.0F};
    for (const KernelIsa isa : supported_isas()) {
        const IsaScope scope(isa);
        const std::vector<float> y = exponentials(x);
        for (const std::size_t i : Sizes{0, 1, 2, 3}) EXPECT_EQ(y[i], 0.0F) << x[i];
        EXPECT_GE(y[4], std::numeric_limits<float>::min());
        for (const std::size_t i : Sizes{5, 6, 7, 13}) EXPECT_EQ(y[i], 1.0F) << x[i];
        EXPECT_TRUE(std::isfinite(y[8]));
        EXPECT_GT(y[8], 3.4e38F);
        for (const std::size_t i : Sizes{9, 10, 11, 12}) EXPECT_EQ(y[i], infinity) << x[i];
        // Payloads of "not a number" reach the bits the power of two is taken from.
        for (const std::uint32_t pattern : {0x7FC00000U, 0x7FC00001U, 0xFFC001FFU, 0x7FFFFFFFU}) {
            EXPECT_TRUE(std::isnan(exponentials({std::bit_cast<float>(pattern)})[0])) << pattern;
        }
    }
}

struct Activation {
    std::size_t rows, width;
    std::vector<float> x, d_y;
    Activation(std::size_t r, std::size_t w)
        : rows(r), width(w), x(normals(r * w, 1, 3)), d_y(normals(r * w, 2)) {}

    std::vector<float> gelu() const {
        std::vector<float> y(x.size()), before = x;
        const std::vector<float> bias(width, -0.0F);  // Leaves every number as it is.
        add_bias_gelu_forward({before.data(), rows, width}, bias, {y.data(), rows, width});
        return y;
    }
    std::vector<float> gelu_gradient() const {
        std::vector<float> d = d_y;
        gelu_backward({x.data(), rows, width}, {d.data(), rows, width});
        return d;
    }
    // Gate and up are the two halves of a row.
    std::vector<float> swiglu(ThreadPool& pool) {
        std::vector<float> y(x.size() / 2);
        swiglu_forward(pool, MatrixView(x.data(), rows, width), {y.data(), rows, width / 2});
        return y;
    }
    std::vector<float> swiglu_gradient() const {
        std::vector<float> d(x.size());
        const std::size_t half = width / 2;
        const ConstMatrixView gate_up(x.data(), rows, width);
        const MatrixView d_gate_up(d.data(), rows, width);
        swiglu_backward(gate_up.col_range(0, half), gate_up.col_range(half, width), {d_y.data(), rows, half},
                        d_gate_up.col_range(0, half), d_gate_up.col_range(half, width));
        return d;
    }
    std::vector<double> reference_gelu(std::span<const double> at) const {
        std::vector<double> y;
        for (const double v : at) y.push_back(reference::gelu(v));
        return y;
    }
    std::vector<double> reference_swiglu(std::span<const double> at) const {
        std::vector<double> y;
        for (std::size_t t = 0; t < rows; ++t) {
            for (std::size_t i = 0; i < width / 2; ++i) {
                y.push_back(reference::swiglu(at[t * width + i], at[t * width + width / 2 + i]));
            }
        }
        return y;
    }
};

TEST(GeluTest, MatchesTheReferenceAndItsDerivative) {
    for (const std::size_t width : Sizes{1, 16, 37}) {
        const Activation a(6, width);
        EXPECT_LT(largest_error(a.gelu(), a.reference_gelu(as_doubles(a.x))), 5e-7);
        expect_gradient([&](auto at) { return dot(a.reference_gelu(at), a.d_y); }, a.x, a.gelu_gradient(),
                        500);
    }
}

TEST(GeluTest, ExtremesAreTheLimits) {
    Activation a(1, 6);
    a.x = {-1e30F, -40.0F, -0.0F, 40.0F, 1e30F, 3e38F};
    a.d_y.assign(6, 1.0F);
    EXPECT_EQ(a.gelu(), (std::vector<float>{0, 0, 0, 40.0F, 1e30F, 3e38F}));
    EXPECT_EQ(a.gelu_gradient(), (std::vector<float>{0, 0, 0.5F, 1, 1, 1}));
}

TEST(GeluTest, TheBiasIsAddedFirstAndStays) {
    Activation a(6, 37);
    const std::vector<float> bias = normals(37, 3);
    std::vector<float> x = a.x, y(x.size());
    add_bias_gelu_forward({x.data(), 6, 37}, bias, {y.data(), 6, 37});
    add_bias({a.x.data(), 6, 37}, bias);
    EXPECT_EQ(bits_of(x), bits_of(a.x));
    EXPECT_EQ(bits_of(y), bits_of(a.gelu()));
}

TEST(SwigluTest, MatchesTheReferenceAndItsDerivative) {
    ThreadPool pool(2);
    for (const std::size_t width : Sizes{2, 32, 74}) {
        Activation a(6, width);
        a.d_y.resize(a.x.size() / 2);
        EXPECT_LT(largest_error(a.swiglu(pool), a.reference_swiglu(as_doubles(a.x))), 5e-7);
        expect_gradient([&](auto at) { return dot(a.reference_swiglu(at), a.d_y); }, a.x, a.swiglu_gradient(),
                        500);
    }
}

TEST(SwigluTest, ExtremeGatesStayFinite) {
    ThreadPool pool(1);
    Activation a(1, 8);
    a.x = {-1e30F, -100.0F, 100.0F, 1e30F, 2, 2, 2, 2};
    a.d_y = {1, 1, 1, 1};
    EXPECT_EQ(a.swiglu(pool), (std::vector<float>{0, 0, 200.0F, 2e30F}));
    EXPECT_EQ(a.swiglu_gradient(), (std::vector<float>{0, 0, 2, 2, 0, 0, 100.0F, 1e30F}));
}

TEST(BiasTest, IsAddedToEveryRowAndItsGradientIsTheSumOfBlocks) {
    ThreadPool pool(2);
    constexpr std::size_t rows = 70, width = 21, block = 32;
    std::vector<float> y = normals(rows * width, 1);
    const std::vector<float> before = y;
    const std::vector<float> bias = normals(width, 2);
    add_bias({y.data(), rows, width}, bias);
    std::vector<float> sum(width, 0.0F);
    for (std::size_t begin = 0; begin < rows; begin += block) {
        std::vector<float> part(width, 0.0F);
        for (std::size_t t = begin; t < std::min(rows, begin + block); ++t) {
            for (std::size_t i = 0; i < width; ++i) {
                ASSERT_EQ(y[t * width + i], before[t * width + i] + bias[i]);
                part[i] += y[t * width + i];
            }
        }
        for (std::size_t i = 0; i < width; ++i) sum[i] += part[i];
    }
    std::vector<float> d_bias(width, 9);
    bias_gradient(pool, MatrixView(y.data(), rows, width), d_bias);
    EXPECT_EQ(bits_of(d_bias), bits_of(sum));
}

TEST(ScaleTest, MultipliesEveryElementAndNothingElse) {
    expect_same_bits_everywhere([](ThreadPool& pool) {
        std::vector<float> x = normals(5 * 40, 1);
        const std::vector<float> before = x;
        scale_by(pool, 0.3F, MatrixView(x.data(), 5, 21, 40));
        for (std::size_t i = 0; i < x.size(); ++i)
            EXPECT_EQ(x[i], i % 40 < 21 ? before[i] * 0.3F : before[i]) << i;
        return x;
    });
}

TEST(ElementwiseTest, SameBitsForEveryInstructionSetAndThreadCount) {
    for (const std::size_t rows : Sizes{0, 1, 29}) {
        expect_same_bits_everywhere([&](ThreadPool& pool) {
            Activation a(rows, 150);
            std::vector<float> all = a.gelu();
            for (const auto& part : {a.gelu_gradient(), a.swiglu(pool), a.swiglu_gradient()}) {
                all.insert(all.end(), part.begin(), part.end());
            }
            std::vector<float> d_bias(150);
            bias_gradient(pool, MatrixView(a.x.data(), rows, 150), d_bias);
            all.insert(all.end(), d_bias.begin(), d_bias.end());
            add_bias({a.x.data(), rows, 150}, d_bias);
            all.insert(all.end(), a.x.begin(), a.x.end());
            return all;
        });
    }
    // The exponential over its whole range, tails included.
    expect_same_bits_everywhere([](ThreadPool&) {
        std::vector<float> x;
        for (float v = -110.0F; v < 95.0F; v += 0.013F) x.push_back(v);
        return exponentials(x);
    });
}

}  // namespace
}  // namespace lockstep
