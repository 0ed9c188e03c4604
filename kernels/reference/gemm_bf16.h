// kernels/reference/gemm_bf16.h
//
// The matrix product of the numerical contract bf16, and the instructions it is
// made for, written to be read. Every other implementation gives the same bits
// (NaN payloads excepted).
//
// Source of the instructions: Intel 64 and IA-32 Architectures Software Developer's
// Manual, volume 2, VDPBF16PS, TDPBF16PS and VCVTNE2PS2BF16.

#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm/operand.h"

namespace lockstep::reference {

/// To the nearest bf16, ties to even; a denormal number becomes a zero of its sign, not a number stays so.
std::uint16_t to_bf16(float x);
/// Exact.
float from_bf16(std::uint16_t x);

/// fma(a, b, c) rounded to nearest even, with denormal a, b and c taken as zeros of their sign, and a result
/// that is below 2^−126 after it was rounded to 24 bits becoming a zero of its sign.
/// @pre a and b are bf16, or |fma(a, b, c)| is not near 2^−126.
float flushing_fma(float a, float b, float c);
/// a + b, with denormal a and b taken as zeros, and a denormal result becoming one.
float flushing_add(float a, float b);

/// One lane of vdpbf16ps: the product of the high halves is added first, then that of the low halves.
float dot_pair(float sum, std::uint32_t a, std::uint32_t b);

/// One element of tdpbf16ps: the low halves of the pairs are one chain from +0, the high halves another;
/// their sum is added to `sum`.
float tile_dot(float sum, const std::uint32_t* a, std::size_t a_step, const std::uint32_t* b,
               std::size_t b_step, std::size_t pairs);

/// On the calling thread. Needs a CPU with FMA.
void multiply_bf16(const GemmProblem& problem);

}  // namespace lockstep::reference
