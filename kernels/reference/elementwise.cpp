#include "kernels/reference/elementwise.h"

#include <cmath>
#include <numbers>

namespace lockstep::reference {

double gelu(double x) {
    return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double silu(double x) {
    return x / (1.0 + std::exp(-x));
}

double swiglu(double gate, double up) {
    return silu(gate) * up;
}

}  // namespace lockstep::reference
