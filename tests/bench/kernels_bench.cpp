// How fast is everything that is not a matrix product? Attention by segment length,
// and the sweeps over memory in bytes a second, beside memcpy.
//
//   kernels_bench --benchmark_filter=attention
//
// One thread; attention's share of the machine's roof: `lockstep bench attention`.

#include <benchmark/benchmark.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/exact_accumulate.h"
#include "kernels/norm.h"
#include "kernels/optimizer.h"

namespace {

using namespace lockstep;

constexpr std::size_t rows = 1024, width = 768, ffn = 3072;
constexpr std::size_t state_elements = 1024 * state_block;  // 16 MiB of floats: not in a cache of a core.

std::vector<float> numbers(std::size_t count) {
    std::vector<float> values(count);
    for (std::size_t i = 0; i < count; ++i)
        values[i] = static_cast<float>(i * 2654435761U % 1999) * 1e-3F - 1;
    return values;
}

void count_bytes(benchmark::State& state, std::size_t bytes) {
    state.SetBytesProcessed(static_cast<std::int64_t>(bytes) * state.iterations());
}

void attention(benchmark::State& state, bool backward) {
    const AttentionShape shape{12, 12, 64};
    const auto length = static_cast<std::size_t>(state.range(0));
    const std::size_t tokens = 2048;
    std::vector<std::int32_t> cu_seqlens;
    for (std::size_t begin = 0; begin <= tokens; begin += length) {
        cu_seqlens.push_back(static_cast<std::int32_t>(begin));
    }
    ThreadPool pool(1);
    const std::vector<float> qkv = numbers(tokens * shape.qkv_width());
    const std::vector<float> d_out = numbers(tokens * shape.query_width());
    std::vector<float> out(d_out.size()), d_qkv(qkv.size()), softmax(2 * tokens * shape.num_heads);
    const auto forward = [&] {
        attention_forward(pool, shape, cu_seqlens, {qkv.data(), tokens, shape.qkv_width()},
                          {out.data(), tokens, shape.query_width()}, softmax);
    };
    forward();
    for (auto _ : state) {
        if (!backward) {
            forward();
            continue;
        }
        attention_backward(pool, shape, cu_seqlens, {qkv.data(), tokens, shape.qkv_width()},
                           {d_out.data(), tokens, shape.query_width()}, softmax,
                           {d_qkv.data(), tokens, shape.qkv_width()});
    }
    // The causal half; backward makes five products where forward makes two.
    const auto l = static_cast<double>(length);
    const double forward_flop = 4.0 * static_cast<double>(shape.query_width() * tokens) * (l + 1) / 2;
    state.counters["flop"] =
        benchmark::Counter(forward_flop * (backward ? 2.5 : 1.0) * static_cast<double>(state.iterations()),
                           benchmark::Counter::kIsRate);
}
BENCHMARK_CAPTURE(attention, forward, false)
    ->RangeMultiplier(2)
    ->Range(64, 2048)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(attention, backward, true)
    ->RangeMultiplier(2)
    ->Range(64, 2048)
    ->Unit(benchmark::kMillisecond);

void memory_copy(benchmark::State& state) {
    const std::vector<float> from = numbers(state_elements);
    std::vector<float> to(from.size());
    for (auto _ : state) {
        std::memcpy(to.data(), from.data(), 4 * from.size());
        benchmark::ClobberMemory();
    }
    count_bytes(state, 8 * from.size());
}
BENCHMARK(memory_copy)->Unit(benchmark::kMicrosecond);

/// Buffers for any kernel over (rows, width) or (rows, ffn); `bytes` are those read and written by one call.
void over_rows(benchmark::State& state, std::size_t columns, std::size_t floats_an_element,
               const std::function<void(ThreadPool&, MatrixView x, MatrixView y, MatrixView d)>& kernel) {
    ThreadPool pool(1);
    std::vector<float> x = numbers(rows * columns), y = x, d = x;
    for (auto _ : state) {
        kernel(pool, {x.data(), rows, columns}, {y.data(), rows, columns}, {d.data(), rows, columns});
    }
    count_bytes(state, 4 * floats_an_element * rows * columns);
}

void layer_norm(benchmark::State& state, bool backward) {
    const std::vector<float> gain = numbers(width), bias = numbers(width);
    std::vector<float> mean(rows), rstd(rows, 1.0F), d_gain(width), d_bias(width);
    over_rows(state, width, backward ? 4 : 2,
              [&](ThreadPool& pool, MatrixView x, MatrixView y, MatrixView d) {
                  if (backward) {
                      layer_norm_backward(pool, x, gain, mean, rstd, y, d, d_gain, d_bias);
                  } else {
                      layer_norm_forward(pool, x, gain, bias, 1e-5F, y, mean, rstd);
                  }
              });
}
BENCHMARK_CAPTURE(layer_norm, forward, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(layer_norm, backward, true)->Unit(benchmark::kMicrosecond);

void rms_norm(benchmark::State& state, bool backward) {
    const std::vector<float> gain = numbers(width);
    std::vector<float> rstd(rows, 1.0F), d_gain(width);
    over_rows(state, width, backward ? 4 : 2,
              [&](ThreadPool& pool, MatrixView x, MatrixView y, MatrixView d) {
                  if (backward) {
                      rms_norm_backward(pool, x, gain, rstd, y, d, d_gain);
                  } else {
                      rms_norm_forward(pool, x, gain, 1e-5F, y, rstd);
                  }
              });
}
BENCHMARK_CAPTURE(rms_norm, forward, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(rms_norm, backward, true)->Unit(benchmark::kMicrosecond);

void gelu(benchmark::State& state, bool backward) {
    const std::vector<float> bias(ffn);
    over_rows(state, ffn, 3, [&](ThreadPool&, MatrixView x, MatrixView y, MatrixView d) {
        if (backward) {
            gelu_backward(x, d);
        } else {
            add_bias_gelu_forward(x, bias, y);
        }
    });
}
BENCHMARK_CAPTURE(gelu, forward, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(gelu, backward, true)->Unit(benchmark::kMicrosecond);

void bias(benchmark::State& state, bool backward) {
    std::vector<float> values = numbers(ffn);
    over_rows(state, ffn, backward ? 1 : 2, [&](ThreadPool& pool, MatrixView, MatrixView y, MatrixView d) {
        if (backward) {
            bias_gradient(pool, d, values);
        } else {
            add_bias(y, values);
        }
    });
}
BENCHMARK_CAPTURE(bias, add, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(bias, gradient, true)->Unit(benchmark::kMicrosecond);

void adamw(benchmark::State& state) {
    ThreadPool pool(1);
    const std::vector<float> gradient = numbers(state_elements);
    std::vector<float> weights = gradient, m(state_elements), v(state_elements);
    const AdamWStep step{1e-4F, 0.9F, 0.95F, 1e-8F, 0.1F, 0.5F, 0.5F, 1.0F};
    for (auto _ : state) adamw_update(pool, step, gradient, weights, m, v);
    count_bytes(state, 28 * state_elements);  // Four arrays read, three of them written.
}
BENCHMARK(adamw)->Unit(benchmark::kMicrosecond);

void square_sums(benchmark::State& state) {
    ThreadPool pool(1);
    const std::vector<float> values = numbers(state_elements);
    std::vector<double> sums(state_elements / state_block);
    for (auto _ : state) block_square_sums(pool, values, sums);
    count_bytes(state, 4 * state_elements);
}
BENCHMARK(square_sums)->Unit(benchmark::kMicrosecond);

void exact_accumulate(benchmark::State& state, bool first) {
    ThreadPool pool(1);
    const std::vector<float> gradient = numbers(state_elements);
    std::vector<std::int64_t> accumulator(state_elements);
    for (auto _ : state) {
        benchmark::DoNotOptimize(accumulate_exact(pool, gradient, 30, 8, first, accumulator));
    }
    count_bytes(state, (first ? 12 : 20) * state_elements);
}
BENCHMARK_CAPTURE(exact_accumulate, write, true)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(exact_accumulate, add, false)->Unit(benchmark::kMicrosecond);

void exact_back_to_float(benchmark::State& state) {
    ThreadPool pool(1);
    const std::vector<std::int64_t> sum(state_elements, 12345);
    std::vector<float> out(state_elements);
    for (auto _ : state) exact_to_float(pool, sum, 30, out);
    count_bytes(state, 12 * state_elements);
}
BENCHMARK(exact_back_to_float)->Unit(benchmark::kMicrosecond);

}  // namespace
