#include "worker/step_forecast.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "io/base/large_pages.h"
#include "io/base/process_memory.h"
#include "kernels/speed_probe.h"
#include "worker/exact_sum.h"

namespace lockstep {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Attention, norms, activations and waiting: so much of a step's time in the layers is matrix product.
constexpr double product_share = 0.93;
/// Bytes read and written for each element of the state: laid out anew for the products, and of this rank's
/// slice the norm and the update.
constexpr double layout_bytes = 24, slice_bytes = 8 + 8 + 24;
/// The same for each pack: its gradient into the exact sum.
constexpr double pack_bytes = 20;

/// Of the model's products in a step, small enough for a short probe.
std::vector<GemmShape> probe_shapes(const ModelConfig& config, std::size_t tokens,
                                    const std::optional<LoraSettings>& lora) {
    std::vector<GemmShape> shapes = gemm_shapes(config, std::min<std::size_t>(tokens, 512), lora);
    for (GemmShape& shape : shapes) {
        // A slice of the vocabulary is as good as all of it.
        shape.m = std::min<std::size_t>(shape.m, 4096);
        shape.n = std::min<std::size_t>(shape.n, 4096);
        shape.k = std::min<std::size_t>(shape.k, 4096);
    }
    return shapes;
}

/// Rate over all shapes, again and again for about `seconds` [flop/s].
/// @param prepare  not timed.
template <class Prepare, class Multiply>
double rate_over(const std::vector<GemmShape>& shapes, double seconds, const Prepare& prepare,
                 const Multiply& multiply) {
    double flop = 0, spent = 0;
    const Clock::time_point begin = Clock::now();
    do {
        for (const GemmShape& shape : shapes) {
            prepare(shape);
            const Clock::time_point start = Clock::now();
            multiply(shape);
            spent += seconds_since(start);
            flop += flop_of(shape);
        }
    } while (seconds_since(begin) < seconds);
    return flop / spent;
}

double product_rate(const ModelConfig& config, const Gemm& gemm, std::size_t tokens, double seconds,
                    const std::optional<LoraSettings>& lora) {
    const std::vector<GemmShape> shapes = probe_shapes(config, tokens, lora);
    ProductProbe probe(shapes);
    return rate_over(
        shapes, seconds, [&](const GemmShape& shape) { probe.lay_out(gemm, shape); },
        [&](const GemmShape& shape) { probe.multiply_laid_out(gemm, shape); });
}

double memory_rate(ThreadPool& pool, double seconds) {
    constexpr std::size_t elements = std::size_t{1} << 25U;  // 128 MiB
    LargeVector<float> from(elements, 1.0F), to(elements, 0.0F);
    double best = 0;
    const Clock::time_point begin = Clock::now();
    do {
        const Clock::time_point start = Clock::now();
        pool.for_ranges(elements, 4096, [&](std::size_t first, std::size_t last) {
            for (std::size_t i = first; i < last; ++i) to[i] += from[i];
        });
        best = std::max(best, 12.0 * static_cast<double>(elements) / seconds_since(start));
    } while (seconds_since(begin) < seconds);
    return best;
}

}  // namespace

RankMemory rank_memory(const ModelConfig& config, const Gemm& gemm, std::size_t tokens_max,
                       Activations activations, WorldSize world_size, SnapshotMode snapshot,
                       const std::optional<LoraSettings>& lora) {
    const std::size_t elements = trainable_layout(config, lora).size();
    const std::size_t slice = largest_slice(elements, world_size);
    RankMemory memory;
    memory.program = resident_bytes();
    memory.weights = StateLayout(config).size() * sizeof(float);
    memory.adapters = lora ? elements * sizeof(float) : 0;
    memory.moments = 2 * slice * sizeof(float);
    memory.exact_sum = ExactSum::bytes(elements, world_size);
    memory.scratch = gemm.scratch_bytes();
    memory.attention = attention_scratch_bytes(attention_shape(config, tokens_max), gemm.pool().size());
    memory.snapshot = StateSnapshot::bytes(elements, world_size, snapshot);
    memory.transformer = transformer_memory(config, gemm, tokens_max, activations, lora);
    return memory;
}

MachineRate probe_machine(const ModelConfig& config, const Gemm& gemm, std::size_t tokens, double seconds,
                          const std::optional<LoraSettings>& lora) {
    return {product_rate(config, gemm, tokens, 0.75 * seconds, lora),
            memory_rate(gemm.pool(), 0.25 * seconds)};
}

double probe_sgemm(const ModelConfig& config, ThreadPool& pool, std::size_t tokens, double seconds,
                   const std::optional<LoraSettings>& lora) {
    const std::vector<GemmShape> shapes = probe_shapes(config, tokens, lora);
    ProductProbe probe(shapes);
    // Called once to bring the operands close, as in the probe of `bench step`.
    const auto multiply = [&](const GemmShape& shape) { probe.sgemm(pool, shape); };
    return rate_over(shapes, seconds, multiply, multiply);
}

double forecast_step_seconds(const StepWork& work, const MachineRate& rank, std::size_t state_elements,
                             WorldSize world_size) {
    const double ranks = world_size.value;
    const auto elements = static_cast<double>(state_elements);
    const double compute = work.flop / ranks / rank.flop_per_second / product_share;
    const double bytes =
        elements * (layout_bytes + slice_bytes / ranks + pack_bytes * std::max(1.0, work.packs / ranks));
    return compute + bytes / rank.bytes_per_second;
}

}  // namespace lockstep
