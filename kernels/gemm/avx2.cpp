// Compiled for AVX2 and FMA; see CMakeLists.txt for what such a file may include.

#include "kernels/gemm/blocked.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/lanes_avx2.h"

namespace lockstep {

void multiply_avx2(const GemmProblem& problem, float* scratch) {
    multiply_by_tiles<Avx2Lanes>(problem, scratch);
}

void pack_avx2(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    pack_panels<Avx2Lanes>(b, lines, block_k, Avx2Lanes::tile_vectors * Avx2Lanes::width, panels);
}

}  // namespace lockstep
