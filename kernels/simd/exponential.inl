// exp of sixteen floats, from fma steps alone; maximal relative error 7e-8.
//
// x = n·ln 2 + r with n = round(x / ln 2), |r| ≤ 0.347; exp(r) by its Taylor
// polynomial of degree 7; 2^n is added to the exponent field. A result below the
// smallest normal number is 0, above the largest +inf; not a number stays so.

#pragma once

namespace lockstep::LOCKSTEP_SIMD {

/// The same for x ≤ 88.7: softmax arguments are never above 0 but for rounding.
LOCKSTEP_INLINE Vec exponential_not_large(Vec x) {
    const Vec shift =
        broadcast(12582912.0F);  // 1.5·2^23: adding it rounds to an integer, held in the low bits.
    const Vec t = fma(x, broadcast(1.44269504F), shift);
    const Vec n = sub(t, shift);
    // ln 2 in two parts; n times the first is exact.
    Vec r = fnma(n, broadcast(0.693359375F), x);
    r = fma(n, broadcast(2.12194440e-4F), r);
    Vec p = broadcast(1.0F / 5040.0F);
    p = fma(p, r, broadcast(1.0F / 720.0F));
    p = fma(p, r, broadcast(1.0F / 120.0F));
    p = fma(p, r, broadcast(1.0F / 24.0F));
    p = fma(p, r, broadcast(1.0F / 6.0F));
    p = fma(p, r, broadcast(0.5F));
    p = fma(p, r, broadcast(1.0F));
    p = fma(p, r, broadcast(1.0F));
    return scaled_or_zero(x, broadcast(-87.33654F), p, n, t);
}

LOCKSTEP_INLINE Vec exponential(Vec x) {
    const Vec largest = broadcast(88.72283F);
    const Vec infinity = broadcast(__builtin_inff());
    // The next float above `largest` overflows. Not a number takes the first branch.
    return select(greater_equal(x, broadcast(88.722836F)), infinity, exponential_not_large(min(largest, x)));
}

LOCKSTEP_INLINE Vec logistic(Vec x) {
    const Vec one = broadcast(1.0F);
    return div(one, add(one, exponential(sub(zero(), x))));
}

}  // namespace lockstep::LOCKSTEP_SIMD
