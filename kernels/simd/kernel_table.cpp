#include "kernels/simd/kernel_table.h"

#include "kernels/blas_runtime.h"

namespace lockstep {

const KernelTable& kernel_table() {
    switch (kernel_isa()) {
        case KernelIsa::avx512:
            return simd_avx512::table;
        case KernelIsa::avx2:
            return simd_avx2::table;
        case KernelIsa::scalar:
            break;
    }
    return simd_scalar::table;
}

}  // namespace lockstep
