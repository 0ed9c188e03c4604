// kernels/reference/elementwise.h
//
// Activations in double, as they are defined.

#pragma once

namespace lockstep::reference {

/// 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
double gelu(double x);
/// x / (1 + exp(−x))
double silu(double x);
/// silu(gate)·up
double swiglu(double gate, double up);

}  // namespace lockstep::reference
