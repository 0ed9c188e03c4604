// kernels/gemm/lanes_avx512.h
//
// The vector operations of the blocked products with AVX-512. For files compiled for it alone, and local to
// each: see CMakeLists.txt.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#define LOCKSTEP_INLINE [[gnu::always_inline]] static inline

namespace lockstep {

namespace {

// 24 of the 32 registers hold the tile, two a line of B, the rest elements of A.
struct Avx512Lanes {
    using Vector = __m512;
    static constexpr std::size_t width = 16;
    static constexpr std::size_t tile_rows = 12;
    static constexpr std::size_t tile_vectors = 2;

    LOCKSTEP_INLINE __mmask16 first(std::size_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
    LOCKSTEP_INLINE Vector zero() { return _mm512_setzero_ps(); }
    LOCKSTEP_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
    LOCKSTEP_INLINE Vector load_first(const float* p, std::size_t n) {
        return _mm512_maskz_loadu_ps(first(n), p);
    }
    LOCKSTEP_INLINE Vector broadcast(const float* p) { return _mm512_set1_ps(*p); }
    LOCKSTEP_INLINE void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
    LOCKSTEP_INLINE void store_first(float* p, std::size_t n, Vector x) {
        _mm512_mask_storeu_ps(p, first(n), x);
    }
    LOCKSTEP_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
    LOCKSTEP_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }

    // 4x4 inside every quarter, then the quarters themselves.
    LOCKSTEP_INLINE void transpose(Vector (&x)[width]) {
        Vector t[width];
        for (std::size_t i = 0; i < width; i += 4) {
            const Vector low01 = _mm512_unpacklo_ps(x[i], x[i + 1]);
            const Vector high01 = _mm512_unpackhi_ps(x[i], x[i + 1]);
            const Vector low23 = _mm512_unpacklo_ps(x[i + 2], x[i + 3]);
            const Vector high23 = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
            t[i] = _mm512_shuffle_ps(low01, low23, 0x44);
            t[i + 1] = _mm512_shuffle_ps(low01, low23, 0xee);
            t[i + 2] = _mm512_shuffle_ps(high01, high23, 0x44);
            t[i + 3] = _mm512_shuffle_ps(high01, high23, 0xee);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            const Vector even_a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
            const Vector odd_a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
            const Vector even_b = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
            const Vector odd_b = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
            x[i] = _mm512_shuffle_f32x4(even_a, even_b, 0x88);
            x[i + 4] = _mm512_shuffle_f32x4(odd_a, odd_b, 0x88);
            x[i + 8] = _mm512_shuffle_f32x4(even_a, even_b, 0xdd);
            x[i + 12] = _mm512_shuffle_f32x4(odd_a, odd_b, 0xdd);
        }
    }
};

/// Stores that go past the caches, without reading first what they overwrite: for the panels of a model's
/// weights, which are written once an update and read long after. A fence must follow: other threads read
/// them.
/// @pre Whole vectors are stored at multiples of their size.
template <class Lanes>
struct StreamingLanes : Lanes {
    LOCKSTEP_INLINE void store(float* p, __m512 x) { _mm512_stream_ps(p, x); }
    LOCKSTEP_INLINE void store_first(float* p, std::size_t n, __m512 x) {
        n == Lanes::width ? store(p, x) : Lanes::store_first(p, n, x);
    }
};

LOCKSTEP_INLINE bool can_stream(const float* panels) {
    return reinterpret_cast<std::uintptr_t>(panels) % sizeof(__m512) == 0;
}

}  // namespace

}  // namespace lockstep
