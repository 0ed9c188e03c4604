// kernels/gemm/lanes_avx2.h
//
// The vector operations of the blocked products with AVX2 and FMA. For files compiled for it alone, and local
// to each: see CMakeLists.txt.

#pragma once

#include <immintrin.h>

#include <cstddef>

#define LOCKSTEP_INLINE [[gnu::always_inline]] static inline

namespace lockstep {

namespace {

// n ones, then zeros: a window of it masks the first lanes.
alignas(32) constexpr int lane_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

// 12 of the 16 registers hold the tile, two a line of B, the rest elements of A.
struct Avx2Lanes {
    using Vector = __m256;
    static constexpr std::size_t width = 8;
    static constexpr std::size_t tile_rows = 6;
    static constexpr std::size_t tile_vectors = 2;

    LOCKSTEP_INLINE __m256i first(std::size_t n) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane_mask + width - n));
    }
    LOCKSTEP_INLINE Vector zero() { return _mm256_setzero_ps(); }
    LOCKSTEP_INLINE Vector load(const float* p) { return _mm256_loadu_ps(p); }
    LOCKSTEP_INLINE Vector load_first(const float* p, std::size_t n) {
        return n == width ? load(p) : _mm256_maskload_ps(p, first(n));
    }
    LOCKSTEP_INLINE Vector broadcast(const float* p) { return _mm256_broadcast_ss(p); }
    LOCKSTEP_INLINE void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
    LOCKSTEP_INLINE void store_first(float* p, std::size_t n, Vector x) {
        if (n == width) {
            store(p, x);
        } else {
            _mm256_maskstore_ps(p, first(n), x);
        }
    }
    LOCKSTEP_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
    LOCKSTEP_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }

    // 4x4 inside every half, then the halves themselves.
    LOCKSTEP_INLINE void transpose(Vector (&x)[width]) {
        Vector t[width];
        for (std::size_t i = 0; i < width; i += 4) {
            const Vector low01 = _mm256_unpacklo_ps(x[i], x[i + 1]);
            const Vector high01 = _mm256_unpackhi_ps(x[i], x[i + 1]);
            const Vector low23 = _mm256_unpacklo_ps(x[i + 2], x[i + 3]);
            const Vector high23 = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
            t[i] = _mm256_shuffle_ps(low01, low23, 0x44);
            t[i + 1] = _mm256_shuffle_ps(low01, low23, 0xee);
            t[i + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
            t[i + 3] = _mm256_shuffle_ps(high01, high23, 0xee);
        }
        for (std::size_t i = 0; i < 4; ++i) {
            x[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
            x[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
        }
    }
};

}  // namespace

}  // namespace lockstep
