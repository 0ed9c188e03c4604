#include "kernels/norm.h"

#include "kernels/reference/norm.h"
#include "tests/kernels/kernel_checks.h"

namespace lockstep {
namespace {

constexpr float epsilon = 1e-5F;
constexpr std::size_t widths[] = {1, 7, 16, 64, 100, 768};

/// Forward and backward of one norm; RMSNorm leaves the bias alone.
struct Pass {
    std::size_t rows, width;
    std::vector<float> x, gain, bias, d_y, residual, y, mean, rstd, d_x, d_gain, d_bias;

    Pass(std::size_t r, std::size_t w)
        : rows(r),
          width(w),
          x(normals(r * w, 1, 2.0F)),
          gain(normals(w, 2)),
          bias(normals(w, 3)),
          d_y(normals(r * w, 4)),
          residual(normals(r * w, 5)),
          y(r * w),
          mean(r),
          rstd(r),
          d_x(residual),
          d_gain(w, 9),
          d_bias(w, 9) {
        for (float& v : x) v += 0.5F;
    }

    MatrixView view(std::vector<float>& v) const { return {v.data(), rows, width}; }
    void layer_norm(ThreadPool& pool) {
        layer_norm_forward(pool, view(x), gain, bias, epsilon, view(y), mean, rstd);
        layer_norm_backward(pool, view(x), gain, mean, rstd, view(d_y), view(d_x), d_gain, d_bias);
    }
    void rms_norm(ThreadPool& pool) {
        rms_norm_forward(pool, view(x), gain, epsilon, view(y), rstd);
        rms_norm_backward(pool, view(x), gain, rstd, view(d_y), view(d_x), d_gain);
    }
    /// d_x without the residual branch it was added to.
    std::vector<float> own_d_x() const {
        std::vector<float> own = d_x;
        for (std::size_t i = 0; i < own.size(); ++i) own[i] -= residual[i];
        return own;
    }
    std::vector<float> everything() const {
        std::vector<float> all;
        for (const auto* part : {&y, &mean, &rstd, &d_x, &d_gain, &d_bias}) {
            all.insert(all.end(), part->begin(), part->end());
        }
        return all;
    }

    std::vector<double> reference_layer_norm(std::span<const double> at, std::span<const double> g,
                                             std::span<const double> b) const {
        std::vector<double> result(rows * width);
        reference::layer_norm({at.data(), rows, width}, g, b, static_cast<double>(epsilon),
                              {result.data(), rows, width});
        return result;
    }
    std::vector<double> reference_rms_norm(std::span<const double> at, std::span<const double> g) const {
        std::vector<double> result(rows * width);
        reference::rms_norm({at.data(), rows, width}, g, static_cast<double>(epsilon),
                            {result.data(), rows, width});
        return result;
    }
};

TEST(LayerNormTest, MatchesTheReference) {
    ThreadPool pool(2);
    for (const std::size_t width : widths) {
        Pass pass(5, width);
        pass.layer_norm(pool);
        const auto expected =
            pass.reference_layer_norm(as_doubles(pass.x), as_doubles(pass.gain), as_doubles(pass.bias));
        EXPECT_LT(largest_error(pass.y, expected), 2e-6) << width;
    }
}

TEST(LayerNormTest, GradientsMatchCentralDifferences) {
    ThreadPool pool(1);
    for (const std::size_t width : Sizes{5, 16, 40}) {
        Pass pass(4, width);
        pass.layer_norm(pool);
        const auto x = as_doubles(pass.x);
        const auto gain = as_doubles(pass.gain);
        const auto bias = as_doubles(pass.bias);
        expect_gradient([&](auto at) { return dot(pass.reference_layer_norm(at, gain, bias), pass.d_y); },
                        pass.x, pass.own_d_x(), 200);
        expect_gradient([&](auto at) { return dot(pass.reference_layer_norm(x, at, bias), pass.d_y); },
                        pass.gain, pass.d_gain, 200);
        expect_gradient([&](auto at) { return dot(pass.reference_layer_norm(x, gain, at), pass.d_y); },
                        pass.bias, pass.d_bias, 200);
    }
}

TEST(RmsNormTest, MatchesTheReference) {
    ThreadPool pool(2);
    for (const std::size_t width : widths) {
        Pass pass(5, width);
        pass.rms_norm(pool);
        EXPECT_LT(largest_error(pass.y, pass.reference_rms_norm(as_doubles(pass.x), as_doubles(pass.gain))),
                  2e-6)
            << width;
    }
}

TEST(RmsNormTest, GradientsMatchCentralDifferences) {
    ThreadPool pool(1);
    for (const std::size_t width : Sizes{1, 5, 16, 40}) {
        Pass pass(4, width);
        pass.rms_norm(pool);
        const auto x = as_doubles(pass.x);
        const auto gain = as_doubles(pass.gain);
        expect_gradient([&](auto at) { return dot(pass.reference_rms_norm(at, gain), pass.d_y); }, pass.x,
                        pass.own_d_x(), 200);
        expect_gradient([&](auto at) { return dot(pass.reference_rms_norm(x, at), pass.d_y); }, pass.gain,
                        pass.d_gain, 200);
    }
}

TEST(NormTest, SameBitsForEveryInstructionSetAndThreadCount) {
    for (const std::size_t width : widths) {
        for (const std::size_t rows : Sizes{0, 1, 37}) {
            expect_same_bits_everywhere([&](ThreadPool& pool) {
                Pass pass(rows, width);
                pass.layer_norm(pool);
                return pass.everything();
            });
            expect_same_bits_everywhere([&](ThreadPool& pool) {
                Pass pass(rows, width);
                pass.rms_norm(pool);
                return pass.everything();
            });
        }
    }
}

TEST(NormTest, ARowDoesNotDependOnItsNeighbours) {
    ThreadPool pool(1);
    Pass many(20, 70);
    many.layer_norm(pool);
    Pass few(3, 70);
    few.layer_norm(pool);
    EXPECT_EQ(bits_of(few.y), bits_of({many.y.data(), few.y.size()}));
    // A constant row has variance 0: the epsilon keeps it finite.
    std::fill_n(few.x.begin(), 70, 3.0F);
    few.layer_norm(pool);
    for (const float v : few.everything()) ASSERT_TRUE(std::isfinite(v));
}

TEST(NormTest, ParameterGradientsNeedNotBeAskedFor) {
    ThreadPool pool(1);
    for (const bool layer : {true, false}) {
        Pass whole(7, 20), part(7, 20);
        part.d_gain.clear();
        part.d_bias.clear();
        for (Pass* pass : {&whole, &part}) layer ? pass->layer_norm(pool) : pass->rms_norm(pool);
        EXPECT_EQ(bits_of(part.d_x), bits_of(whole.d_x));
    }
}

TEST(NormTest, WithoutRowsTheParameterGradientsAreZero) {
    ThreadPool pool(1);
    Pass pass(0, 20);
    pass.layer_norm(pool);
    EXPECT_EQ(pass.d_gain, std::vector<float>(20, 0.0F));
    EXPECT_EQ(pass.d_bias, std::vector<float>(20, 0.0F));
}

}  // namespace
}  // namespace lockstep
