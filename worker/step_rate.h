// worker/step_rate.h
//
// How fast a model's packed step runs here, on made-up tokens: for `doctor` and
// benchmarks.

#pragma once

#include <cstddef>

#include "kernels/gemm.h"
#include "worker/model/model_config.h"

namespace lockstep {

struct StepRate {
    std::size_t tokens = 0;      ///< Of one pack.
    double median_seconds = 0;   ///< Forward, loss, backward, exact sum and update of one pack.
    double flop_per_second = 0;  ///< Useful operations (flop_per_token).
};

/// @param segments  the pack's tokens are cut into this many equal segments.
/// @param seconds   how long to measure, about; at least three steps.
StepRate measure_step_rate(const ModelConfig& config, const Gemm& gemm, std::size_t tokens,
                           std::size_t segments, double seconds);

}  // namespace lockstep
