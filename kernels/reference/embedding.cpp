#include "kernels/reference/embedding.h"

#include <cmath>
#include <complex>
#include <cstddef>
#include <vector>

namespace lockstep::reference {

void rotate(const AttentionShape& shape, std::span<const std::uint32_t> position_ids,
            std::span<const double> frequencies, double magnitude, BasicMatrixView<double> qkv) {
    const std::size_t half = shape.head_dim / 2;
    for (std::size_t t = 0; t < qkv.rows; ++t) {
        for (std::size_t head = 0; head < shape.num_heads + shape.num_kv_heads; ++head) {
            double* const x = qkv.row(t) + head * shape.head_dim;
            for (std::size_t i = 0; i < half; ++i) {
                const double angle = static_cast<double>(position_ids[t]) * frequencies[i];
                const std::complex<double> turned =
                    std::complex(x[i], x[i + half]) * std::polar(magnitude, angle);
                x[i] = turned.real();
                x[i + half] = turned.imag();
            }
        }
    }
}

void rotate(const AttentionShape& shape, std::span<const std::uint32_t> position_ids, double base,
            BasicMatrixView<double> qkv) {
    std::vector<double> frequencies;
    for (std::size_t i = 0; i < shape.head_dim / 2; ++i) {
        frequencies.push_back(
            std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(shape.head_dim)));
    }
    rotate(shape, position_ids, frequencies, 1.0, qkv);
}

}  // namespace lockstep::reference
