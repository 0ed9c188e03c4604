// What do bits that depend on nothing cost? Rate of each matrix product backend on
// the shapes of a training step, beside plain sgemm of OpenBLAS in the same rounds.
//
// Usage: gemm_bench [seconds a shape = 0.4] [threads = all of 1, 2]
// Every round runs each candidate once; a column is the best round (the machine may
// be shared, and what disturbs a round only ever slows it). [Gflop/s]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "kernels/blas_runtime.h"
#include "kernels/gemm.h"

namespace {

using namespace lockstep;
using Form = GemmShape::Form;
using Clock = std::chrono::steady_clock;

struct NamedShape {
    const char* name;
    GemmShape shape;
};

// 124M at 1024 tokens, then small and tiny presets, then few rows.
const std::vector<NamedShape> shapes{
    {"124m qkv forward", {Form::nt, 1024, 2304, 768}},
    {"124m proj forward", {Form::nt, 1024, 768, 768}},
    {"124m fc1 forward", {Form::nt, 1024, 3072, 768}},
    {"124m fc2 forward", {Form::nt, 1024, 768, 3072}},
    {"124m fc1 dX", {Form::nn, 1024, 768, 3072}},
    {"124m fc1 dW", {Form::tn, 3072, 768, 1024}},
    {"124m fc1 dW, 128 tokens", {Form::tn, 3072, 768, 128}},
    {"124m head tile", {Form::nt, 256, 8192, 768}},
    {"124m qkv, 300 tokens", {Form::nt, 300, 2304, 768}},
    {"124m qkv, 64 tokens", {Form::nt, 64, 2304, 768}},
    {"small qkv forward", {Form::nt, 1024, 768, 256}},
    {"small fc2 forward", {Form::nt, 1024, 256, 1024}},
    {"small fc1 dW", {Form::tn, 1024, 256, 1024}},
    {"tiny proj forward", {Form::nt, 1024, 128, 128}},
    {"tiny fc1 forward", {Form::nt, 1024, 512, 128}},
    {"tiny fc2 forward", {Form::nt, 1024, 128, 512}},
    {"tiny fc1 dX", {Form::nn, 1024, 128, 512}},
    {"tiny fc1 dW", {Form::tn, 512, 128, 1024}},
    {"tiny proj dW", {Form::tn, 128, 128, 1024}},
    {"nano fc1 forward", {Form::nt, 1024, 256, 64}},
    {"one row", {Form::nt, 1, 2304, 768}},
    {"eight rows", {Form::nt, 8, 2304, 768}},
};

struct Operands {
    std::vector<float> a, b, c;
    GemmShape shape;

    explicit Operands(const GemmShape& s) : a(s.m * s.k), b(s.n * s.k), c(s.m * s.n), shape(s) {
        for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 977) * 0.001f;
        for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 613) * 0.001f;
    }

    void multiply(const Gemm& gemm) {
        const auto [form, m, n, k] = shape;
        const MatrixView out(c.data(), m, n);
        switch (form) {
            case Form::nt:
                gemm.multiply_nt({a.data(), m, k}, ConstMatrixView(b.data(), n, k), out, Accumulate::no);
                break;
            case Form::nn:
                gemm.multiply_nn({a.data(), m, k}, ConstMatrixView(b.data(), k, n), out, Accumulate::no);
                break;
            case Form::tn:
                gemm.multiply_tn({a.data(), k, m}, {b.data(), k, n}, out, Accumulate::no);
                break;
        }
    }
};

void run(double seconds, int threads) {
    ThreadPool pool(threads);
    const Gemm chosen(pool, GemmBackend::automatic, {});
    const Gemm own(pool, GemmBackend::own, {});
    const KernelIsa widest = kernel_isa();
    std::printf("\n%d thread(s): auto is %s\n", threads, chosen.describe().c_str());
    std::printf("%-26s %8s %8s %8s %8s   %s\n", "shape", "sgemm", "auto", "own", "own avx2",
                "auto/sgemm own/auto");
    for (const NamedShape& entry : shapes) {
        Operands x(entry.shape);
        const auto [form, m, n, k] = entry.shape;
        double best[4] = {};
        const double flop = 2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        const auto timed = [&](double& rate, const std::function<void()>& body) {
            const auto start = Clock::now();
            body();
            rate = std::max(rate, flop / std::chrono::duration<double>(Clock::now() - start).count());
        };
        const auto start = Clock::now();
        while (std::chrono::duration<double>(Clock::now() - start).count() < seconds) {
            best[0] = std::max(best[0], 1e-9 * measure_sgemm_rate(m, n, k, threads, 0));
            for (int i = 0; i < 3; ++i) {
                timed(best[1], [&] { x.multiply(chosen); });
                timed(best[2], [&] { x.multiply(own); });
                set_kernel_isa(KernelIsa::avx2);
                timed(best[3], [&] { x.multiply(own); });
                set_kernel_isa(widest);
            }
        }
        std::printf("%-26s %8.1f %8.1f %8.1f %8.1f   %.2f %.2f\n", entry.name, best[0], best[1], best[2],
                    best[3], best[1] / best[0], best[2] / best[1]);
        std::fflush(stdout);
    }
}

}  // namespace

int main(int argc, char** argv) {
    ensure_blas_core_type(argv);
    try {
        const double seconds = argc > 1 ? std::atof(argv[1]) : 0.4;
        const std::vector<int> counts =
            argc > 2 ? std::vector<int>{std::atoi(argv[2])} : std::vector<int>{1, 2};
        for (const int threads : counts) run(seconds, threads);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "gemm_bench: %s\n", failure.what());
        return 1;
    }
    return 0;
}
