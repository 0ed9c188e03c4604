// kernels/gemm_kernels.h
//
// Our own matrix products, one per instruction set; the same bits from each.
// Internal to kernels/: Gemm chooses.

#pragma once

#include "kernels/gemm_operand.h"

namespace lockstep {

/// On the calling thread. @param scratch  gemm_scratch_floats floats, aligned to 64 bytes, of this thread
/// alone.
/// @pre The CPU has the instruction set; k > 0.
void multiply_avx512(const GemmProblem& problem, float* scratch);
void multiply_avx2(const GemmProblem& problem, float* scratch);

}  // namespace lockstep
