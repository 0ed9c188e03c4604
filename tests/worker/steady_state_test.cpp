// After its first step a worker allocates nothing and touches no new page: the
// step's speed is the kernels', not the memory manager's.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <optional>
#include <vector>

#include "io/comm/serial_communicator.h"
#include "kernels/cross_entropy.h"
#include "worker/exact_sum.h"
#include "worker/model/transformer.h"
#include "worker/sharded_state.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<std::size_t> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
    if (counting.load()) allocations.fetch_add(1);
    const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
    void* const memory = std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

// Not inlined: gcc would see free() on what new returned, and take it for a mistake.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
    return counted(bytes, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

namespace lockstep {
namespace {

PackedBatch batch_of(const std::vector<std::size_t>& lengths, std::size_t vocabulary) {
    PackedBatch batch;
    batch.cu_seqlens.push_back(0);
    for (const std::size_t length : lengths) {
        for (std::size_t i = 0; i < length; ++i) {
            batch.token_ids.push_back(
                static_cast<std::uint32_t>((batch.token_ids.size() * 7 + i) % vocabulary));
            batch.position_ids.push_back(static_cast<std::uint32_t>(i));
            const bool has_target = i + 1 < length;
            batch.targets.push_back(has_target ? static_cast<std::int32_t>(i % vocabulary) : ignored_target);
            batch.num_targets += has_target ? 1 : 0;
        }
        batch.cu_seqlens.push_back(static_cast<std::int32_t>(batch.token_ids.size()));
    }
    return batch;
}

std::size_t page_faults() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::size_t>(usage.ru_minflt);
}

struct Trained {
    const char* model;
    const char* lora_targets;  ///< Null: the model is trained whole.
    const char* name;
};

class SteadyStateTest : public ::testing::TestWithParam<Trained> {};

INSTANTIATE_TEST_SUITE_P(Families, SteadyStateTest,
                         ::testing::Values(Trained{"tiny", nullptr, "Gpt2"},
                                           Trained{"llama-tiny", nullptr, "Llama"},
                                           Trained{"llama-tiny", "all-linear", "LlamaLora"}),
                         [](const auto& trained) { return std::string(trained.param.name); });

TEST_P(SteadyStateTest, NoStepButTheFirstAllocatesOrFaults) {
    constexpr std::size_t vocabulary = 300, tokens_max = 700;
    const ModelConfig config = load_model_config(GetParam().model, vocabulary).config;
    std::optional<LoraSettings> lora;
    if (GetParam().lora_targets != nullptr) {
        lora.emplace();
        lora->targets = parse_lora_targets(GetParam().lora_targets, config.family);
    }
    std::vector<float> frozen(StateLayout(config).size());
    initialize_weights(StateLayout(config), 1, frozen);
    for (const int threads : {1, 2}) {
        ThreadPool pool(threads);
        const Gemm gemm(pool, GemmBackend::own, {});
        const auto comm = make_serial_communicator();
        Transformer model(config, gemm, tokens_max, Activations::keep, lora);
        model.set_weights(frozen);
        ShardedState state(*comm, pool, model.trainable_layout());
        state.initialize(1);
        ExactSum sum(*comm, pool, model.trainable_layout().size());
        // The first is neither the longest nor that with the most segments.
        const std::vector<PackedBatch> batches = {
            batch_of({100, 60, 300}, vocabulary), batch_of({700}, vocabulary),
            batch_of(std::vector<std::size_t>(233, 3), vocabulary), batch_of({1, 650, 40}, vocabulary)};
        std::size_t faults_before = 0;
        for (std::size_t step = 0; step < 3 * batches.size(); ++step) {
            // Every thread has met its scratch once all have been through a step.
            if (step == batches.size()) {
                faults_before = page_faults();
                allocations = 0;
                counting = true;
            }
            if (lora) {
                model.set_adapters(state.weights());
            } else {
                model.set_weights(state.weights());
            }
            sum.clear();
            model.forward_backward(batches[step % batches.size()], 0.01F,
                                   [&](std::size_t offset, std::span<const float> gradient) {
                                       sum.add(offset, gradient, 40, 1);
                                   });
            sum.end_pack();
            const ExactGradient gradient = sum.reduce_scatter(40);
            state.update(OptimizerSettings{}, step, state.gradient_norm(gradient), gradient);
            state.all_gather_weights();
        }
        counting = false;
        const std::size_t faults = page_faults() - faults_before;
        EXPECT_EQ(allocations.load(), 0U) << threads << " threads";
        EXPECT_LE(faults, 16U) << threads << " threads";
    }
}

}  // namespace
}  // namespace lockstep
