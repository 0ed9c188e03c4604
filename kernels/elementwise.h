// kernels/elementwise.h
//
// Bias, activations, residual. All matrices (T, width).

#pragma once

#include <span>

#include "kernels/matrix_view.h"
#include "kernels/thread_pool.h"

namespace lockstep {

/// y += bias, for every row.
void add_bias(ThreadPool& pool, MatrixView y, std::span<const float> bias);
/// d_bias (width) written: sum over rows, in ascending blocks of 32 (docs/numerics.md).
void bias_gradient(ThreadPool& pool, ConstMatrixView d_y, std::span<float> d_bias);
/// y += x.
void add_to(ThreadPool& pool, ConstMatrixView x, MatrixView y);

/// GELU, tanh form (GPT-2's): y = 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
void gelu_forward(ThreadPool& pool, ConstMatrixView x, MatrixView y);
/// d (T, width): gradient of y on entry, of x on return.
void gelu_backward(ThreadPool& pool, ConstMatrixView x, MatrixView d);

/// gate_up (T, 2F): gate in the first F columns, up in the rest. y (T, F) = silu(gate)·up.
void swiglu_forward(ThreadPool& pool, ConstMatrixView gate_up, MatrixView y);
/// d_gate_up (T, 2F) written.
void swiglu_backward(ThreadPool& pool, ConstMatrixView gate_up, ConstMatrixView d_y, MatrixView d_gate_up);

}  // namespace lockstep
