// The product of the contract bf16 without its instruction. Compiled for AVX2 and FMA; see CMakeLists.txt for
// what such a file may include.

#include "kernels/gemm/bf16_blocked.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/lanes_avx2.h"

namespace lockstep {

namespace {

struct FlushingAvx2Lanes : Avx2Lanes {
    static constexpr std::size_t partner = 1;
    static constexpr std::size_t small_tile_rows = 0;
    static constexpr std::size_t pairs_ahead = 4;

    LOCKSTEP_INLINE __m256i high_half(__m256i x) {
        return _mm256_and_si256(x, _mm256_set1_epi32(static_cast<int>(0xffff0000U)));
    }
    /// bf16 in the high half; the low half is anything.
    LOCKSTEP_INLINE __m256i rounded(Vector x) {
        const __m256i bits = _mm256_castps_si256(x);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        const __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
        const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
        const __m256i sign = _mm256_and_si256(bits, _mm256_set1_epi32(static_cast<int>(0x80000000U)));
        const __m256i exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f800000));
        const __m256i denormal = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
        const __m256i not_a_number = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        const __m256i number = _mm256_blendv_epi8(up, quiet, not_a_number);
        return _mm256_blendv_epi8(number, sign, denormal);
    }
    LOCKSTEP_INLINE Vector pair(Vector x, Vector y) {
        return _mm256_castsi256_ps(_mm256_or_si256(high_half(rounded(x)), _mm256_srli_epi32(rounded(y), 16)));
    }
    LOCKSTEP_INLINE Vector pair_line(const float* p, std::size_t n) {
        const std::size_t in_first = n < width ? n : width;
        const Vector x = load_first(p, in_first);
        const Vector y = load_first(p + in_first, n - in_first);
        // Each shuffle works inside its halves; the quarters are put in order after it.
        const auto ordered = [](Vector v) {
            return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
        };
        return pair(ordered(_mm256_shuffle_ps(x, y, 0x88)), ordered(_mm256_shuffle_ps(x, y, 0xdd)));
    }
    LOCKSTEP_INLINE Vector dot(Vector sum, Vector a, Vector b) {
        const __m256i x = _mm256_castps_si256(a), y = _mm256_castps_si256(b);
        sum = fma(_mm256_castsi256_ps(high_half(x)), _mm256_castsi256_ps(high_half(y)), sum);
        return fma(_mm256_castsi256_ps(_mm256_slli_epi32(x, 16)),
                   _mm256_castsi256_ps(_mm256_slli_epi32(y, 16)), sum);
    }
};

}  // namespace

void multiply_bf16_avx2(const GemmProblem& problem, float* scratch) {
    multiply_by_pair_tiles<FlushingAvx2Lanes>(problem, scratch);
}

void pack_bf16_avx2(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    pack_pair_panels<FlushingAvx2Lanes>(b, lines, block_k, panels);
}

}  // namespace lockstep
