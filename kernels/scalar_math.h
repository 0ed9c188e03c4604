// kernels/scalar_math.h
//
// exp, log, sin, cos in double from fma steps alone: libm's last bits differ
// between versions, and these reach the state (initial weights, schedules,
// rotary tables). Error below 2 ulp on the stated ranges.

#pragma once

#include <cstdint>

namespace lockstep {

double exact_exp(double x);  ///< [−745, 709]; 0 and +inf beyond.
double exact_log(double x);  ///< Positive normal numbers.
double exact_sin(double x);  ///< |x| ≤ 2^30 [rad]
double exact_cos(double x);  ///< |x| ≤ 2^30 [rad]
double exact_tanh(double x);

/// base^n by repeated squaring: the powers of β in Adam.
double power(double base, std::uint64_t n);

/// Standard normal number of element `index` of stream `stream` (Box–Muller on Philox).
float standard_normal(std::uint64_t seed, std::uint64_t stream, std::uint64_t index);

}  // namespace lockstep
