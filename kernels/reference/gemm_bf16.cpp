#include "kernels/reference/gemm_bf16.h"

#include <bit>

namespace lockstep::reference {

namespace {

constexpr std::uint32_t sign_bit = 0x80000000U;
constexpr std::uint32_t least_normal = 0x00800000U;  // 2^−126
constexpr std::uint32_t infinity = 0x7f800000U;

// Columns side by side hide the latency of an fma; each is still a chain of its own.
constexpr std::size_t columns_at_once = 16;

std::uint32_t bits_of(float x) {
    return std::bit_cast<std::uint32_t>(x);
}

float denormal_as_zero(float x) {
    return (bits_of(x) & ~sign_bit) < least_normal ? std::bit_cast<float>(bits_of(x) & sign_bit) : x;
}

// Not zero, and 2^−126 or less: the only results that flushing may change.
unsigned may_be_flushed(float x) {
    return static_cast<unsigned>((bits_of(x) & ~sign_bit) - 1U < least_normal);
}

float rounded(float x) {
    return from_bf16(to_bf16(x));
}

float low(std::uint32_t pair) {
    return from_bf16(static_cast<std::uint16_t>(pair));
}

float high(std::uint32_t pair) {
    return from_bf16(static_cast<std::uint16_t>(pair >> 16U));
}

// chain[j] = flushing_fma(a, b[j], chain[j]), rarely the slow way.
void add_term(float a, const float (&b)[columns_at_once], float (&chain)[columns_at_once]) {
    float next[columns_at_once];
    unsigned slow = 0;
    for (std::size_t j = 0; j < columns_at_once; ++j) {
        next[j] = __builtin_fmaf(a, b[j], chain[j]);
        slow |= may_be_flushed(next[j]);
    }
    for (std::size_t j = 0; j < columns_at_once; ++j) {
        chain[j] = slow != 0 ? flushing_fma(a, b[j], chain[j]) : next[j];
    }
}

}  // namespace

std::uint16_t to_bf16(float x) {
    const std::uint32_t bits = bits_of(x);
    const std::uint32_t magnitude = bits & ~sign_bit;
    if (magnitude > infinity) return static_cast<std::uint16_t>(bits >> 16U | 0x40U);
    if (magnitude < least_normal) return static_cast<std::uint16_t>((bits & sign_bit) >> 16U);
    return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16U & 1U)) >> 16U);
}

float from_bf16(std::uint16_t x) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16U);
}

float flushing_fma(float a, float b, float c) {
    a = denormal_as_zero(a);
    b = denormal_as_zero(b);
    c = denormal_as_zero(c);
    const float result = __builtin_fmaf(a, b, c);
    const std::uint32_t magnitude = bits_of(result) & ~sign_bit;
    const float zero = std::bit_cast<float>(bits_of(result) & sign_bit);
    if (magnitude < least_normal) return zero;
    if (magnitude > least_normal) return result;
    // Rounded up to 2^−126, but perhaps only because denormal numbers lie further apart than 24 bits would:
    // below 2^−126 − 2^−151 the 24 bits stay below 2^−126. Exact in double, as a 16-bit product and a c that
    // nearly cancel are.
    const double sign = bits_of(zero) == 0 ? 1.0 : -1.0;
    const double product = sign * static_cast<double>(a) * static_cast<double>(b);
    const double missing = (0x1p-126 - 0x1p-151) - sign * static_cast<double>(c);
    return product < missing ? zero : result;
}

float flushing_add(float a, float b) {
    return denormal_as_zero(denormal_as_zero(a) + denormal_as_zero(b));
}

float dot_pair(float sum, std::uint32_t a, std::uint32_t b) {
    return flushing_fma(low(a), low(b), flushing_fma(high(a), high(b), sum));
}

float tile_dot(float sum, const std::uint32_t* a, std::size_t a_step, const std::uint32_t* b,
               std::size_t b_step, std::size_t pairs) {
    float lows = 0, highs = 0;
    for (std::size_t i = 0; i < pairs; ++i) {
        lows = flushing_fma(low(a[i * a_step]), low(b[i * b_step]), lows);
        highs = flushing_fma(high(a[i * a_step]), high(b[i * b_step]), highs);
    }
    return flushing_add(sum, flushing_add(lows, highs));
}

void multiply_bf16(const GemmProblem& p) {
    float b[gemm_block_k][columns_at_once];
    const float zeros[columns_at_once] = {};
    for (std::size_t j0 = 0; j0 < p.n; j0 += columns_at_once) {
        const std::size_t columns = p.n - j0 < columns_at_once ? p.n - j0 : columns_at_once;
        for (std::size_t k0 = 0; k0 < p.k; k0 += gemm_block_k) {
            const std::size_t block_k = p.k - k0 < gemm_block_k ? p.k - k0 : gemm_block_k;
            for (std::size_t k = 0; k < block_k; ++k) {
                for (std::size_t j = 0; j < columns_at_once; ++j) {
                    // Columns beyond the last repeat it and are not stored.
                    const std::size_t column = j0 + (j < columns ? j : columns - 1);
                    b[k][j] = rounded(p.b.data[column * p.b.line_stride + (k0 + k) * p.b.k_stride]);
                }
            }
            for (std::size_t i = 0; i < p.m; ++i) {
                float sum[columns_at_once] = {};
                for (std::size_t group = 0; group < block_k; group += bf16_group_k) {
                    float chains[2][columns_at_once] = {};
                    for (std::size_t k = group; k < group + bf16_group_k; ++k) {
                        // Terms beyond the last are products of zeros: they make a −0 a +0.
                        const bool there = k < block_k;
                        const float a =
                            there ? p.a.data[i * p.a.line_stride + (k0 + k) * p.a.k_stride] : 0.0F;
                        add_term(rounded(a), there ? b[k] : zeros, chains[(k - group) / bf16_chain_k]);
                    }
                    for (std::size_t j = 0; j < columns_at_once; ++j) {
                        sum[j] = flushing_add(sum[j], flushing_add(chains[0][j], chains[1][j]));
                    }
                }
                float* c = p.c + i * p.c_stride + j0;
                for (std::size_t j = 0; j < columns; ++j) {
                    c[j] = (p.accumulate || k0 > 0 ? c[j] : 0.0F) + sum[j];
                }
            }
        }
    }
}

}  // namespace lockstep::reference
