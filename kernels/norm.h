// kernels/norm.h
//
// LayerNorm and RMSNorm over rows, forward and backward. Row sums by a fixed
// 16-lane tree; sums over tokens in ascending blocks of 32 tokens.

#pragma once

#include <span>

#include "kernels/matrix_view.h"
#include "kernels/thread_pool.h"

namespace lockstep {

/// y = (x − mean)·rstd·gain + bias. x, y (T, C); gain, bias (C); mean, rstd (T) written.
void layer_norm_forward(ThreadPool& pool, ConstMatrixView x, std::span<const float> gain,
                        std::span<const float> bias, float epsilon, MatrixView y, std::span<float> mean,
                        std::span<float> rstd);

/// d_x (T, C) is ADDED to (the residual branch is already there); d_gain, d_bias (C) are written.
void layer_norm_backward(ThreadPool& pool, ConstMatrixView x, std::span<const float> gain,
                         std::span<const float> mean, std::span<const float> rstd, ConstMatrixView d_y,
                         MatrixView d_x, std::span<float> d_gain, std::span<float> d_bias);

/// y = x·rstd·gain, rstd = 1/√(mean of squares + epsilon).
void rms_norm_forward(ThreadPool& pool, ConstMatrixView x, std::span<const float> gain, float epsilon,
                      MatrixView y, std::span<float> rstd);

/// d_x is ADDED to; d_gain is written.
void rms_norm_backward(ThreadPool& pool, ConstMatrixView x, std::span<const float> gain,
                       std::span<const float> rstd, ConstMatrixView d_y, MatrixView d_x,
                       std::span<float> d_gain);

}  // namespace lockstep
