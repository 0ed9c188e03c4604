#include "worker/step_rate.h"

#include <gtest/gtest.h>

#include <numeric>

#include "io/base/error.h"
#include "worker/model/transformer.h"

namespace lockstep {
namespace {

TEST(EqualSegmentsTest, KeepEveryToken) {
    for (const std::size_t tokens : {1U, 7U, 64U}) {
        for (std::size_t segments = 1; segments <= 9; ++segments) {
            const std::vector<std::size_t> lengths = equal_segments(tokens, segments);
            EXPECT_EQ(std::accumulate(lengths.begin(), lengths.end(), std::size_t{0}), tokens);
            EXPECT_EQ(lengths.size(), std::min(tokens, segments));
        }
    }
}

TEST(MeasuredStepTest, CountsTokensAndUsefulWorkOfAllPacks) {
    const ModelConfig config = load_model_config("nano", 64).config;
    ThreadPool pool(1);
    const Gemm gemm(pool, GemmBackend::own, gemm_shapes(config, 24));
    const std::vector<std::size_t> segments = {16, 8};
    MeasuredStep step(config, gemm, segments, 3);
    EXPECT_EQ(step.tokens(), 72U);
    const double one_pack = 16 * flop_per_token(config, 8.5) + 8 * flop_per_token(config, 4.5);
    EXPECT_DOUBLE_EQ(step.flop(), 3 * one_pack);
    for (int i = 0; i < 3; ++i) {
        const StepSeconds seconds = step.run();
        EXPECT_GT(seconds.forward_backward, 0);
        EXPECT_GT(seconds.exact_sum, 0);
        EXPECT_GT(seconds.update, 0);
    }
    EXPECT_GT(step.run_forward(), 0);
}

TEST(MeasuredStepTest, TakesOtherSegments) {
    const ModelConfig config = load_model_config("nano", 64).config;
    ThreadPool pool(1);
    const Gemm gemm(pool, GemmBackend::own, gemm_shapes(config, 24));
    MeasuredStep step(config, gemm, std::vector<std::size_t>{16, 8}, 2);
    step.use_segments(std::vector<std::size_t>{6, 6, 6});
    EXPECT_EQ(step.tokens(), 36U);
    EXPECT_DOUBLE_EQ(step.flop(), 2 * 18 * flop_per_token(config, 3.5));
    EXPECT_GT(step.run().total(), 0);
    EXPECT_THROW(step.use_segments(std::vector<std::size_t>{0}), Error);
    EXPECT_EQ(step.tokens(), 36U);
}

TEST(MeasuredStepTest, RefusesSegmentsBeyondThePositions) {
    const ModelConfig config = load_model_config("nano", 64).config;
    ThreadPool pool(1);
    const Gemm gemm(pool, GemmBackend::own, {});
    for (const std::vector<std::size_t>& segments :
         {std::vector<std::size_t>{}, std::vector<std::size_t>{8, 0},
          std::vector<std::size_t>{config.positions + 1}}) {
        try {
            const MeasuredStep step(config, gemm, segments);
            FAIL() << "accepted";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        }
    }
}

}  // namespace
}  // namespace lockstep
