// kernels/reference/gemm_bf16.h
//
// The matrix product of the numerical contract bf16, and the instruction it is
// made for, written to be read. Every other implementation gives the same bits
// (NaN payloads excepted).
//
// Source of the instruction: Intel 64 and IA-32 Architectures Software Developer's
// Manual, volume 2, VDPBF16PS and VCVTNE2PS2BF16.

#pragma once

#include <cstdint>

#include "kernels/gemm_operand.h"

namespace lockstep::reference {

/// To the nearest bf16, ties to even; a denormal number becomes a zero of its sign, not a number stays so.
std::uint16_t to_bf16(float x);
/// Exact.
float from_bf16(std::uint16_t x);

/// fma(a, b, c) rounded to nearest even, with denormal a, b and c taken as zeros of their sign, and a result
/// that is below 2^−126 after it was rounded to 24 bits becoming a zero of its sign.
float flushing_fma(float a, float b, float c);

/// One lane of vdpbf16ps: the product of the high halves is added first, then that of the low halves.
float dot_pair(float sum, std::uint32_t a, std::uint32_t b);

/// On the calling thread. Needs a CPU with FMA.
void multiply_bf16(const GemmProblem& problem);

}  // namespace lockstep::reference
