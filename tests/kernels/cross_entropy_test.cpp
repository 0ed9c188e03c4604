#include "kernels/cross_entropy.h"

#include <array>
#include <limits>
#include <numeric>

#include "kernels/reference/cross_entropy.h"
#include "tests/kernels/kernel_checks.h"

namespace lockstep {
namespace {

struct Head {
    std::size_t tokens, width, vocabulary;
    std::vector<float> hidden, head, d_hidden, d_head, token_loss;
    std::vector<std::int32_t> targets;
    float scale;
    double loss = 0;

    Head(std::size_t t, std::size_t c, std::size_t v)
        : tokens(t),
          width(c),
          vocabulary(v),
          hidden(normals(t * c, 1)),
          head(normals(v * c, 2, 0.5F)),
          d_hidden(t * c, 9.0F),
          d_head(v * c, 9.0F),
          token_loss(t, 9.0F),
          scale(1.0F / static_cast<float>(t == 0 ? 1 : t)) {
        for (std::size_t i = 0; i < t; ++i) {
            targets.push_back(i % 5 == 3 ? ignored_target : static_cast<std::int32_t>(i * 7 % v));
        }
    }

    void backward(ThreadPool& pool, bool wants_d_head = true) {
        const Gemm gemm(pool, GemmBackend::reference, {});
        std::vector<float> workspace(head_tile_tokens * vocabulary);
        loss = head_loss_backward(
            gemm, MatrixView(hidden.data(), tokens, width), MatrixView(head.data(), vocabulary, width),
            targets, scale, {d_hidden.data(), tokens, width},
            {d_head.data(), wants_d_head ? vocabulary : 0, width}, workspace.data(), token_loss);
    }
    double loss_alone(ThreadPool& pool, std::span<float> per_token = {}) {
        const Gemm gemm(pool, GemmBackend::reference, {});
        std::vector<float> workspace(head_tile_tokens * vocabulary);
        return head_loss(gemm, MatrixView(hidden.data(), tokens, width),
                         MatrixView(head.data(), vocabulary, width), targets, workspace.data(), per_token);
    }
    std::vector<double> reference_losses(std::span<const double> h, std::span<const double> w) const {
        std::vector<double> losses(tokens);
        reference::head_loss({h.data(), tokens, width}, {w.data(), vocabulary, width}, targets, losses);
        return losses;
    }
};

TEST(HeadLossTest, MatchesTheReference) {
    ThreadPool pool(2);
    struct Case {
        std::size_t tokens, vocabulary;
    };
    for (const auto [tokens, vocabulary] : {Case{1, 1}, Case{1, 17}, Case{255, 40}, Case{256, 40},
                                            Case{257, 40}, Case{520, 33}, Case{3, 2050}}) {
        Head h(tokens, 12, vocabulary);
        h.backward(pool);
        const std::vector<double> expected = h.reference_losses(as_doubles(h.hidden), as_doubles(h.head));
        EXPECT_LT(largest_error(h.token_loss, expected), 1e-6) << tokens << " × " << vocabulary;
        const double total = std::accumulate(expected.begin(), expected.end(), 0.0);
        EXPECT_NEAR(h.loss, total, 1e-6 * (1 + total));
    }
}

TEST(HeadLossTest, GradientsMatchCentralDifferences) {
    ThreadPool pool(1);
    for (const std::size_t vocabulary : Sizes{2, 23}) {
        Head h(9, 6, vocabulary);
        h.scale = 1.0F;
        h.backward(pool);
        const auto hidden = as_doubles(h.hidden);
        const auto head = as_doubles(h.head);
        const std::vector<float> ones(h.tokens, 1.0F);
        expect_gradient([&](auto at) { return dot(h.reference_losses(at, head), ones); }, h.hidden,
                        h.d_hidden, 500);
        expect_gradient([&](auto at) { return dot(h.reference_losses(hidden, at), ones); }, h.head, h.d_head,
                        500);
    }
}

TEST(HeadLossTest, ScaleMultipliesTheGradientsOnly) {
    ThreadPool pool(1);
    Head one(20, 8, 30);
    Head quarter(20, 8, 30);
    one.scale = 1.0F;
    quarter.scale = 0.25F;
    one.backward(pool);
    quarter.backward(pool);
    EXPECT_EQ(one.loss, quarter.loss);
    for (float& d : one.d_head) d *= 0.25F;
    EXPECT_EQ(bits_of(one.d_head), bits_of(quarter.d_head));
}

TEST(HeadLossTest, RowsWithoutTargetGiveNothing) {
    ThreadPool pool(1);
    Head h(12, 8, 30);
    h.backward(pool);
    for (std::size_t t = 0; t < h.tokens; ++t) {
        if (h.targets[t] != ignored_target) continue;
        EXPECT_EQ(h.token_loss[t], 0.0F);
        for (std::size_t i = 0; i < h.width; ++i) ASSERT_EQ(h.d_hidden[t * h.width + i], 0.0F);
    }
    Head none(12, 8, 30);
    none.targets.assign(12, ignored_target);
    none.backward(pool);
    EXPECT_EQ(none.loss, 0.0);
    EXPECT_EQ(none.d_head, std::vector<float>(none.d_head.size(), 0.0F));
    EXPECT_EQ(none.d_hidden, std::vector<float>(none.d_hidden.size(), 0.0F));
}

TEST(HeadLossTest, TheHeadGradientNeedNotBeAskedFor) {
    ThreadPool pool(1);
    Head whole(300, 8, 30), part(300, 8, 30);
    whole.backward(pool);
    part.backward(pool, false);
    EXPECT_EQ(part.loss, whole.loss);
    EXPECT_EQ(bits_of(part.d_hidden), bits_of(whole.d_hidden));
    EXPECT_EQ(part.d_head, std::vector<float>(part.d_head.size(), 9.0F)) << "nothing is written";
}

TEST(HeadLossTest, WithoutTokensTheHeadGradientIsZero) {
    ThreadPool pool(1);
    Head h(0, 8, 30);
    h.backward(pool);
    EXPECT_EQ(h.loss, 0.0);
    EXPECT_EQ(h.d_head, std::vector<float>(h.d_head.size(), 0.0F));
}

TEST(HeadLossTest, LossAloneHasTheSameBits) {
    ThreadPool pool(2);
    Head h(300, 8, 1500);
    h.backward(pool);
    std::vector<float> per_token(300);
    EXPECT_EQ(h.loss_alone(pool, per_token), h.loss);
    EXPECT_EQ(bits_of(per_token), bits_of(h.token_loss));
}

TEST(HeadLossTest, LargeLogitsStayFinite) {
    ThreadPool pool(1);
    Head h(8, 4, 50);
    for (float& x : h.hidden) x *= 3000.0F;
    h.backward(pool);
    const std::vector<double> expected = h.reference_losses(as_doubles(h.hidden), as_doubles(h.head));
    EXPECT_LT(largest_error(h.token_loss, expected), 1e-3);
    for (const float d : h.d_hidden) ASSERT_TRUE(std::isfinite(d));
}

TEST(HeadLossTest, NonFiniteLogitsGiveANonFiniteLoss) {
    ThreadPool pool(1);
    constexpr float infinity = std::numeric_limits<float>::infinity();
    for (const float bad : {std::nanf(""), -std::nanf("5"), infinity, -infinity}) {
        Head h(6, 4, 20);
        h.hidden[1 * h.width + 2] = bad;
        h.backward(pool);
        EXPECT_FALSE(std::isfinite(h.loss));
        EXPECT_FALSE(std::isfinite(h.token_loss[1]));
        EXPECT_TRUE(std::isfinite(h.token_loss[0]));
        // One bit pattern: the loss is recorded bit by bit.
        EXPECT_EQ(std::bit_cast<std::uint64_t>(h.loss), 0x7FF8000000000000ULL);
    }
}

TEST(HeadLossTest, SameBitsForEveryInstructionSetAndThreadCount) {
    for (const std::size_t vocabulary : Sizes{1, 37, 1100}) {
        expect_same_bits_everywhere([&](ThreadPool& pool) {
            Head h(270, 5, vocabulary);
            h.backward(pool);
            std::vector<float> all = h.token_loss;
            all.insert(all.end(), h.d_hidden.begin(), h.d_hidden.end());
            all.insert(all.end(), h.d_head.begin(), h.d_head.end());
            const auto loss_bits = std::bit_cast<std::array<float, 2>>(h.loss);
            all.insert(all.end(), loss_bits.begin(), loss_bits.end());
            return all;
        });
    }
}

}  // namespace
}  // namespace lockstep
