// Compiled for AVX-512; see CMakeLists.txt for what such a file may include.

#include "kernels/gemm/blocked.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/lanes_avx512.h"

namespace lockstep {

void multiply_avx512(const GemmProblem& problem, float* scratch) {
    multiply_by_tiles<Avx512Lanes>(problem, scratch);
}

void pack_avx512(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    constexpr std::size_t panel_width = Avx512Lanes::tile_vectors * Avx512Lanes::width;
    if (!can_stream(panels)) return pack_panels<Avx512Lanes>(b, lines, block_k, panel_width, panels);
    pack_panels<StreamingLanes<Avx512Lanes>>(b, lines, block_k, panel_width, panels);
    _mm_sfence();
}

}  // namespace lockstep
