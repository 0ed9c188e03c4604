#include "worker/step_forecast.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <vector>

#include "io/base/large_pages.h"
#include "worker/exact_sum.h"

namespace lockstep {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::size_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::size_t whole = 0, resident = 0;
    file >> whole >> resident;
    return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

/// Attention, norms, activations and waiting: so much of a step's time in the layers is matrix product.
constexpr double product_share = 0.93;
/// Bytes read and written for each element of the state: laid out anew for the products, and of this rank's
/// slice the norm and the update.
constexpr double layout_bytes = 24, slice_bytes = 8 + 8 + 24;
/// The same for each pack: its gradient into the exact sum.
constexpr double pack_bytes = 20;

double product_rate(const ModelConfig& config, const Gemm& gemm, std::size_t tokens, double seconds) {
    const std::size_t rows = std::min<std::size_t>(tokens, 512);
    double flop = 0, spent = 0;
    LargeVector<float> a, b, c, panels;
    const Clock::time_point begin = Clock::now();
    do {
        for (const GemmShape& shape : gemm_shapes(config, rows)) {
            if (shape.form == GemmShape::Form::nn) continue;
            // A slice of the vocabulary is as good as all of it.
            const std::size_t m = std::min<std::size_t>(shape.m, 4096), k = shape.k;
            const std::size_t n = std::min<std::size_t>(shape.n, 4096);
            a.resize(std::max(a.size(), m * k), 0.5F);
            b.resize(std::max(b.size(), n * k), 0.25F);
            c.resize(std::max(c.size(), m * n), 0.0F);
            const MatrixView out(c.data(), m, n);
            Clock::time_point start = Clock::now();
            if (shape.form == GemmShape::Form::nt) {
                const ConstMatrixView weight(b.data(), n, k);
                panels.resize(std::max(panels.size(), gemm.nt_panel_floats(n, k)), 0.0F);
                const bool lays_out = gemm.nt_panel_floats(n, k) > 0;
                if (lays_out) gemm.pack_nt(weight, panels.data());
                start = Clock::now();
                gemm.multiply_nt({a.data(), m, k}, {weight, lays_out ? panels.data() : nullptr}, out,
                                 Accumulate::no);
            } else {
                gemm.multiply_tn({a.data(), k, m}, {b.data(), k, n}, out, Accumulate::no);
            }
            spent += seconds_since(start);
            flop += 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        }
    } while (seconds_since(begin) < seconds);
    return flop / spent;
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
                       Activations activations, WorldSize world_size) {
    const std::size_t elements = StateLayout(config).size();
    const std::size_t slice = state_slice(elements, Rank{0}, world_size).size();
    RankMemory memory;
    memory.program = resident_bytes();
    memory.weights = elements * sizeof(float);
    memory.moments = 2 * slice * sizeof(float);
    memory.exact_sum = ExactSum::bytes(elements, world_size);
    memory.scratch = gemm.scratch_bytes();
    memory.transformer = transformer_memory(config, gemm, tokens_max, activations);
    return memory;
}

MachineRate probe_machine(const ModelConfig& config, const Gemm& gemm, std::size_t tokens, double seconds) {
    return {product_rate(config, gemm, tokens, 0.75 * seconds), memory_rate(gemm.pool(), 0.25 * seconds)};
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
