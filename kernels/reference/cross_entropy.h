// kernels/reference/cross_entropy.h
//
// The vocabulary head's loss in double, written to be read.

#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix_view.h"

namespace lockstep::reference {

/// −log softmax(hidden · headᵀ)[target] of every token, 0 without a target. As head_loss, [nat].
void head_loss(BasicMatrixView<const double> hidden, BasicMatrixView<const double> head,
               std::span<const std::int32_t> targets, std::span<double> token_loss);

}  // namespace lockstep::reference
