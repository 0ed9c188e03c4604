#include "worker/step_forecast.h"

#include <gtest/gtest.h>

#include "kernels/attention.h"

namespace lockstep {
namespace {

TEST(RankMemoryTest, CountsTheScratchOfEveryThread) {
    const ModelConfig config = load_model_config("llama-nano", 300).config;
    constexpr std::size_t tokens = 1024;
    for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        const Gemm gemm(pool, GemmBackend::own, {});
        const RankMemory memory = rank_memory(config, gemm, tokens, Activations::keep, WorldSize{2});
        EXPECT_EQ(memory.attention, attention_scratch_bytes(attention_shape(config, tokens), threads));
        RankMemory without = memory;
        without.attention = 0;
        EXPECT_EQ(memory.total() - without.total(), memory.attention);
    }
}

}  // namespace
}  // namespace lockstep
