// kernels/optimizer.h
//
// AdamW with decoupled decay, and the pieces of the gradient norm. Elementwise,
// so a slice's boundaries cannot change a bit.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/exact_accumulate.h"
#include "kernels/thread_pool.h"

namespace lockstep {

/// The flat state is cut into blocks of this many elements; slices are whole blocks.
inline constexpr std::size_t state_block = 4096;

struct AdamWStep {
    float learning_rate = 0;
    float beta1 = 0;
    float beta2 = 0;
    float epsilon = 0;
    float weight_decay = 0;      ///< 0 for vectors.
    float bias_correction1 = 0;  ///< 1 − β1^t
    float bias_correction2 = 0;  ///< 1 − β2^t
    float gradient_factor = 1;   ///< Of clipping.
};

/// g ← g·factor; m ← β1·m + (1 − β1)·g; v ← β2·v + (1 − β2)·g²;
/// w ← w − lr·(m/bc1 / (√(v/bc2) + ε) + wd·w). All spans equally long.
void adamw_update(ThreadPool& pool, const AdamWStep& step, std::span<const float> gradient,
                  std::span<float> weights, std::span<float> m, std::span<float> v);

/// The same of a gradient still in the exact sum, which is read once.
void adamw_update(ThreadPool& pool, const AdamWStep& step, ExactGradient gradient, std::span<float> weights,
                  std::span<float> m, std::span<float> v);

/// Sum of squares of each block of `state_block` elements, in double, by a fixed lane tree.
/// @pre values.size() == sums.size() · state_block.
void block_square_sums(ThreadPool& pool, std::span<const float> values, std::span<double> sums);
void block_square_sums(ThreadPool& pool, ExactGradient gradient, std::span<double> sums);

/// Sum of all by a fixed binary tree over block numbers (halves at the largest power of two below the count).
double combine_block_sums(std::span<const double> sums);

}  // namespace lockstep
