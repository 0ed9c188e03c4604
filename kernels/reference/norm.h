// kernels/reference/norm.h
//
// LayerNorm and RMSNorm in double, written to be read.

#pragma once

#include <span>

#include "kernels/matrix_view.h"

namespace lockstep::reference {

/// As layer_norm_forward, without the kept mean and rstd.
void layer_norm(BasicMatrixView<const double> x, std::span<const double> gain, std::span<const double> bias,
                double epsilon, BasicMatrixView<double> y);

/// As rms_norm_forward, without the kept rstd.
void rms_norm(BasicMatrixView<const double> x, std::span<const double> gain, double epsilon,
              BasicMatrixView<double> y);

}  // namespace lockstep::reference
