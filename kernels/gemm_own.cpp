#include <memory>
#include <new>

#include "kernels/blas_runtime.h"
#include "kernels/gemm_blocked.h"
#include "kernels/gemm_kernels.h"
#include "kernels/reference/gemm.h"

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

}  // namespace lockstep
