// kernels/simd/vec16_scalar.h
//
// Sixteen floats in an array: the operations of vec16_avx512.h, bit for bit, as
// plain loops. It defines what the vector headers must do. Compiled only into
// kernels_scalar.cpp, with the FMA instruction.

#pragma once

#include <emmintrin.h>

#include <cstddef>
#include <cstdint>

#define LOCKSTEP_SIMD simd_scalar
// Left to the compiler: sixteen checked lanes a call, all inlined, take a sanitizer build minutes to compile.
#define LOCKSTEP_INLINE [[maybe_unused]] static inline

namespace lockstep::simd_scalar {

inline constexpr std::size_t panel_vectors = 1;

struct Vec {
    float v[16];
};
struct Mask {
    bool m[16];
};

template <class F>
LOCKSTEP_INLINE Vec each(F f) {
    Vec r;
    for (int i = 0; i < 16; ++i) r.v[i] = f(i);
    return r;
}
template <class F>
LOCKSTEP_INLINE Mask each_mask(F f) {
    Mask r;
    for (int i = 0; i < 16; ++i) r.m[i] = f(i);
    return r;
}

LOCKSTEP_INLINE Mask lanes_below(std::size_t n) {
    return each_mask([&](int i) { return static_cast<std::size_t>(i) < n; });
}
LOCKSTEP_INLINE Mask lanes_from(int k) {
    return each_mask([&](int i) { return i >= k; });
}

LOCKSTEP_INLINE Vec broadcast(float x) {
    return each([&](int) { return x; });
}
LOCKSTEP_INLINE Vec zero() {
    return broadcast(0.0F);
}
LOCKSTEP_INLINE Vec load(const float* p) {
    return each([&](int i) { return p[i]; });
}
LOCKSTEP_INLINE void store(float* p, Vec a) {
    for (int i = 0; i < 16; ++i) p[i] = a.v[i];
}
LOCKSTEP_INLINE Vec load_first(const float* p, std::size_t n) {
    return each([&](int i) { return static_cast<std::size_t>(i) < n ? p[i] : 0.0F; });
}
LOCKSTEP_INLINE void store_first(float* p, Vec a, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) p[i] = a.v[i];
}

LOCKSTEP_INLINE Vec add(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
}
LOCKSTEP_INLINE Vec sub(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
}
LOCKSTEP_INLINE Vec mul(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
}
LOCKSTEP_INLINE Vec div(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] / b.v[i]; });
}
LOCKSTEP_INLINE Vec square_root(Vec a) {
    return each([&](int i) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a.v[i]))); });
}
LOCKSTEP_INLINE Vec fma(Vec a, Vec b, Vec c) {
    return each([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
}
LOCKSTEP_INLINE Vec fms(Vec a, Vec b, Vec c) {
    return each([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], -c.v[i]); });
}
LOCKSTEP_INLINE Vec fnma(Vec a, Vec b, Vec c) {
    return each([&](int i) { return __builtin_fmaf(-a.v[i], b.v[i], c.v[i]); });
}
LOCKSTEP_INLINE Vec max(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
LOCKSTEP_INLINE Vec min(Vec a, Vec b) {
    return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
LOCKSTEP_INLINE Vec absolute(Vec a) {
    return each([&](int i) { return __builtin_fabsf(a.v[i]); });
}

LOCKSTEP_INLINE Mask greater_equal(Vec a, Vec b) {
    return each_mask([&](int i) { return a.v[i] >= b.v[i]; });
}
LOCKSTEP_INLINE Mask both(Mask a, Mask b) {
    return each_mask([&](int i) { return a.m[i] && b.m[i]; });
}
LOCKSTEP_INLINE bool any(Mask a) {
    bool found = false;
    for (int i = 0; i < 16; ++i) found = found || a.m[i];
    return found;
}
LOCKSTEP_INLINE bool all(Mask a) {
    bool held = true;
    for (int i = 0; i < 16; ++i) held = held && a.m[i];
    return held;
}
LOCKSTEP_INLINE Vec select(Mask m, Vec yes, Vec no) {
    return each([&](int i) { return m.m[i] ? yes.v[i] : no.v[i]; });
}

LOCKSTEP_INLINE Vec scaled_or_zero(Vec x, Vec least, Vec p, Vec /*n*/, Vec t) {
    const Vec scaled = each([&](int i) {
        const auto shifted = __builtin_bit_cast(std::uint32_t, t.v[i]) << 23U;
        return __builtin_bit_cast(float, __builtin_bit_cast(std::uint32_t, p.v[i]) + shifted);
    });
    // max(0, x) is 0 below the range and not a number for such an x.
    return select(greater_equal(x, least), scaled, max(zero(), x));
}

LOCKSTEP_INLINE float sum_of_lanes(Vec a) {
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; ++i) a.v[i] = a.v[i] + a.v[i + width];
    }
    return a.v[0];
}
LOCKSTEP_INLINE float max_of_lanes(Vec a) {
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; ++i) a.v[i] = a.v[i] > a.v[i + width] ? a.v[i] : a.v[i + width];
    }
    return a.v[0];
}

LOCKSTEP_INLINE void transpose16(const float* from, std::size_t from_stride, float* to,
                                 std::size_t to_stride) {
    for (std::size_t i = 0; i < 16; ++i) {
        for (std::size_t j = 0; j < 16; ++j) to[j * to_stride + i] = from[i * from_stride + j];
    }
}

struct DoubleVec {
    double d[16];
};
LOCKSTEP_INLINE DoubleVec double_zero() {
    return {};
}
LOCKSTEP_INLINE DoubleVec widen(Vec a) {
    DoubleVec r;
    for (int i = 0; i < 16; ++i) r.d[i] = static_cast<double>(a.v[i]);
    return r;
}
LOCKSTEP_INLINE DoubleVec add_square(DoubleVec a, DoubleVec c) {
    for (int i = 0; i < 16; ++i) c.d[i] = __builtin_fma(a.d[i], a.d[i], c.d[i]);
    return c;
}
LOCKSTEP_INLINE double sum_of_lanes(DoubleVec a) {
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; ++i) a.d[i] = a.d[i] + a.d[i + width];
    }
    return a.d[0];
}

LOCKSTEP_INLINE void accumulate_integers(std::int64_t* out, Vec g, double scale, bool first) {
    for (int i = 0; i < 16; ++i) {
        // The instruction rounds to nearest even; a C++ cast would cut off.
        const std::int64_t rounded = _mm_cvtsd_si64(_mm_set_sd(static_cast<double>(g.v[i]) * scale));
        const std::uint64_t before = first ? 0 : static_cast<std::uint64_t>(out[i]);
        out[i] = static_cast<std::int64_t>(before + static_cast<std::uint64_t>(rounded));
    }
}
LOCKSTEP_INLINE Vec from_integers(const std::int64_t* p) {
    return each([&](int i) { return static_cast<float>(p[i]); });
}

}  // namespace lockstep::simd_scalar
