// kernels/gemm/parallel.h
//
// A matrix product divided among the threads of a pool. The shards are parts of the
// result, and every element is one thread's from its first term to its last: the
// division does not show in the bits.

#pragma once

#include <cstddef>

#include "kernels/gemm.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/operand.h"
#include "kernels/matrix_view.h"
#include "kernels/thread_pool.h"

namespace lockstep {

using GemmKernel = void (*)(const GemmProblem&);
using PanelPacker = void (*)(const GemmOperand&, std::size_t lines, std::size_t block_k, float* panels);
/// Floats that hold so many terms of k of one line.
using PanelFloats = std::size_t (*)(std::size_t terms);

/// @pre sizes of a, b and c agree with `form`.
GemmProblem problem_of(GemmShape::Form form, ConstMatrixView a, ConstMatrixView b, MatrixView c,
                       Accumulate accumulate);

/// An empty sum, k = 0, is zero.
/// @pre fusion.start, if any, has c's size.
void multiply_parallel(ThreadPool& pool, GemmKernel kernel, const GemmProblem& p,
                       const GemmFusion& fusion = {});

/// `lines` rounded up to whole panels.
std::size_t to_panels(std::size_t lines);
/// PanelFloats of fma256: a float a term.
std::size_t fma256_floats(std::size_t terms);

/// Lay out a weight (out, in) as panels for the forms nt and nn; null: not for that one. A tile of the weight
/// is read from memory once for both.
void pack_parallel(ThreadPool& pool, PanelPacker packer, PanelFloats floats_of, ConstMatrixView weight,
                   float* nt_panels, float* nn_panels);

}  // namespace lockstep
