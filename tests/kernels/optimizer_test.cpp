#include "kernels/optimizer.h"

#include <array>

#include "tests/kernels/kernel_checks.h"

namespace lockstep {
namespace {

constexpr AdamWStep step = {.learning_rate = 1e-3F,
                            .beta1 = 0.9F,
                            .beta2 = 0.95F,
                            .epsilon = 1e-8F,
                            .weight_decay = 0.1F,
                            .bias_correction1 = 0.271F,
                            .bias_correction2 = 0.142625F,
                            .gradient_factor = 0.5F};

struct State {
    std::vector<float> gradient, w, m, v;
    explicit State(std::size_t n) : gradient(normals(n, 1)), w(normals(n, 2)), m(normals(n, 3, 0.1F)) {
        for (const float x : normals(n, 4)) v.push_back(x * x * 0.01F);
    }
    /// One update, in two calls cut at `cut`.
    std::vector<float> update(ThreadPool& pool, std::size_t cut) {
        const auto part = [&](std::size_t begin, std::size_t n) {
            adamw_update(pool, step, std::span<const float>(gradient).subspan(begin, n),
                         std::span(w).subspan(begin, n), std::span(m).subspan(begin, n),
                         std::span(v).subspan(begin, n));
        };
        part(0, cut);
        part(cut, w.size() - cut);
        std::vector<float> all = w;
        all.insert(all.end(), m.begin(), m.end());
        all.insert(all.end(), v.begin(), v.end());
        return all;
    }
};

TEST(AdamWTest, MatchesTheFormula) {
    ThreadPool pool(2);
    const State before(1000);
    State after = before;
    after.update(pool, 0);
    const auto d = [](float x) { return static_cast<double>(x); };
    for (std::size_t i = 0; i < 1000; ++i) {
        const double g = d(before.gradient[i]) * 0.5;
        const double m = d(step.beta1) * d(before.m[i]) + (1 - d(step.beta1)) * g;
        const double v = d(step.beta2) * d(before.v[i]) + (1 - d(step.beta2)) * g * g;
        const double change =
            m / d(step.bias_correction1) / (std::sqrt(v / d(step.bias_correction2)) + d(step.epsilon)) +
            d(step.weight_decay) * d(before.w[i]);
        EXPECT_NEAR(d(after.m[i]), m, 1e-6 * (std::abs(m) + 0.1));
        EXPECT_NEAR(d(after.v[i]), v, 1e-6 * v);
        EXPECT_NEAR(d(after.w[i]), d(before.w[i]) - d(step.learning_rate) * change,
                    1e-7 * (1 + std::abs(d(before.w[i]))));
    }
}

TEST(AdamWTest, SliceBoundariesCannotChangeABit) {
    ThreadPool pool(2);
    const std::vector<std::uint32_t> expected = bits_of(State(9000).update(pool, 0));
    for (const std::size_t cut : Sizes{1, 15, 16, 17, 4096, 5003, 8999}) {
        EXPECT_EQ(bits_of(State(9000).update(pool, cut)), expected) << cut;
    }
}

TEST(AdamWTest, SameBitsForEveryInstructionSetAndThreadCount) {
    for (const std::size_t n : Sizes{0, 1, 9000}) {
        expect_same_bits_everywhere([&](ThreadPool& pool) { return State(n).update(pool, 0); });
    }
}

TEST(AdamWTest, AZeroStateWithZeroGradientOnlyDecays) {
    ThreadPool pool(1);
    State state(16);
    state.gradient.assign(16, 0.0F);
    state.m.assign(16, 0.0F);
    state.v.assign(16, 0.0F);
    const std::vector<float> before = state.w;
    state.update(pool, 0);
    for (std::size_t i = 0; i < 16; ++i) {
        EXPECT_EQ(state.w[i], std::fma(-step.learning_rate, step.weight_decay * before[i], before[i]));
    }
}

TEST(BlockSquareSumsTest, AddSquaresInDouble) {
    ThreadPool pool(2);
    const std::vector<float> values = normals(3 * state_block, 1, 1e-20F);
    std::vector<double> sums(3);
    block_square_sums(pool, values, sums);
    for (std::size_t b = 0; b < 3; ++b) {
        double expected = 0;
        for (std::size_t i = 0; i < state_block; ++i) {
            const auto x = static_cast<double>(values[b * state_block + i]);
            expected += x * x;
        }
        EXPECT_NEAR(sums[b], expected, 1e-13 * expected);
    }
}

TEST(BlockSquareSumsTest, SameBitsForEveryInstructionSetAndThreadCount) {
    const std::vector<float> values = normals(5 * state_block, 1);
    expect_same_bits_everywhere([&](ThreadPool& pool) {
        std::vector<double> sums(5);
        block_square_sums(pool, values, sums);
        std::vector<float> bits;
        for (const double sum : sums) {
            for (const float half : std::bit_cast<std::array<float, 2>>(sum)) bits.push_back(half);
        }
        return bits;
    });
}

TEST(CombineBlockSumsTest, IsATreeOverBlockNumbers) {
    EXPECT_EQ(combine_block_sums({}), 0.0);
    EXPECT_EQ(combine_block_sums(std::vector<double>{3.5}), 3.5);
    // ((a + b) + (c + d)) + e; 1 vanishes beside 2^60, unless two of them meet first.
    const std::vector<double> sums = {0x1p60, -0x1p60, 1.0, 0x1p-60, 0x1p60};
    EXPECT_EQ(combine_block_sums(sums), ((0x1p60 - 0x1p60) + (1.0 + 0x1p-60)) + 0x1p60);
    std::vector<double> seven = {0x1p53, 1, 1, 1, 1, 1, 1};
    EXPECT_EQ(combine_block_sums(seven), ((0x1p53 + 1) + 2) + ((1.0 + 1) + 1));
}

}  // namespace
}  // namespace lockstep
