// kernels/gemm/kernels.h
//
// Matrix products on the calling thread, all with the same bits. Internal to
// kernels/: Gemm splits a product over threads and chooses.

#pragma once

#include <span>

#include "kernels/gemm/operand.h"

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

// --- The contract bf16 ---

void multiply_bf16_amx(const GemmProblem& problem, float* scratch);
void multiply_bf16_instruction(const GemmProblem& problem, float* scratch);
void multiply_bf16_avx512(const GemmProblem& problem, float* scratch);
void multiply_bf16_avx2(const GemmProblem& problem, float* scratch);
void pack_bf16_amx(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels);
void pack_bf16_instruction(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels);
void pack_bf16_avx512(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels);
void pack_bf16_avx2(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels);

/// out[i] = vdpbf16ps of sums[i] and the pairs a[i] and b[i], i < 16: for comparing with
/// reference::dot_pair. @pre cpu_has_bf16_dot().
void dot_pairs_by_instruction(const float* sums, const unsigned* a, const unsigned* b, float* out);

/// out (16, 16) = tdpbf16ps of sums (16, 16) and the pairs a (16 rows, 16) and b (16 of k, 16 columns): for
/// comparing with reference::tile_dot. @pre cpu_has_bf16_tiles().
void dot_tiles_by_instruction(const float* sums, const unsigned* a, const unsigned* b, float* out);

struct Bf16Kernel {
    const char* name;
    bool emulates;  ///< Slower than the instruction.
    void (*multiply)(const GemmProblem&);
    /// As pack_own; null: reads no panels.
    void (*pack)(const GemmOperand&, std::size_t lines, std::size_t block_k, float* panels);
};
/// What kernel_isa() and the CPU allow, the fastest first, the scalar model last. All have the same bits.
std::span<const Bf16Kernel> bf16_kernels();

}  // namespace lockstep
