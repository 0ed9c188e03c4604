// kernels/simd/vec16_avx512.h
//
// Sixteen floats in one AVX-512 register. The same operations, with the same
// rounding, as vec16_avx2.h and vec16_scalar.h: kernel bodies are written once
// against them (docs/numerics.md). Compiled only into kernels_avx512.cpp.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define LOCKSTEP_SIMD simd_avx512
#define LOCKSTEP_INLINE static inline __attribute__((always_inline))

namespace lockstep::simd_avx512 {

/// Widest panel of a register-blocked product, in vectors.
inline constexpr std::size_t panel_vectors = 4;

struct Vec {
    __m512 v;
};
struct Mask {
    __mmask16 m;
};

LOCKSTEP_INLINE __mmask16 bits_of_first(std::size_t n) {
    return static_cast<__mmask16>((1U << n) - 1U);
}

LOCKSTEP_INLINE Vec zero() {
    return {_mm512_setzero_ps()};
}
LOCKSTEP_INLINE Vec broadcast(float x) {
    return {_mm512_set1_ps(x)};
}
LOCKSTEP_INLINE Vec load(const float* p) {
    return {_mm512_loadu_ps(p)};
}
LOCKSTEP_INLINE void store(float* p, Vec a) {
    _mm512_storeu_ps(p, a.v);
}
/// The first n ≤ 16 elements, then zeros.
LOCKSTEP_INLINE Vec load_first(const float* p, std::size_t n) {
    return {_mm512_maskz_loadu_ps(bits_of_first(n), p)};
}
LOCKSTEP_INLINE void store_first(float* p, Vec a, std::size_t n) {
    _mm512_mask_storeu_ps(p, bits_of_first(n), a.v);
}

LOCKSTEP_INLINE Vec add(Vec a, Vec b) {
    return {_mm512_add_ps(a.v, b.v)};
}
LOCKSTEP_INLINE Vec sub(Vec a, Vec b) {
    return {_mm512_sub_ps(a.v, b.v)};
}
LOCKSTEP_INLINE Vec mul(Vec a, Vec b) {
    return {_mm512_mul_ps(a.v, b.v)};
}
LOCKSTEP_INLINE Vec div(Vec a, Vec b) {
    return {_mm512_div_ps(a.v, b.v)};
}
LOCKSTEP_INLINE Vec square_root(Vec a) {
    return {_mm512_sqrt_ps(a.v)};
}
/// a·b + c, rounded once.
LOCKSTEP_INLINE Vec fma(Vec a, Vec b, Vec c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
/// a·b − c, rounded once.
LOCKSTEP_INLINE Vec fms(Vec a, Vec b, Vec c) {
    return {_mm512_fmsub_ps(a.v, b.v, c.v)};
}
/// c − a·b, rounded once.
LOCKSTEP_INLINE Vec fnma(Vec a, Vec b, Vec c) {
    return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
/// a > b ? a : b, so b where either is not a number.
LOCKSTEP_INLINE Vec max(Vec a, Vec b) {
    return {_mm512_max_ps(a.v, b.v)};
}
/// a < b ? a : b, so b where either is not a number.
LOCKSTEP_INLINE Vec min(Vec a, Vec b) {
    return {_mm512_min_ps(a.v, b.v)};
}
LOCKSTEP_INLINE Vec absolute(Vec a) {
    return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7FFFFFFF)))};
}

/// Ordered comparisons: false where either is not a number.
LOCKSTEP_INLINE Mask greater_equal(Vec a, Vec b) {
    return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)};
}
LOCKSTEP_INLINE Mask lanes_from(int k) {
    return {k <= 0 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>(0xFFFFU << (k > 16 ? 16 : k))};
}
LOCKSTEP_INLINE Mask lanes_below(std::size_t n) {
    return {bits_of_first(n)};
}
LOCKSTEP_INLINE Mask both(Mask a, Mask b) {
    return {static_cast<__mmask16>(a.m & b.m)};
}
LOCKSTEP_INLINE bool any(Mask a) {
    return a.m != 0;
}
LOCKSTEP_INLINE bool all(Mask a) {
    return a.m == 0xFFFF;
}
LOCKSTEP_INLINE Vec select(Mask m, Vec yes, Vec no) {
    return {_mm512_mask_blend_ps(m.m, no.v, yes.v)};
}

/// The end of exp: p · 2^n where x ≥ least, else 0; not a number where x is none. t = n + 1.5·2^23 holds n in
/// its low bits; p and the result are normal numbers.
LOCKSTEP_INLINE Vec scaled_or_zero(Vec x, Vec least, Vec p, Vec n, Vec /*t*/) {
    return {_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x.v, least.v, _CMP_NLT_UQ), p.v, n.v)};
}

/// The fixed tree: lane i + lane i+8, then i + i+4, i + i+2, 0 + 1.
LOCKSTEP_INLINE float sum_of_eight(__m256 a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
LOCKSTEP_INLINE float sum_of_lanes(Vec a) {
    const __m256 low = _mm512_castps512_ps256(a.v);
    const __m256 high = _mm512_extractf32x8_ps(a.v, 1);
    return sum_of_eight(_mm256_add_ps(low, high));
}
LOCKSTEP_INLINE float max_of_lanes(Vec a) {
    const __m256 high = _mm512_extractf32x8_ps(a.v, 1);
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/// to[j][i] = from[i][j] for 16×16 elements.
LOCKSTEP_INLINE void transpose16(const float* from, std::size_t from_stride, float* to,
                                 std::size_t to_stride) {
    __m512 a[16];
    __m512 b[16];
    for (std::size_t i = 0; i < 16; ++i) a[i] = _mm512_loadu_ps(from + i * from_stride);
    // Pairs of rows, then fours, inside each 128-bit lane.
    for (std::size_t i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (std::size_t i = 0; i < 16; i += 4) {
        a[i] = _mm512_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm512_shuffle_ps(b[i], b[i + 2], 0xEE);
        a[i + 2] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0xEE);
    }
    // Then whole lanes between rows i, i+4 and i, i+8.
    for (std::size_t i = 0; i < 4; ++i) {
        b[i] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88);
        b[i + 4] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xDD);
        b[i + 8] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88);
        b[i + 12] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xDD);
    }
    for (std::size_t i = 0; i < 4; ++i) {
        _mm512_storeu_ps(to + i * to_stride, _mm512_shuffle_f32x4(b[i], b[i + 8], 0x88));
        _mm512_storeu_ps(to + (i + 8) * to_stride, _mm512_shuffle_f32x4(b[i], b[i + 8], 0xDD));
        _mm512_storeu_ps(to + (i + 4) * to_stride, _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0x88));
        _mm512_storeu_ps(to + (i + 12) * to_stride, _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0xDD));
    }
}

/// Sixteen doubles.
struct DoubleVec {
    __m512d low, high;
};
LOCKSTEP_INLINE DoubleVec double_zero() {
    return {_mm512_setzero_pd(), _mm512_setzero_pd()};
}
LOCKSTEP_INLINE DoubleVec widen(Vec a) {
    return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))};
}
/// c + a², exactly rounded once.
LOCKSTEP_INLINE DoubleVec add_square(DoubleVec a, DoubleVec c) {
    return {_mm512_fmadd_pd(a.low, a.low, c.low), _mm512_fmadd_pd(a.high, a.high, c.high)};
}
/// The same fixed tree as sum_of_lanes.
LOCKSTEP_INLINE double sum_of_lanes(DoubleVec a) {
    const __m512d eight = _mm512_add_pd(a.low, a.high);
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/// out[i] (+)= round_to_nearest_even(g[i] · scale), 16 elements; every |g·scale| < 2^62.
LOCKSTEP_INLINE void accumulate_integers(std::int64_t* out, Vec g, double scale, bool first) {
    const DoubleVec x = widen(g);
    const __m512d factor = _mm512_set1_pd(scale);
    __m512i low = _mm512_cvtpd_epi64(_mm512_mul_pd(x.low, factor));
    __m512i high = _mm512_cvtpd_epi64(_mm512_mul_pd(x.high, factor));
    if (!first) {
        low = _mm512_add_epi64(low, _mm512_loadu_si512(out));
        high = _mm512_add_epi64(high, _mm512_loadu_si512(out + 8));
    }
    _mm512_storeu_si512(out, low);
    _mm512_storeu_si512(out + 8, high);
}
/// Each rounded once to the nearest float, 16 elements.
LOCKSTEP_INLINE Vec from_integers(const std::int64_t* p) {
    const __m256 low = _mm512_cvtepi64_ps(_mm512_loadu_si512(p));
    const __m256 high = _mm512_cvtepi64_ps(_mm512_loadu_si512(p + 8));
    return {_mm512_insertf32x8(_mm512_zextps256_ps512(low), high, 1)};
}

}  // namespace lockstep::simd_avx512
