// Main of the benchmarks: OpenBLAS must load with its core type before any of them.

#include <benchmark/benchmark.h>

#include <cstdio>
#include <exception>

#include "kernels/blas_runtime.h"

int main(int argc, char** argv) {
    lockstep::ensure_blas_core_type(argv);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    try {
        benchmark::AddCustomContext("instruction_set", lockstep::name_of(lockstep::kernel_isa()));
        benchmark::AddCustomContext("blas_core_type", lockstep::blas_core_type());
        benchmark::RunSpecifiedBenchmarks();
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "bench: %s\n", failure.what());
        return 1;
    }
    benchmark::Shutdown();
    return 0;
}
