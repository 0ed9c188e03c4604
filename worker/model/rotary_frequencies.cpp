#include "worker/model/rotary_frequencies.h"

#include <algorithm>
#include <cmath>

#include "kernels/scalar_math.h"

namespace lockstep {

namespace {

constexpr double two_pi = 6.283185307179586;

void stretch_llama3(const RotaryScaling& scaling, std::vector<double>& frequencies) {
    const auto original = static_cast<double>(scaling.original_positions);
    for (double& frequency : frequencies) {
        const double wavelength = two_pi / frequency;
        if (wavelength < original / scaling.high) continue;
        if (wavelength > original / scaling.low) {
            frequency /= scaling.factor;
        } else {
            const double kept = (original / wavelength - scaling.low) / (scaling.high - scaling.low);
            frequency = (1 - kept) * frequency / scaling.factor + kept * frequency;
        }
    }
}

/// The dimension, of head_dim / 2 and as a fraction, that turns so often within the original positions.
double dimension_of(const ModelConfig& config, double turns) {
    const auto original = static_cast<double>(config.rope.original_positions);
    return static_cast<double>(config.head_dim) * exact_log(original / (turns * two_pi)) /
           (2 * exact_log(config.rope_base));
}

void stretch_yarn(const ModelConfig& config, std::vector<double>& frequencies) {
    const double first = std::max(std::floor(dimension_of(config, config.rope.high)), 0.0);
    double last =
        std::min(std::ceil(dimension_of(config, config.rope.low)), static_cast<double>(config.head_dim) - 1);
    if (first == last) last += 0.001;
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        const double stretched = std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
        frequencies[i] = stretched * (frequencies[i] / config.rope.factor) + (1 - stretched) * frequencies[i];
    }
}

}  // namespace

std::vector<double> scaled_rotary_frequencies(const ModelConfig& config) {
    std::vector<double> frequencies = rotary_frequencies(config.head_dim, config.rope_base);
    switch (config.rope.kind) {
        case RotaryScaling::Kind::none:
            break;
        case RotaryScaling::Kind::linear:
            for (double& frequency : frequencies) frequency /= config.rope.factor;
            break;
        case RotaryScaling::Kind::llama3:
            stretch_llama3(config.rope, frequencies);
            break;
        case RotaryScaling::Kind::yarn:
            stretch_yarn(config, frequencies);
            break;
    }
    return frequencies;
}

double yarn_magnitude(double factor) {
    return 0.1 * exact_log(factor) + 1;
}

RotaryTable make_rotary_table(const ModelConfig& config, std::size_t positions) {
    return RotaryTable(positions, scaled_rotary_frequencies(config), config.rope.magnitude);
}

}  // namespace lockstep
