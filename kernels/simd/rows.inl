// Elementwise kernels, norms, the vocabulary's softmax, the exact sum, AdamW.

#pragma once

#include "kernels/simd/exponential.inl"

namespace lockstep::LOCKSTEP_SIMD {
namespace {

/// Call body(i, count) for each group of sixteen elements; the last may hold fewer.
template <class Body>
LOCKSTEP_INLINE void for_groups(std::size_t n, Body body) {
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16) body(i, std::size_t{16});
    if (i < n) body(i, n - i);
}
LOCKSTEP_INLINE Vec load_group(const float* p, std::size_t count) {
    return count == 16 ? load(p) : load_first(p, count);
}
LOCKSTEP_INLINE void store_group(float* p, Vec a, std::size_t count) {
    if (count == 16) {
        store(p, a);
    } else {
        store_first(p, a, count);
    }
}

void add(std::size_t n, const float* x, float* y) {
    for_groups(n, [&](std::size_t i, std::size_t count) {
        store_group(y + i, add(load_group(y + i, count), load_group(x + i, count)), count);
    });
}

void scale(std::size_t n, float factor, float* x) {
    const Vec f = broadcast(factor);
    for_groups(n, [&](std::size_t i, std::size_t count) {
        store_group(x + i, mul(load_group(x + i, count), f), count);
    });
}

void exponential(std::size_t n, const float* x, float* y) {
    for_groups(n, [&](std::size_t i, std::size_t count) {
        store_group(y + i, exponential(load_group(x + i, count)), count);
    });
}

// GELU: 0.5·(1 + tanh u) is the logistic function of 2u, u = √(2/π)·(x + 0.044715·x³).
constexpr float gelu_slope = 1.5957691216057308F;  // 2·√(2/π)
constexpr float gelu_cubic = 0.044715F;
constexpr float gelu_derivative = 0.134145F;  // 3·0.044715

LOCKSTEP_INLINE Vec gelu_gate(Vec x) {
    const Vec inner = fma(mul(x, x), broadcast(gelu_cubic), broadcast(1.0F));
    return logistic(mul(mul(x, broadcast(gelu_slope)), inner));
}

void gelu_forward(std::size_t n, const float* x, float* y) {
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec a = load_group(x + i, count);
        store_group(y + i, mul(a, gelu_gate(a)), count);
    });
}

void gelu_backward(std::size_t n, const float* x, float* d) {
    const Vec one = broadcast(1.0F);
    for_groups(n, [&](std::size_t i, std::size_t count) {
        // Beyond ±32 the derivative is 0 or 1 exactly; the limit keeps x³ finite.
        const Vec a = min(broadcast(32.0F), max(broadcast(-32.0F), load_group(x + i, count)));
        const Vec s = gelu_gate(a);
        const Vec slope = mul(fma(mul(a, a), broadcast(gelu_derivative), one), broadcast(gelu_slope));
        const Vec bend = mul(mul(s, sub(one, s)), slope);
        store_group(d + i, mul(load_group(d + i, count), fma(a, bend, s)), count);
    });
}

void swiglu_forward(std::size_t n, const float* gate, const float* up, float* y) {
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec g = load_group(gate + i, count);
        store_group(y + i, mul(mul(g, logistic(g)), load_group(up + i, count)), count);
    });
}

void swiglu_backward(std::size_t n, const float* gate, const float* up, const float* d_y, float* d_gate,
                     float* d_up) {
    const Vec one = broadcast(1.0F);
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec g = load_group(gate + i, count);
        const Vec d = load_group(d_y + i, count);
        const Vec s = logistic(g);
        const Vec derivative = mul(s, fma(g, sub(one, s), one));
        store_group(d_gate + i, mul(mul(d, load_group(up + i, count)), derivative), count);
        store_group(d_up + i, mul(d, mul(g, s)), count);
    });
}

void rotate(std::size_t n, const float* cosine, const float* sine, float sign, float* first, float* second) {
    const Vec direction = broadcast(sign);
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec c = load_group(cosine + i, count);
        const Vec s = mul(load_group(sine + i, count), direction);
        const Vec a = load_group(first + i, count);
        const Vec b = load_group(second + i, count);
        store_group(first + i, fms(a, c, mul(b, s)), count);
        store_group(second + i, fma(b, c, mul(a, s)), count);
    });
}

void layer_norm_forward(std::size_t n, const float* x, const float* gain, const float* bias, float epsilon,
                        float* y, float* mean, float* rstd) {
    const auto width = static_cast<float>(n);
    Vec total = zero();
    for_groups(n, [&](std::size_t i, std::size_t count) { total = add(total, load_group(x + i, count)); });
    const float row_mean = sum_of_lanes(total) / width;
    const Vec m = broadcast(row_mean);
    Vec squares = zero();
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec c = select(lanes_below(count), sub(load_group(x + i, count), m), zero());
        squares = fma(c, c, squares);
    });
    const Vec r = div(broadcast(1.0F), square_root(broadcast(sum_of_lanes(squares) / width + epsilon)));
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec normal = mul(sub(load_group(x + i, count), m), r);
        store_group(y + i, fma(normal, load_group(gain + i, count), load_group(bias + i, count)), count);
    });
    *mean = row_mean;
    store_first(rstd, r, 1);
}

void layer_norm_backward(std::size_t n, const float* x, const float* gain, float mean, float rstd,
                         const float* d_y, float* d_x) {
    const auto width = static_cast<float>(n);
    const Vec m = broadcast(mean);
    const Vec r = broadcast(rstd);
    Vec sum = zero();
    Vec dot = zero();
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec normal = mul(sub(load_group(x + i, count), m), r);
        // Past the row's end gain and d_y load as zero, so these lanes add nothing.
        const Vec d = mul(load_group(d_y + i, count), load_group(gain + i, count));
        sum = add(sum, d);
        dot = fma(d, normal, dot);
    });
    const Vec mean_d = broadcast(sum_of_lanes(sum) / width);
    const Vec mean_dot = broadcast(sum_of_lanes(dot) / width);
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec normal = mul(sub(load_group(x + i, count), m), r);
        const Vec d = mul(load_group(d_y + i, count), load_group(gain + i, count));
        const Vec change = fnma(normal, mean_dot, sub(d, mean_d));
        store_group(d_x + i, fma(r, change, load_group(d_x + i, count)), count);
    });
}

void rms_norm_forward(std::size_t n, const float* x, const float* gain, float epsilon, float* y,
                      float* rstd) {
    Vec squares = zero();
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec a = load_group(x + i, count);
        squares = fma(a, a, squares);
    });
    const float mean_square = sum_of_lanes(squares) / static_cast<float>(n);
    const Vec r = div(broadcast(1.0F), square_root(broadcast(mean_square + epsilon)));
    for_groups(n, [&](std::size_t i, std::size_t count) {
        store_group(y + i, mul(mul(load_group(x + i, count), r), load_group(gain + i, count)), count);
    });
    store_first(rstd, r, 1);
}

void rms_norm_backward(std::size_t n, const float* x, const float* gain, float rstd, const float* d_y,
                       float* d_x) {
    const Vec r = broadcast(rstd);
    Vec dot = zero();
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec d = mul(load_group(d_y + i, count), load_group(gain + i, count));
        dot = fma(d, mul(load_group(x + i, count), r), dot);
    });
    const Vec mean_dot = broadcast(sum_of_lanes(dot) / static_cast<float>(n));
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec normal = mul(load_group(x + i, count), r);
        const Vec d = mul(load_group(d_y + i, count), load_group(gain + i, count));
        store_group(d_x + i, fma(r, fnma(normal, mean_dot, d), load_group(d_x + i, count)), count);
    });
}

void column_gradients(std::size_t rows, std::size_t n, const float* x, std::size_t x_stride,
                      const float* mean, const float* rstd, const float* d_y, std::size_t d_y_stride,
                      float* d_gain, float* d_bias) {
    // Four groups of columns at a time hide the latency of the additions and use whole cache lines.
    constexpr std::size_t groups = 4;
    const auto add_part = [](float* sum, Vec part, std::size_t count, bool first) {
        if (sum != nullptr) store_group(sum, add(first ? zero() : load_group(sum, count), part), count);
    };
    // In blocks, as these sums may cancel and a long chain keeps the rounding of its largest part. A block
    // goes along its rows, as they lie in memory: down all the columns, every line would be waited for.
    std::size_t block = 0;
    do {
        const std::size_t end = rows - block < column_sum_block ? rows : block + column_sum_block;
        for (std::size_t begin = 0; begin < n; begin += 16 * groups) {
            const std::size_t width = n - begin < 16 * groups ? n - begin : 16 * groups;
            Vec gain_part[groups] = {zero(), zero(), zero(), zero()};
            Vec bias_part[groups] = {zero(), zero(), zero(), zero()};
            for (std::size_t t = block; t < end; ++t) {
                const float* const d_row = d_y + t * d_y_stride + begin;
                const float* const x_row = x == nullptr ? nullptr : x + t * x_stride + begin;
                for (std::size_t g = 0; g < groups && 16 * g < width; ++g) {
                    const std::size_t count = width - 16 * g < 16 ? width - 16 * g : 16;
                    __builtin_prefetch(d_row + 16 * (g + groups));
                    const Vec d = load_group(d_row + 16 * g, count);
                    bias_part[g] = add(bias_part[g], d);
                    if (x != nullptr) {
                        __builtin_prefetch(x_row + 16 * (g + groups));
                        Vec a = load_group(x_row + 16 * g, count);
                        if (mean != nullptr) a = sub(a, broadcast(mean[t]));
                        gain_part[g] = fma(d, mul(a, broadcast(rstd[t])), gain_part[g]);
                    }
                }
            }
            for (std::size_t g = 0; g < groups && 16 * g < width; ++g) {
                const std::size_t count = width - 16 * g < 16 ? width - 16 * g : 16;
                const std::size_t at = begin + 16 * g;
                add_part(d_gain == nullptr ? nullptr : d_gain + at, gain_part[g], count, block == 0);
                add_part(d_bias == nullptr ? nullptr : d_bias + at, bias_part[g], count, block == 0);
            }
        }
        block = end;
    } while (block < rows);
}

float row_max(std::size_t n, const float* x) {
    const Vec lowest = broadcast(-__builtin_inff());
    Vec m[4] = {lowest, lowest, lowest, lowest};
    std::size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        for (std::size_t g = 0; g < 4; ++g) m[g] = max(m[g], load(x + i + 16 * g));
    }
    for_groups(n - i, [&](std::size_t j, std::size_t count) {
        m[0] = max(m[0], select(lanes_below(count), load_group(x + i + j, count), lowest));
    });
    return max_of_lanes(max(max(m[0], m[1]), max(m[2], m[3])));
}

/// Sixteen float lanes inside a block of 1,024 columns, blocks in double in ascending order.
template <class Use>
LOCKSTEP_INLINE double sum_of_exponentials(std::size_t n, float maximum, const float* x, Use use) {
    const Vec m = broadcast(maximum);
    double total = 0;
    for (std::size_t begin = 0; begin < n; begin += softmax_block) {
        const std::size_t width = n - begin < softmax_block ? n - begin : softmax_block;
        Vec sum = zero();
        for_groups(width, [&](std::size_t i, std::size_t count) {
            Vec e = exponential_not_large(sub(load_group(x + begin + i, count), m));
            if (count < 16) e = select(lanes_below(count), e, zero());
            sum = add(sum, e);
            use(begin + i, e, count);
        });
        total += static_cast<double>(sum_of_lanes(sum));
    }
    return total;
}
double exponentials_and_sum(std::size_t n, float maximum, float* x) {
    return sum_of_exponentials(
        n, maximum, x, [&](std::size_t i, Vec e, std::size_t count) { store_group(x + i, e, count); });
}
double exponential_sum(std::size_t n, float maximum, const float* x) {
    return sum_of_exponentials(n, maximum, x, [](std::size_t, Vec, std::size_t) {});
}

unsigned accumulate_exact(std::size_t n, const float* gradient, double scale, float limit, bool first,
                          std::int64_t* accumulator) {
    const Vec bound = broadcast(limit);
    const Vec largest = broadcast(__FLT_MAX__);
    unsigned flags = 0;
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec g = load_group(gradient + i, count);
        const Vec size = absolute(g);
        const Mask finite = greater_equal(largest, size);
        if (!all(finite)) flags |= 2U;
        if (any(both(finite, greater_equal(size, bound)))) flags |= 1U;
        if (flags != 0) return;
        if (count == 16) {
            accumulate_integers(accumulator + i, g, scale, first);
        } else {
            std::int64_t padded[16] = {};
            for (std::size_t j = 0; j < count && !first; ++j) padded[j] = accumulator[i + j];
            accumulate_integers(padded, g, scale, first);
            for (std::size_t j = 0; j < count; ++j) accumulator[i + j] = padded[j];
        }
    });
    return flags;
}

void exact_to_float(std::size_t n, const std::int64_t* sum, float scale, float* out) {
    const Vec factor = broadcast(scale);
    for_groups(n, [&](std::size_t i, std::size_t count) {
        if (count == 16) {
            store(out + i, mul(from_integers(sum + i), factor));
        } else {
            std::int64_t padded[16] = {};
            for (std::size_t j = 0; j < count; ++j) padded[j] = sum[i + j];
            store_first(out + i, mul(from_integers(padded), factor), count);
        }
    });
}

double square_sum(std::size_t n, const float* values) {
    DoubleVec total = double_zero();
    for_groups(n, [&](std::size_t i, std::size_t count) {
        total = add_square(widen(load_group(values + i, count)), total);
    });
    return sum_of_lanes(total);
}

void adamw(std::size_t n, const AdamWFactors& f, const float* gradient, float* w, float* m, float* v) {
    for_groups(n, [&](std::size_t i, std::size_t count) {
        const Vec g = mul(load_group(gradient + i, count), broadcast(f.gradient_factor));
        const Vec new_m =
            fma(broadcast(f.beta1), load_group(m + i, count), mul(broadcast(f.one_minus_beta1), g));
        const Vec new_v =
            fma(broadcast(f.beta2), load_group(v + i, count), mul(broadcast(f.one_minus_beta2), mul(g, g)));
        const Vec root = square_root(mul(new_v, broadcast(f.inverse_correction2)));
        const Vec step = div(mul(new_m, broadcast(f.inverse_correction1)), add(root, broadcast(f.epsilon)));
        const Vec weight = load_group(w + i, count);
        const Vec change = fma(broadcast(f.weight_decay), weight, step);
        store_group(m + i, new_m, count);
        store_group(v + i, new_v, count);
        store_group(w + i, fnma(broadcast(f.learning_rate), change, weight), count);
    });
}

}  // namespace
}  // namespace lockstep::LOCKSTEP_SIMD
