// kernels/elementwise.h
//
// Bias and activations. All matrices (T, width). What takes no pool works on a part of
// a matrix, as one thread meets it at the end of a matrix product (GemmFusion::finish).

#pragma once

#include <span>

#include "kernels/matrix_view.h"
#include "kernels/thread_pool.h"

namespace lockstep {

/// y += bias, for every row.
void add_bias(MatrixView y, std::span<const float> bias);
/// d_bias (width) written: sum over rows, in ascending blocks of 32 (docs/numerics.md).
void bias_gradient(ThreadPool& pool, ConstMatrixView d_y, std::span<float> d_bias);

/// x *= factor.
void scale_by(ThreadPool& pool, float factor, MatrixView x);

/// GELU, tanh form (GPT-2's): y = 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
/// x += bias before it.
void add_bias_gelu_forward(MatrixView x, std::span<const float> bias, MatrixView y);
/// d (T, width): gradient of y on entry, of x on return.
void gelu_backward(ConstMatrixView x, MatrixView d);

/// gate_up (T, 2F): gate in the first F columns, up in the rest. y (T, F) = silu(gate)·up.
void swiglu_forward(ThreadPool& pool, ConstMatrixView gate_up, MatrixView y);
/// gate, up, d_gate, d_up as d_y; the last two written.
void swiglu_backward(ConstMatrixView gate, ConstMatrixView up, ConstMatrixView d_y, MatrixView d_gate,
                     MatrixView d_up);

}  // namespace lockstep
