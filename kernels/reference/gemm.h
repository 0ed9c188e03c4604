// kernels/reference/gemm.h
//
// The matrix product of the numerical contract fma256, written to be read. Every
// other implementation gives the same bits (NaN payloads excepted).

#pragma once

#include "kernels/gemm/operand.h"

namespace lockstep::reference {

/// On the calling thread. Needs a CPU with FMA.
void multiply(const GemmProblem& problem);

}  // namespace lockstep::reference
