// kernels/gemm_kernels.h
//
// Matrix products on the calling thread, all with the same bits. Internal to
// kernels/: Gemm splits a product over threads and chooses.

#pragma once

#include "kernels/gemm_operand.h"

namespace lockstep {

/// Our kernel for kernel_isa(). @pre k > 0, here and below.
void multiply_own(const GemmProblem& problem);

/// OpenBLAS by the recipe of docs/numerics.md, and multiply_own for the rows and blocks it excludes. The bits
/// are right only where Gemm's self-test passed.
void multiply_by_recipe(const GemmProblem& problem);

/// @param scratch  gemm_scratch_floats floats, aligned to 64 bytes, of this thread
/// alone.
/// @pre The CPU has the instruction set.
void multiply_avx512(const GemmProblem& problem, float* scratch);
void multiply_avx2(const GemmProblem& problem, float* scratch);

}  // namespace lockstep
