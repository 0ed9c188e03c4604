// The product of the contract bf16 without its instruction. Compiled for AVX-512; see CMakeLists.txt for what
// such a file may include.

#include "kernels/gemm/bf16_blocked.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/lanes_avx512.h"

namespace lockstep {

namespace {

struct FlushingAvx512Lanes : Avx512Lanes {
    static constexpr std::size_t partner = 1;
    static constexpr std::size_t small_tile_rows = 0;
    static constexpr std::size_t pairs_ahead = 4;

    LOCKSTEP_INLINE __m512i high_half(__m512i x) {
        return _mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffff0000U)));
    }
    /// bf16 in the high half; the low half is anything.
    LOCKSTEP_INLINE __m512i rounded(Vector x) {
        const __m512i bits = _mm512_castps_si512(x);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
        const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
        const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
        const __mmask16 denormal = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
        const __mmask16 not_a_number = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
        const __m512i number = _mm512_mask_blend_epi32(not_a_number, up, quiet);
        return _mm512_mask_and_epi32(number, denormal, bits,
                                     _mm512_set1_epi32(static_cast<int>(0x80000000U)));
    }
    LOCKSTEP_INLINE Vector pair(Vector x, Vector y) {
        return _mm512_castsi512_ps(_mm512_or_si512(high_half(rounded(x)), _mm512_srli_epi32(rounded(y), 16)));
    }
    LOCKSTEP_INLINE Vector pair_line(const float* p, std::size_t n) {
        const std::size_t in_first = n < width ? n : width;
        const Vector x = load_first(p, in_first);
        const Vector y = load_first(p + in_first, n - in_first);
        const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        return pair(_mm512_permutex2var_ps(x, even, y), _mm512_permutex2var_ps(x, odd, y));
    }
    LOCKSTEP_INLINE Vector dot(Vector sum, Vector a, Vector b) {
        const __m512i x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
        sum = fma(_mm512_castsi512_ps(high_half(x)), _mm512_castsi512_ps(high_half(y)), sum);
        return fma(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                   _mm512_castsi512_ps(_mm512_slli_epi32(y, 16)), sum);
    }
};

}  // namespace

void multiply_bf16_avx512(const GemmProblem& problem, float* scratch) {
    multiply_by_pair_tiles<FlushingAvx512Lanes>(problem, scratch);
}

void pack_bf16_avx512(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    pack_pair_panels<FlushingAvx512Lanes>(b, lines, block_k, panels);
}

}  // namespace lockstep
