// kernels/cross_entropy.h
//
// The vocabulary head and its loss, by token tiles of 256: logits of one tile are
// made, turned into their gradient in place, and used for both gradients at once.
// No T×V buffer. Tiles start at the pack's first token, so a weight gradient's
// blocks of 256 (fma256) are exactly these tiles.

#pragma once

#include <cstdint>
#include <span>

#include "kernels/gemm.h"
#include "kernels/matrix_view.h"

namespace lockstep {

inline constexpr std::size_t head_tile_tokens = 256;
inline constexpr std::int32_t ignored_target = -1;

/// Loss and gradients of hidden · headᵀ against targets.
///
/// @param hidden    (T, C)
/// @param head      (V, C)
/// @param targets   (T) token id, or ignored_target.
/// @param scale     Factor of every dlogit: float(1 / targets of the step).
/// @param d_hidden  (T, C) written.
/// @param d_head    (V, C) written; no rows: not asked for.
/// @param logits    (min(T, head_tile_tokens) · V) scratch.
/// @param token_loss (T) written, 0 without a target [nat]; may be empty.
/// @return sum of the targets' losses, in double in token order [nat].
double head_loss_backward(const Gemm& gemm, ConstMatrixView hidden, const WeightView& head,
                          std::span<const std::int32_t> targets, float scale, MatrixView d_hidden,
                          MatrixView d_head, float* logits, std::span<float> token_loss);

/// Loss alone.
double head_loss(const Gemm& gemm, ConstMatrixView hidden, const WeightView& head,
                 std::span<const std::int32_t> targets, float* logits, std::span<float> token_loss);

}  // namespace lockstep
