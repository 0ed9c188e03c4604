// What do bits that depend on nothing cost? Rate of each matrix product backend on
// the shapes of a training step, beside plain sgemm of OpenBLAS.
//
//   gemm_bench --benchmark_filter='124m.*threads:2' --benchmark_min_time=0.3
//
// Shares of one run, by name of a model: `lockstep bench gemm`.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "kernels/gemm.h"
#include "kernels/speed_probe.h"

namespace {

using namespace lockstep;
using Form = GemmShape::Form;

struct NamedShape {
    const char* name;
    GemmShape shape;
};

// 124M at 1024 tokens, then small and tiny presets, then few rows.
const std::vector<NamedShape> shapes{
    {"124m_qkv_forward", {Form::nt, 1024, 2304, 768}},
    {"124m_proj_forward", {Form::nt, 1024, 768, 768}},
    {"124m_fc1_forward", {Form::nt, 1024, 3072, 768}},
    {"124m_fc2_forward", {Form::nt, 1024, 768, 3072}},
    {"124m_fc1_dX", {Form::nn, 1024, 768, 3072}},
    {"124m_fc1_dW", {Form::tn, 3072, 768, 1024}},
    {"124m_fc1_dW_128_tokens", {Form::tn, 3072, 768, 128}},
    {"124m_head_tile", {Form::nt, 256, 8192, 768}},
    {"124m_qkv_300_tokens", {Form::nt, 300, 2304, 768}},
    {"124m_qkv_64_tokens", {Form::nt, 64, 2304, 768}},
    {"small_qkv_forward", {Form::nt, 1024, 768, 256}},
    {"small_fc2_forward", {Form::nt, 1024, 256, 1024}},
    {"small_fc1_dW", {Form::tn, 1024, 256, 1024}},
    {"tiny_proj_forward", {Form::nt, 1024, 128, 128}},
    {"tiny_fc1_forward", {Form::nt, 1024, 512, 128}},
    {"tiny_fc2_forward", {Form::nt, 1024, 128, 512}},
    {"tiny_fc1_dX", {Form::nn, 1024, 128, 512}},
    {"tiny_fc1_dW", {Form::tn, 512, 128, 1024}},
    {"tiny_proj_dW", {Form::tn, 128, 128, 1024}},
    {"nano_fc1_forward", {Form::nt, 1024, 256, 64}},
    {"one_row", {Form::nt, 1, 2304, 768}},
    {"eight_rows", {Form::nt, 8, 2304, 768}},
};

void count_flop(benchmark::State& state, const GemmShape& shape) {
    state.counters["flop"] = benchmark::Counter(flop_of(shape) * static_cast<double>(state.iterations()),
                                                benchmark::Counter::kIsRate);
}

void plain_sgemm(benchmark::State& state, const GemmShape& shape, int threads) {
    ThreadPool pool(threads);
    ProductProbe probe({&shape, 1});
    for (auto _ : state) probe.sgemm(pool, shape);
    count_flop(state, shape);
}

void by_backend(benchmark::State& state, const GemmShape& shape, int threads, GemmBackend backend,
                KernelIsa isa) {
    const KernelIsa widest = kernel_isa();
    set_kernel_isa(isa);
    {
        ThreadPool pool(threads);
        const Gemm gemm(pool, backend, {});
        ProductProbe probe({&shape, 1});
        for (auto _ : state) probe.multiply(gemm, shape);
    }
    set_kernel_isa(widest);
    count_flop(state, shape);
}

void fma_in_registers(benchmark::State& state, KernelIsa isa, int threads) {
    ThreadPool pool(threads);
    double rate = 0;
    for (auto _ : state) rate = std::max(rate, measure_fma_rate(pool, isa, 0.001));
    state.counters["flop"] = rate;
}

const bool all_registered = [] {
    const auto named = [](const std::string& name, int threads, auto&&... arguments) {
        benchmark::RegisterBenchmark((name + "/threads:" + std::to_string(threads)).c_str(),
                                     std::forward<decltype(arguments)>(arguments)...)
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
    };
    for (const int threads : {1, 2}) {
        for (const KernelIsa isa : {KernelIsa::avx512, KernelIsa::avx2, KernelIsa::scalar}) {
            if (!kernel_isa_supported(isa)) continue;  // No error: a CPU without them passes.
            named("fma_in_registers/" + name_of(isa), threads, fma_in_registers, isa, threads);
        }
        for (const auto& [name, shape] : shapes) {
            const std::string start = std::string(name) + "/";
            const KernelIsa widest = kernel_isa();
            named(start + "sgemm", threads, plain_sgemm, shape, threads);
            named(start + "auto", threads, by_backend, shape, threads, GemmBackend::automatic, widest);
            named(start + "own", threads, by_backend, shape, threads, GemmBackend::own, widest);
            if (!kernel_isa_supported(KernelIsa::avx2)) continue;
            named(start + "own_avx2", threads, by_backend, shape, threads, GemmBackend::own, KernelIsa::avx2);
        }
    }
    return true;
}();

}  // namespace
