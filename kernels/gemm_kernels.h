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

/// What multiply_own allocates on a thread's first call.
std::size_t own_scratch_bytes();

/// Whether multiply_own reads panels.
bool own_reads_panels();
/// `lines` lines of B and one block of k, as the panels of GemmPanels. @pre own_reads_panels().
void pack_own(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels);
void pack_avx512(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels);
void pack_avx2(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels);

}  // namespace lockstep
