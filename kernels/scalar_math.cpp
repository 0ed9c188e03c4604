#include "kernels/scalar_math.h"

#include <bit>
#include <cmath>
#include <limits>

#include "io/base/contract.h"
#include "io/base/philox.h"

// These functions alone use the FMA instruction (kernel_isa() has checked that there is one); a call of
// libm's fma would give the same bits ten times slower.
#define LOCKSTEP_FMA __attribute__((target("fma")))

namespace lockstep {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Constants in parts: n times the first part of ln 2 is exact for |n| < 2^20.
constexpr double ln2_high = 0x1.62e42feep-1;
constexpr double ln2_low = 0x1.a39ef35793c76p-33;
constexpr double half_pi_1 = 0x1.921fb54442d18p+0;
constexpr double half_pi_2 = 0x1.1a62633145c07p-54;
constexpr double half_pi_3 = -0x1.f1976b7ed8fbcp-110;
constexpr double round_shift = 0x1.8p52;  // Adding it rounds to an integer, for |x| < 2^51.

LOCKSTEP_FMA inline double fused(double a, double b, double c) {
    return __builtin_fma(a, b, c);
}
LOCKSTEP_FMA inline double rounded(double x) {
    return (x + round_shift) - round_shift;
}

/// 2^n, n in [−1022, 1023].
double power_of_two(int n) {
    return std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52U);
}

/// A value as the sum of two doubles, the second below the last place of the first.
struct Pair {
    double high, low;
};
inline Pair exact_sum(double a, double b) {
    const double sum = a + b;
    const double b_part = sum - a;
    return {sum, (a - (sum - b_part)) + (b - b_part)};
}

/// x = n·ln 2 + r; the quotient n, and exp(r) − 1.
struct ReducedExp {
    int n;
    Pair expm1;
};
LOCKSTEP_FMA ReducedExp reduced_exp(double x) {
    const double n = rounded(x * 0x1.71547652b82fep+0);
    const double high = fused(-n, ln2_high, x);
    const double r = fused(-n, ln2_low, high);
    const double lost = fused(-n, ln2_low, high - r);  // What rounding r left out.
    // Taylor to degree 13: the rest is below 2^-57 of the result.
    double p = 1.0 / 6227020800.0;
    p = fused(p, r, 1.0 / 479001600.0);
    p = fused(p, r, 1.0 / 39916800.0);
    p = fused(p, r, 1.0 / 3628800.0);
    p = fused(p, r, 1.0 / 362880.0);
    p = fused(p, r, 1.0 / 40320.0);
    p = fused(p, r, 1.0 / 5040.0);
    p = fused(p, r, 1.0 / 720.0);
    p = fused(p, r, 1.0 / 120.0);
    p = fused(p, r, 1.0 / 24.0);
    p = fused(p, r, 1.0 / 6.0);
    p = fused(p, r, 0.5);
    return {static_cast<int>(n), exact_sum(r, fused(r * r, p, lost))};
}

/// sin and cos of x less a multiple of π/2, and that multiple modulo four.
struct Quadrant {
    double sine, cosine;
    unsigned number;
};
LOCKSTEP_FMA Quadrant quadrant(double x) {
    const double n = rounded(x * 0x1.45f306dc9c883p-1);
    // Cody–Waite: the first step is exact; the rest is kept as a sum of two.
    const double high = fused(-n, half_pi_1, x);
    const double w = n * half_pi_2;
    const double w_low = fused(n, half_pi_2, -w);
    const Pair reduced = exact_sum(high, -w);
    const double r = reduced.high;
    const double rest = reduced.low - fused(n, half_pi_3, w_low);

    const double z = r * r;
    double s = 1.0 / 355687428096000.0;
    s = fused(s, z, -1.0 / 1307674368000.0);
    s = fused(s, z, 1.0 / 6227020800.0);
    s = fused(s, z, -1.0 / 39916800.0);
    s = fused(s, z, 1.0 / 362880.0);
    s = fused(s, z, -1.0 / 5040.0);
    s = fused(s, z, 1.0 / 120.0);
    s = fused(s, z, -1.0 / 6.0);
    double c = -1.0 / 6402373705728000.0;
    c = fused(c, z, 1.0 / 20922789888000.0);
    c = fused(c, z, -1.0 / 87178291200.0);
    c = fused(c, z, 1.0 / 479001600.0);
    c = fused(c, z, -1.0 / 3628800.0);
    c = fused(c, z, 1.0 / 40320.0);
    c = fused(c, z, -1.0 / 720.0);
    c = fused(c, z, 1.0 / 24.0);

    const double half_z = 0.5 * z;
    const double near_one = 1.0 - half_z;
    const double sine = r + fused(r * z, s, fused(-half_z, rest, rest));
    const double cosine = near_one + (((1.0 - near_one) - half_z) + fused(z * z, c, -r * rest));
    return {sine, cosine, static_cast<unsigned>(static_cast<std::int64_t>(n)) & 3U};
}

double in_quadrant(const Quadrant& q, unsigned number) {
    const double value = (number & 1U) != 0 ? q.cosine : q.sine;
    return (number & 2U) != 0 ? -value : value;
}

}  // namespace

double exact_exp(double x) {
    if (x != x) return x;
    if (x > 709.782712893384) return infinity;
    if (x < -745.1332191019412) return 0.0;
    const ReducedExp e = reduced_exp(x);
    // In two factors, so that results down to the smallest denormal are rounded once.
    const int half = e.n / 2;
    return (1.0 + e.expm1.high) * power_of_two(half) * power_of_two(e.n - half);
}

LOCKSTEP_FMA double exact_log(double x) {
    if (x != x || x < 0) return not_a_number;
    if (x == 0) return -infinity;
    if (x == infinity) return infinity;
    int exponent = 0;
    if (x < std::numeric_limits<double>::min()) {
        x *= 0x1p54;
        exponent = -54;
    }
    // x = 2^e·(1 + f) with 1 + f in [√½, √2).
    std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
    const std::uint64_t above_half_root = bits - 0x3FE6A09E667F3BCDULL;
    exponent += static_cast<int>(static_cast<std::int64_t>(above_half_root) >> 52);
    bits = (above_half_root & 0xFFFFFFFFFFFFFULL) + 0x3FE6A09E667F3BCDULL;
    const double f = std::bit_cast<double>(bits) - 1.0;
    // log(1 + f) = 2·atanh(s), s = f / (2 + f), written as f − (f²/2 − s·(f²/2 + R)), R = Σ 2·z^k / (2k + 1).
    const double s = f / (2.0 + f);
    const double z = s * s;
    double p = 2.0 / 25.0;
    p = fused(p, z, 2.0 / 23.0);
    p = fused(p, z, 2.0 / 21.0);
    p = fused(p, z, 2.0 / 19.0);
    p = fused(p, z, 2.0 / 17.0);
    p = fused(p, z, 2.0 / 15.0);
    p = fused(p, z, 2.0 / 13.0);
    p = fused(p, z, 2.0 / 11.0);
    p = fused(p, z, 2.0 / 9.0);
    p = fused(p, z, 2.0 / 7.0);
    p = fused(p, z, 2.0 / 5.0);
    p = fused(p, z, 2.0 / 3.0);
    const double half_square = 0.5 * f * f;
    const auto e = static_cast<double>(exponent);
    const double small = fused(s, fused(p, z, half_square), e * ln2_low);
    return fused(e, ln2_high, f - (half_square - small));
}

double exact_sin(double x) {
    LOCKSTEP_EXPECTS(x >= -0x1p30 && x <= 0x1p30);
    const Quadrant q = quadrant(x);
    return in_quadrant(q, q.number);
}

double exact_cos(double x) {
    LOCKSTEP_EXPECTS(x >= -0x1p30 && x <= 0x1p30);
    const Quadrant q = quadrant(x);
    return in_quadrant(q, q.number + 1);
}

LOCKSTEP_FMA double exact_tanh(double x) {
    if (x != x) return x;
    const double size = x < 0 ? -x : x;
    if (size > 22) return x < 0 ? -1.0 : 1.0;
    if (size < 0x1p-28) return x;
    // tanh = m / (m + 2) with m = exp(2x) − 1, numerator and denominator kept as pairs: the quotient is
    // corrected by what their rounding lost.
    const ReducedExp e = reduced_exp(2 * size);
    const double scale = power_of_two(e.n);
    Pair m = exact_sum(scale * e.expm1.high, scale - 1.0);
    m.low = fused(scale, e.expm1.low, m.low);
    Pair d = exact_sum(m.high, 2.0);
    d.low += m.low;
    const double quotient = m.high / d.high;
    const double remainder = fused(-quotient, d.high, m.high) + fused(-quotient, d.low, m.low);
    const double t = quotient + remainder / d.high;
    return x < 0 ? -t : t;
}

double power(double base, std::uint64_t n) {
    double result = 1.0;
    for (; n != 0; n >>= 1U) {
        if ((n & 1U) != 0) result *= base;
        base *= base;
    }
    return result;
}

float standard_normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
    const PhiloxCounter words = Philox(seed, "standard-normal", stream).block(index);
    const std::uint64_t a = (std::uint64_t{words[1]} << 32U) | words[0];
    const std::uint64_t b = (std::uint64_t{words[3]} << 32U) | words[2];
    // u in (0, 1], so that its logarithm is finite; v in [0, 1).
    const double u = static_cast<double>((a >> 11U) + 1) * 0x1p-53;
    const double v = static_cast<double>(b >> 11U) * 0x1p-53;
    return static_cast<float>(std::sqrt(-2.0 * exact_log(u)) * exact_cos(6.283185307179586 * v));
}

}  // namespace lockstep
