// kernels/simd/vec16_avx2.h
//
// Sixteen floats in two AVX2 registers: the operations of vec16_avx512.h, bit for
// bit. Compiled only into kernels_avx2.cpp.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define LOCKSTEP_SIMD simd_avx2
#define LOCKSTEP_INLINE static inline __attribute__((always_inline))

namespace lockstep::simd_avx2 {

/// One vector is two of the sixteen registers, so panels stay one vector wide.
inline constexpr std::size_t panel_vectors = 1;

struct Vec {
    __m256 low, high;
};
struct Mask {
    __m256 low, high;
};

/// Sixteen lanes of ones, then sixteen of zeros: a mask is a window into it.
alignas(64) static const std::int32_t mask_window[48] = {
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,   //
    -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
    0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0};
LOCKSTEP_INLINE __m256i window(std::size_t begin) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask_window + begin));
}
LOCKSTEP_INLINE Mask lanes_below(std::size_t n) {
    return {_mm256_castsi256_ps(window(32 - n)), _mm256_castsi256_ps(window(40 - n))};
}
LOCKSTEP_INLINE Mask lanes_from(int k) {
    const auto n = static_cast<std::size_t>(k < 0 ? 0 : k > 16 ? 16 : k);
    return {_mm256_castsi256_ps(window(16 - n)), _mm256_castsi256_ps(window(24 - n))};
}

LOCKSTEP_INLINE Vec zero() {
    return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
LOCKSTEP_INLINE Vec broadcast(float x) {
    return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
LOCKSTEP_INLINE Vec load(const float* p) {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
LOCKSTEP_INLINE void store(float* p, Vec a) {
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
}
LOCKSTEP_INLINE Vec load_first(const float* p, std::size_t n) {
    if (n <= 8) return {_mm256_maskload_ps(p, window(32 - n)), _mm256_setzero_ps()};
    return {_mm256_loadu_ps(p), _mm256_maskload_ps(p + 8, window(40 - n))};
}
LOCKSTEP_INLINE void store_first(float* p, Vec a, std::size_t n) {
    if (n <= 8) {
        _mm256_maskstore_ps(p, window(32 - n), a.low);
    } else {
        _mm256_storeu_ps(p, a.low);
        _mm256_maskstore_ps(p + 8, window(40 - n), a.high);
    }
}

LOCKSTEP_INLINE Vec add(Vec a, Vec b) {
    return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
LOCKSTEP_INLINE Vec sub(Vec a, Vec b) {
    return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
LOCKSTEP_INLINE Vec mul(Vec a, Vec b) {
    return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
LOCKSTEP_INLINE Vec div(Vec a, Vec b) {
    return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
LOCKSTEP_INLINE Vec square_root(Vec a) {
    return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)};
}
LOCKSTEP_INLINE Vec fma(Vec a, Vec b, Vec c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
LOCKSTEP_INLINE Vec fms(Vec a, Vec b, Vec c) {
    return {_mm256_fmsub_ps(a.low, b.low, c.low), _mm256_fmsub_ps(a.high, b.high, c.high)};
}
LOCKSTEP_INLINE Vec fnma(Vec a, Vec b, Vec c) {
    return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
LOCKSTEP_INLINE Vec max(Vec a, Vec b) {
    return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
LOCKSTEP_INLINE Vec min(Vec a, Vec b) {
    return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
LOCKSTEP_INLINE Vec absolute(Vec a) {
    const __m256 keep = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
    return {_mm256_and_ps(a.low, keep), _mm256_and_ps(a.high, keep)};
}

LOCKSTEP_INLINE Mask greater_equal(Vec a, Vec b) {
    return {_mm256_cmp_ps(a.low, b.low, _CMP_GE_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_GE_OQ)};
}
LOCKSTEP_INLINE Mask both(Mask a, Mask b) {
    return {_mm256_and_ps(a.low, b.low), _mm256_and_ps(a.high, b.high)};
}
LOCKSTEP_INLINE bool any(Mask a) {
    return _mm256_movemask_ps(_mm256_or_ps(a.low, a.high)) != 0;
}
LOCKSTEP_INLINE bool all(Mask a) {
    return _mm256_movemask_ps(_mm256_and_ps(a.low, a.high)) == 0xFF;
}
LOCKSTEP_INLINE Vec select(Mask m, Vec yes, Vec no) {
    return {_mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high)};
}

LOCKSTEP_INLINE __m256 scale_eight_by_low_bits(__m256 p, __m256 t) {
    const __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), shifted));
}
LOCKSTEP_INLINE Vec scaled_or_zero(Vec x, Vec least, Vec p, Vec /*n*/, Vec t) {
    const Vec scaled = {scale_eight_by_low_bits(p.low, t.low), scale_eight_by_low_bits(p.high, t.high)};
    // max(0, x) is 0 below the range and not a number for such an x.
    return select(greater_equal(x, least), scaled, max(zero(), x));
}

LOCKSTEP_INLINE float sum_of_lanes(Vec a) {
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
LOCKSTEP_INLINE float max_of_lanes(Vec a) {
    const __m256 eight = _mm256_max_ps(a.low, a.high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

LOCKSTEP_INLINE void transpose8(const float* from, std::size_t from_stride, float* to,
                                std::size_t to_stride) {
    __m256 a[8];
    __m256 b[8];
    for (std::size_t i = 0; i < 8; ++i) a[i] = _mm256_loadu_ps(from + i * from_stride);
    for (std::size_t i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (std::size_t i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xEE);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xEE);
    }
    for (std::size_t i = 0; i < 4; ++i) {
        _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(to + (i + 4) * to_stride, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}
LOCKSTEP_INLINE void transpose16(const float* from, std::size_t from_stride, float* to,
                                 std::size_t to_stride) {
    for (std::size_t i = 0; i < 16; i += 8) {
        for (std::size_t j = 0; j < 16; j += 8) {
            transpose8(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
        }
    }
}

struct DoubleVec {
    __m256d d[4];
};
LOCKSTEP_INLINE DoubleVec double_zero() {
    return {{_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()}};
}
LOCKSTEP_INLINE DoubleVec widen(Vec a) {
    return {{_mm256_cvtps_pd(_mm256_castps256_ps128(a.low)), _mm256_cvtps_pd(_mm256_extractf128_ps(a.low, 1)),
             _mm256_cvtps_pd(_mm256_castps256_ps128(a.high)),
             _mm256_cvtps_pd(_mm256_extractf128_ps(a.high, 1))}};
}
LOCKSTEP_INLINE DoubleVec add_square(DoubleVec a, DoubleVec c) {
    return {{_mm256_fmadd_pd(a.d[0], a.d[0], c.d[0]), _mm256_fmadd_pd(a.d[1], a.d[1], c.d[1]),
             _mm256_fmadd_pd(a.d[2], a.d[2], c.d[2]), _mm256_fmadd_pd(a.d[3], a.d[3], c.d[3])}};
}
LOCKSTEP_INLINE double sum_of_lanes(DoubleVec a) {
    const __m256d four = _mm256_add_pd(_mm256_add_pd(a.d[0], a.d[2]), _mm256_add_pd(a.d[1], a.d[3]));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// AVX2 converts no int64; the scalar instructions round the same way.
LOCKSTEP_INLINE void accumulate_integers(std::int64_t* out, Vec g, double scale, bool first) {
    alignas(32) float values[16];
    store(values, g);
    for (std::size_t i = 0; i < 16; ++i) {
        const std::int64_t rounded = _mm_cvtsd_si64(_mm_set_sd(static_cast<double>(values[i]) * scale));
        const std::uint64_t before = first ? 0 : static_cast<std::uint64_t>(out[i]);
        out[i] = static_cast<std::int64_t>(before + static_cast<std::uint64_t>(rounded));
    }
}
LOCKSTEP_INLINE Vec from_integers(const std::int64_t* p) {
    alignas(32) float values[16];
    for (std::size_t i = 0; i < 16; ++i) values[i] = static_cast<float>(p[i]);
    return load(values);
}

}  // namespace lockstep::simd_avx2
