#include "kernels/optimizer.h"

#include <algorithm>
#include <array>
#include <bit>

#include "io/base/contract.h"
#include "kernels/simd/kernel_table.h"

namespace lockstep {

namespace {

AdamWFactors factors_of(const AdamWStep& step) {
    return {
        .gradient_factor = step.gradient_factor,
        .beta1 = step.beta1,
        .one_minus_beta1 = 1.0F - step.beta1,
        .beta2 = step.beta2,
        .one_minus_beta2 = 1.0F - step.beta2,
        .inverse_correction1 = 1.0F / step.bias_correction1,
        .inverse_correction2 = 1.0F / step.bias_correction2,
        .epsilon = step.epsilon,
        .weight_decay = step.weight_decay,
        .learning_rate = step.learning_rate,
    };
}

/// Call body(begin, floats) for every run of a block or less.
template <class Body>
void for_blocks(const ExactReader& reader, std::size_t begin, std::size_t end, const Body& body) {
    std::array<float, state_block> block;
    for (; begin < end; begin += state_block) {
        const std::span<float> floats = std::span(block).first(std::min(state_block, end - begin));
        reader.read(begin, floats);
        body(begin, floats);
    }
}

}  // namespace

void adamw_update(ThreadPool& pool, const AdamWStep& step, std::span<const float> gradient,
                  std::span<float> weights, std::span<float> m, std::span<float> v) {
    LOCKSTEP_EXPECTS(weights.size() == gradient.size() && m.size() == gradient.size() &&
                     v.size() == gradient.size());
    const KernelTable& kernels = kernel_table();
    const AdamWFactors factors = factors_of(step);
    pool.for_ranges(gradient.size(), state_block, [&](std::size_t begin, std::size_t end) {
        kernels.adamw(end - begin, factors, gradient.data() + begin, weights.data() + begin, m.data() + begin,
                      v.data() + begin);
    });
}

void adamw_update(ThreadPool& pool, const AdamWStep& step, ExactGradient gradient, std::span<float> weights,
                  std::span<float> m, std::span<float> v) {
    LOCKSTEP_EXPECTS(weights.size() == gradient.size() && m.size() == gradient.size() &&
                     v.size() == gradient.size());
    const KernelTable& kernels = kernel_table();
    const AdamWFactors factors = factors_of(step);
    const ExactReader reader(gradient);
    pool.for_ranges(gradient.size(), state_block, [&](std::size_t begin, std::size_t end) {
        for_blocks(reader, begin, end, [&](std::size_t at, std::span<const float> floats) {
            kernels.adamw(floats.size(), factors, floats.data(), weights.data() + at, m.data() + at,
                          v.data() + at);
        });
    });
}

void block_square_sums(ThreadPool& pool, std::span<const float> values, std::span<double> sums) {
    LOCKSTEP_EXPECTS(values.size() == sums.size() * state_block);
    const KernelTable& kernels = kernel_table();
    pool.for_ranges(sums.size(), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t b = begin; b < end; ++b) {
            sums[b] = kernels.square_sum(state_block, values.data() + b * state_block);
        }
    });
}

void block_square_sums(ThreadPool& pool, ExactGradient gradient, std::span<double> sums) {
    LOCKSTEP_EXPECTS(gradient.size() == sums.size() * state_block);
    const KernelTable& kernels = kernel_table();
    const ExactReader reader(gradient);
    pool.for_ranges(gradient.size(), state_block, [&](std::size_t begin, std::size_t end) {
        for_blocks(reader, begin, end, [&](std::size_t at, std::span<const float> floats) {
            sums[at / state_block] = kernels.square_sum(floats.size(), floats.data());
        });
    });
}

double combine_block_sums(std::span<const double> sums) {
    if (sums.empty()) return 0;
    if (sums.size() == 1) return sums[0];
    const std::size_t half = std::bit_floor(sums.size() - 1);
    return combine_block_sums(sums.first(half)) + combine_block_sums(sums.subspan(half));
}

}  // namespace lockstep
