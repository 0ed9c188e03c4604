#include <array>
#include <memory>
#include <new>

#include "kernels/blas_runtime.h"
#include "kernels/gemm/blocked.h"
#include "kernels/gemm/kernels.h"
#include "kernels/reference/gemm.h"
#include "kernels/reference/gemm_bf16.h"

namespace lockstep {

namespace {

float* thread_scratch() {
    constexpr std::align_val_t cache_line{64};
    struct Deleter {
        void operator()(float* p) const { ::operator delete(p, cache_line); }
    };
    thread_local const std::unique_ptr<float, Deleter> scratch(
        static_cast<float*>(::operator new(gemm_scratch_floats * sizeof(float), cache_line)));
    return scratch.get();
}

template <void (*Multiply)(const GemmProblem&, float*)>
void with_thread_scratch(const GemmProblem& problem) {
    Multiply(problem, thread_scratch());
}

// The fastest first.
constexpr std::array all_bf16_kernels{
    Bf16Kernel{"AMX", false, with_thread_scratch<multiply_bf16_amx>, pack_bf16_amx},
    Bf16Kernel{"vdpbf16ps", false, with_thread_scratch<multiply_bf16_instruction>, pack_bf16_instruction},
    Bf16Kernel{"avx512 emulation", true, with_thread_scratch<multiply_bf16_avx512>, pack_bf16_avx512},
    Bf16Kernel{"avx2 emulation", true, with_thread_scratch<multiply_bf16_avx2>, pack_bf16_avx2},
    Bf16Kernel{"scalar model", true, reference::multiply_bf16, nullptr}};

}  // namespace

void multiply_own(const GemmProblem& problem) {
    switch (kernel_isa()) {
        case KernelIsa::avx512:
            return multiply_avx512(problem, thread_scratch());
        case KernelIsa::avx2:
            return multiply_avx2(problem, thread_scratch());
        case KernelIsa::scalar:
            return reference::multiply(problem);
    }
}

std::size_t own_scratch_bytes() {
    return gemm_scratch_floats * sizeof(float);
}

bool own_reads_panels() {
    return kernel_isa() != KernelIsa::scalar;
}

void pack_own(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    if (kernel_isa() == KernelIsa::avx512) return pack_avx512(b, lines, block_k, panels);
    pack_avx2(b, lines, block_k, panels);
}

std::span<const Bf16Kernel> bf16_kernels() {
    const std::span<const Bf16Kernel> all(all_bf16_kernels);
    switch (kernel_isa()) {
        case KernelIsa::avx512:
            return all.subspan(cpu_has_bf16_tiles() ? 0 : cpu_has_bf16_dot() ? 1 : 2);
        case KernelIsa::avx2:
            return all.subspan(3);
        case KernelIsa::scalar:
            break;
    }
    return all.last(1);
}

}  // namespace lockstep
