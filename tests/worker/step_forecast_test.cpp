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

TEST(ProbeSgemmTest, HasARateForEveryFamilyAndForAdapters) {
    ThreadPool pool(2);
    for (const char* model : {"nano", "llama-nano"}) {
        const ModelConfig config = load_model_config(model, 300).config;
        EXPECT_GT(probe_sgemm(config, pool, 1024, 0), 0) << model;
        LoraSettings lora;
        lora.targets = parse_lora_targets("all-linear", config.family);
        EXPECT_GT(probe_sgemm(config, pool, 1, 0, lora), 0) << model;
    }
}

}  // namespace
}  // namespace lockstep
