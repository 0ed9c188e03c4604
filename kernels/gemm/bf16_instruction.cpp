// The product of the contract bf16 with vdpbf16ps. Compiled for AVX-512 with BF16; see CMakeLists.txt for
// what such a file may include.

#include "kernels/gemm/bf16_blocked.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/lanes_avx512.h"

namespace lockstep {

namespace {

// Word 2i from word 16 + i, word 2i + 1 from word i.
alignas(64) constexpr short interleaved[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                               8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

struct InstructionLanes : Avx512Lanes {
    static constexpr std::size_t partner = 1;
    static constexpr std::size_t small_tile_rows = 4;  // 24 registers, and a line of B for either chain.
    static constexpr std::size_t pairs_ahead = tile_rows / small_tile_rows;

    /// x in the low sixteen words, y in the high ones.
    LOCKSTEP_INLINE __m512i words(Vector x, Vector y) { return (__m512i)_mm512_cvtne2ps_pbh(y, x); }
    LOCKSTEP_INLINE Vector pair(Vector x, Vector y) {
        return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(interleaved), words(y, x)));
    }
    LOCKSTEP_INLINE Vector pair_line(const float* p, std::size_t n) {
        const std::size_t in_first = n < width ? n : width;
        const Vector x = load_first(p, in_first);
        const Vector y = load_first(p + in_first, n - in_first);
        return _mm512_castsi512_ps(_mm512_rol_epi32(words(x, y), 16));
    }
    LOCKSTEP_INLINE Vector dot(Vector sum, Vector a, Vector b) {
        return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
    }
};

}  // namespace

void multiply_bf16_instruction(const GemmProblem& problem, float* scratch) {
    multiply_by_pair_tiles<InstructionLanes>(problem, scratch);
}

void pack_bf16_instruction(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    if (!can_stream(panels)) return pack_pair_panels<InstructionLanes>(b, lines, block_k, panels);
    pack_pair_panels<StreamingLanes<InstructionLanes>>(b, lines, block_k, panels);
    _mm_sfence();
}

void dot_pairs_by_instruction(const float* sums, const unsigned* a, const unsigned* b, float* out) {
    _mm512_storeu_ps(out,
                     InstructionLanes::dot(_mm512_loadu_ps(sums), _mm512_castsi512_ps(_mm512_loadu_si512(a)),
                                           _mm512_castsi512_ps(_mm512_loadu_si512(b))));
}

}  // namespace lockstep
