#include "kernels/reference/norm.h"

#include <cmath>
#include <cstddef>

namespace lockstep::reference {

void layer_norm(BasicMatrixView<const double> x, std::span<const double> gain, std::span<const double> bias,
                double epsilon, BasicMatrixView<double> y) {
    const auto width = static_cast<double>(x.cols);
    for (std::size_t t = 0; t < x.rows; ++t) {
        double mean = 0;
        for (std::size_t i = 0; i < x.cols; ++i) mean += x.row(t)[i] / width;
        double variance = 0;
        for (std::size_t i = 0; i < x.cols; ++i) {
            variance += (x.row(t)[i] - mean) * (x.row(t)[i] - mean) / width;
        }
        const double rstd = 1.0 / std::sqrt(variance + epsilon);
        for (std::size_t i = 0; i < x.cols; ++i)
            y.row(t)[i] = (x.row(t)[i] - mean) * rstd * gain[i] + bias[i];
    }
}

void rms_norm(BasicMatrixView<const double> x, std::span<const double> gain, double epsilon,
              BasicMatrixView<double> y) {
    const auto width = static_cast<double>(x.cols);
    for (std::size_t t = 0; t < x.rows; ++t) {
        double mean_square = 0;
        for (std::size_t i = 0; i < x.cols; ++i) mean_square += x.row(t)[i] * x.row(t)[i] / width;
        const double rstd = 1.0 / std::sqrt(mean_square + epsilon);
        for (std::size_t i = 0; i < x.cols; ++i) y.row(t)[i] = x.row(t)[i] * rstd * gain[i];
    }
}

}  // namespace lockstep::reference
