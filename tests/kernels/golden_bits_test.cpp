// The bits of fma256, as digests. They hold for every compiler, optimization level,
// CPU and instruction set; a change here is a change of the numerics id
// (docs/numerics.md), and of every run that exists.

#include "io/base/digest.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"
#include "tests/kernels/kernel_checks.h"

namespace lockstep {
namespace {

constexpr std::size_t tokens = 150;
constexpr std::size_t width = 40;

class GoldenBitsTest : public testing::Test {
  protected:
    MatrixView view(std::vector<float>& v) const { return {v.data(), tokens, v.size() / tokens}; }
    static std::string digest(const std::vector<std::vector<float>>& parts) {
        DigestStream stream;
        for (const auto& part : parts) stream.update(std::as_bytes(std::span(part)));
        return stream.value().hex();
    }

    ThreadPool pool{2};
    std::vector<float> x = normals(tokens * width, 1);
    std::vector<float> d = normals(tokens * width, 2);
};

TEST_F(GoldenBitsTest, Inputs) {
    EXPECT_EQ(digest({x, d}), "0fea283a11698d02465bbf16f426eb63");
}

TEST_F(GoldenBitsTest, Attention) {
    const AttentionShape shape{2, 1, 20};
    const std::vector<std::int32_t> cu_seqlens = {0, 20, 150};
    std::vector<float> qkv = normals(tokens * shape.qkv_width(), 3);
    std::vector<std::uint32_t> positions(tokens);
    for (std::uint32_t t = 0; t < tokens; ++t) positions[t] = t < 20 ? t : t - 20;
    RotaryTable(256, shape.head_dim, 10000.0).rotate(pool, shape, positions, view(qkv));
    std::vector<float> out(tokens * width), softmax(4 * tokens), d_qkv(qkv.size());
    attention_forward(pool, shape, cu_seqlens, view(qkv), view(out), softmax);
    attention_backward(pool, shape, cu_seqlens, view(qkv), view(d), softmax, view(d_qkv));
    EXPECT_EQ(digest({qkv, out, softmax, d_qkv}), "cf2fa7ab08b14840032e2514e5513587");
}

TEST_F(GoldenBitsTest, Norms) {
    const std::vector<float> gain = normals(width, 4);
    const std::vector<float> bias = normals(width, 5);
    std::vector<float> y(x.size()), mean(tokens), rstd(tokens), d_x(x.size()), d_gain(width), d_bias(width);
    layer_norm_forward(pool, view(x), gain, bias, 1e-5F, view(y), mean, rstd);
    layer_norm_backward(pool, view(x), gain, mean, rstd, view(d), view(d_x), d_gain, d_bias);
    EXPECT_EQ(digest({y, mean, rstd, d_x, d_gain, d_bias}), "586ff4bb17e7e12680c66e9f74e651c4");
    rms_norm_forward(pool, view(x), gain, 1e-6F, view(y), rstd);
    rms_norm_backward(pool, view(x), gain, rstd, view(d), view(d_x), d_gain);
    EXPECT_EQ(digest({y, rstd, d_x, d_gain}), "e73beb4a73c3457ca988c047c9163f73");
}

TEST_F(GoldenBitsTest, Activations) {
    std::vector<float> y(x.size()), gated(x.size() / 2), d_gate_up(x.size());
    swiglu_forward(pool, view(x), view(gated));
    const auto gate = [&](MatrixView m) { return m.col_range(0, width / 2); };
    const auto up = [&](MatrixView m) { return m.col_range(width / 2, width); };
    swiglu_backward(gate(view(x)), up(view(x)), view(gated), gate(view(d_gate_up)), up(view(d_gate_up)));
    gelu_backward(view(x), view(d));
    add_bias_gelu_forward(view(x), std::vector<float>(width, -0.0F), view(y));
    EXPECT_EQ(digest({y, d, gated, d_gate_up}), "0c5c4de73cdc9eda2658b9bbe791be72");
}

TEST_F(GoldenBitsTest, HeadLoss) {
    constexpr std::size_t vocabulary = 1100;
    std::vector<float> head = normals(vocabulary * width, 6, 0.2F);
    std::vector<float> d_head(head.size()), token_loss(tokens);
    std::vector<std::int32_t> targets;
    for (std::int32_t t = 0; t < static_cast<std::int32_t>(tokens); ++t)
        targets.push_back(t % 9 == 0 ? ignored_target : 7 * t);
    const Gemm gemm(pool, GemmBackend::own, {});
    std::vector<float> workspace(head_tile_tokens * vocabulary);
    const double loss =
        head_loss_backward(gemm, view(x), ConstMatrixView(head.data(), vocabulary, width), targets, 0.01F,
                           view(d), {d_head.data(), vocabulary, width}, workspace.data(), token_loss);
    EXPECT_EQ(digest({d, d_head, token_loss}), "f2ff5d6eccd81a2581d2da365643f0a4");
    EXPECT_EQ(std::bit_cast<std::uint64_t>(loss), 4652423640550596190U);
}

TEST_F(GoldenBitsTest, Optimizer) {
    std::vector<float> w = normals(state_block, 7);
    std::vector<float> m = normals(state_block, 8);
    std::vector<float> v(state_block, 0.25F);
    const AdamWStep step = {.learning_rate = 1e-3F,
                            .beta1 = 0.9F,
                            .beta2 = 0.95F,
                            .epsilon = 1e-8F,
                            .weight_decay = 0.1F,
                            .bias_correction1 = 0.1F,
                            .bias_correction2 = 0.05F,
                            .gradient_factor = 0.7F};
    adamw_update(pool, step, normals(state_block, 9), w, m, v);
    EXPECT_EQ(digest({w, m, v}), "687c9f18639723596c51a358afd98018");
    std::vector<double> sums(1);
    block_square_sums(pool, w, sums);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(sums[0]), 4661308304253587614U);
}

}  // namespace
}  // namespace lockstep
