// worker/model/rotary_frequencies.h
//
// How fast each pair of a head's dimensions turns with the position, as rope_theta
// and rope_scaling of a configuration say. In double and by our own functions:
// they reach the state.

#pragma once

#include <vector>

#include "kernels/embedding.h"
#include "worker/model/model_config.h"

namespace lockstep {

/// (head_dim / 2) [rad per position], of the Llama family:
/// - none: f_i = base^(−2i/head_dim).
/// - linear: f_i / factor.
/// - llama3: wavelengths 2π/f_i above original/low are divided by factor, those below original/high are
///   kept, and between the two mixed linearly in original/wavelength.
/// - yarn: f_i / factor where i is at or above the dimension that turns `low` times within the original
///   positions, f_i at or below the one that turns `high` times, mixed linearly in i between.
///
/// Source: the functions of the same names in Hugging Face's modeling_rope_utils; Peng et al. 2023, "YaRN",
/// arXiv:2309.00071.
std::vector<double> scaled_rotary_frequencies(const ModelConfig& config);

/// yarn's attention_factor where none is given: 0.1·ln(factor) + 1.
double yarn_magnitude(double factor);

/// @param positions  that occur: at most the configuration's, and no more than a segment has tokens.
RotaryTable make_rotary_table(const ModelConfig& config, std::size_t positions);

}  // namespace lockstep
