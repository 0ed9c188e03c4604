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
#include "tests/support/sanitizers.h"
#include "tests/support/small_corpus.h"
#include "tests/support/temporary_directory.h"
#include "worker/exact_sum.h"
#include "worker/metrics_log.h"
#include "worker/model/transformer.h"
#include "worker/sharded_state.h"
#include "worker/worker.h"

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
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return counted(bytes, alignof(std::max_align_t));
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

constexpr std::size_t tokens_max = 700;
/// A few page faults are the system's own.
#if defined(LOCKSTEP_ADDRESS_SANITIZER) || defined(LOCKSTEP_THREAD_SANITIZER)
constexpr std::size_t faults_max = 250;  // Of the sanitizer's own memory.
#else
constexpr std::size_t faults_max = 16;
#endif

/// Segments of a pack. The first is neither the longest nor that with the most segments.
using PackLengths = std::vector<std::size_t>;
const std::vector<PackLengths>& packs() {
    static const std::vector<PackLengths> all = {{100, 60, 300}, {700}, PackLengths(233, 3), {1, 650, 40}};
    return all;
}

PackedBatch batch_of(const PackLengths& lengths, std::size_t vocabulary) {
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

    ModelConfig config() const { return load_model_config(model, small_vocabulary).config; }
    std::optional<LoraSettings> lora() const {
        if (lora_targets == nullptr) return std::nullopt;
        LoraSettings settings;
        settings.targets = parse_lora_targets(lora_targets, config().family);
        return settings;
    }
};

class SteadyStateTest : public ::testing::TestWithParam<Trained> {};

INSTANTIATE_TEST_SUITE_P(Families, SteadyStateTest,
                         ::testing::Values(Trained{"tiny", nullptr, "Gpt2"},
                                           Trained{"llama-nano", nullptr, "Llama"},
                                           Trained{"llama-nano", "all-linear", "LlamaLora"}),
                         [](const auto& trained) { return std::string(trained.param.name); });

TEST_P(SteadyStateTest, NoStepButTheFirstAllocatesOrFaults) {
    const ModelConfig config = GetParam().config();
    const std::optional<LoraSettings> lora = GetParam().lora();
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
        std::vector<PackedBatch> batches;
        for (const PackLengths& lengths : packs()) batches.push_back(batch_of(lengths, config.vocabulary));
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
        EXPECT_LE(faults, faults_max) << threads << " threads";
    }
}

/// Packs of each step of a cycle: at first one, then none, then all.
const std::vector<std::vector<std::size_t>> cycle = {{0}, {}, {0, 1, 2, 3}, {2}, {3, 1}};

/// The whole plan of `steps` steps as the one rank is given it; every segment is a sample of its own.
StepWindow window_of(std::size_t steps) {
    std::vector<std::uint64_t> first_sample = {0};
    for (const PackLengths& lengths : packs()) first_sample.push_back(first_sample.back() + lengths.size());
    StepWindow window;
    PlanSlice& slice = window.slice;
    slice.step_end = steps;
    for (std::size_t step = 0; step < steps; ++step) {
        std::uint64_t targets = 0;
        for (const std::size_t index : cycle[step % cycle.size()]) {
            slice.pack.push_back(slice.pack.size());
            for (std::size_t i = 0; i < packs()[index].size(); ++i) {
                slice.segment_sample.push_back(first_sample[index] + i);
                slice.segment_offset.push_back(0);
                slice.segment_tokens.push_back(static_cast<std::uint32_t>(packs()[index][i]));
                targets += packs()[index][i] - 1;
            }
            slice.segment_begin.push_back(slice.segment_sample.size());
        }
        window.step_packs.push_back(slice.pack.size());
        window.step_targets.push_back(targets);
        slice.step_pack_begin.push_back(slice.pack.size());
    }
    check_slice(slice);
    return window;
}

// Replay, verdict, ledger rows, schedule and metrics are in it: the loop as it trains.
TEST_P(SteadyStateTest, TheWorkersLoopAllocatesNothingButItsLineOfMetrics) {
    const TemporaryDirectory folder;
    std::vector<SmallSample> texts;
    for (const PackLengths& lengths : packs()) {
        for (const std::size_t length : lengths)
            texts.push_back({small_tokens(length, texts.size()), {}, {}});
    }
    SampleSource samples;
    samples.add(
        std::make_shared<const Corpus>(Corpus::open(write_small_corpus(folder / "corpus.h5", texts))));
    TrainSettings settings;
    settings.model = GetParam().config();
    settings.lora = GetParam().lora();
    settings.optimizer.schedule_steps = 1000;
    const std::uint64_t warm_steps = cycle.size(), quiet_steps = 2 * cycle.size();

    for (const int threads : {1, 2}) {
        ThreadPool pool(threads);
        const Gemm gemm(pool, GemmBackend::own, {});
        const auto comm = make_serial_communicator();
        PlanSummary plan;
        plan.num_steps = 2 * (warm_steps + quiet_steps);
        plan.num_epochs = 1;
        plan.epoch_begin = {0, plan.num_steps};
        plan.pack_tokens_max = plan.segment_tokens_max = tokens_max;
        plan.plan.bytes[0] = 1;
        Worker worker(*comm, gemm, plan, samples, small_vocabulary, settings);
        worker.fetch_window = [&](std::uint64_t) { return window_of(plan.num_steps); };
        WorkerOptions options;
        options.run = folder / ("run-" + std::to_string(threads));
        std::filesystem::create_directories(options.run);
        options.stop_step = plan.num_steps;
        worker.start(std::nullopt, options.run);

        // In memory alone.
        worker.advance_to(warm_steps);
        std::size_t faults_before = page_faults();
        allocations = 0;
        counting = true;
        worker.advance_to(warm_steps + quiet_steps);
        counting = false;
        EXPECT_EQ(allocations.load(), 0U) << threads << " threads";
        EXPECT_LE(page_faults() - faults_before, faults_max) << threads << " threads";

        // With metrics and a ledger. What a line of metrics takes, another log tells.
        MetricsLog other_log(folder.path(), 0);
        const std::uint64_t counted_from = 2 * warm_steps + quiet_steps;
        std::size_t of_lines = 0, faults = 0;
        worker.on_step = [&](const StepMetrics& metrics) {
            if (metrics.step < counted_from) return;
            if (metrics.step == counted_from) {
                faults_before = page_faults();
                allocations = 0;
                counting = true;
                return;
            }
            const std::size_t before = allocations.load();
            other_log.append(metrics);
            of_lines += allocations.load() - before;
            // Before the last generation, which ends the run.
            if (metrics.step + 1 == plan.num_steps) {
                counting = false;
                faults = page_faults() - faults_before;
            }
        };
        EXPECT_EQ(worker.run(options).next_step, plan.num_steps);
        EXPECT_FALSE(counting.load());
        EXPECT_GT(of_lines, 0U);
        EXPECT_EQ(allocations.load(), 2 * of_lines) << threads << " threads";
        EXPECT_LE(faults, faults_max) << threads << " threads";
    }
}

}  // namespace
}  // namespace lockstep
