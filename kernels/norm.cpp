#include "kernels/norm.h"

#include "io/base/contract.h"
#include "kernels/simd/kernel_table.h"

namespace lockstep {

void layer_norm_forward(ThreadPool& pool, ConstMatrixView x, std::span<const float> gain,
                        std::span<const float> bias, float epsilon, MatrixView y, std::span<float> mean,
                        std::span<float> rstd) {
    LOCKSTEP_EXPECTS(y.rows == x.rows && y.cols == x.cols && gain.size() == x.cols && bias.size() == x.cols);
    LOCKSTEP_EXPECTS(mean.size() == x.rows && rstd.size() == x.rows);
    const KernelTable& kernels = kernel_table();
    pool.for_ranges(x.rows, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
            kernels.layer_norm_forward(x.cols, x.row(t), gain.data(), bias.data(), epsilon, y.row(t),
                                       &mean[t], &rstd[t]);
        }
    });
}

void layer_norm_backward(ThreadPool& pool, ConstMatrixView x, std::span<const float> gain,
                         std::span<const float> mean, std::span<const float> rstd, ConstMatrixView d_y,
                         MatrixView d_x, std::span<float> d_gain, std::span<float> d_bias) {
    LOCKSTEP_EXPECTS(d_y.rows == x.rows && d_y.cols == x.cols && d_x.rows == x.rows && d_x.cols == x.cols);
    LOCKSTEP_EXPECTS(mean.size() == x.rows && rstd.size() == x.rows && gain.size() == x.cols);
    LOCKSTEP_EXPECTS(d_gain.size() == d_bias.size() && (d_gain.empty() || d_gain.size() == x.cols));
    const KernelTable& kernels = kernel_table();
    pool.for_ranges(x.rows, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
            kernels.layer_norm_backward(x.cols, x.row(t), gain.data(), mean[t], rstd[t], d_y.row(t),
                                        d_x.row(t));
        }
    });
    if (d_gain.empty()) return;
    // Sums over tokens: threads share out columns, so every chain stays whole.
    pool.for_ranges(x.cols, 16, [&](std::size_t begin, std::size_t end) {
        kernels.column_gradients(x.rows, end - begin, x.col_range(begin, end).data, x.stride, mean.data(),
                                 rstd.data(), d_y.col_range(begin, end).data, d_y.stride,
                                 d_gain.data() + begin, d_bias.data() + begin);
    });
}

void rms_norm_forward(ThreadPool& pool, ConstMatrixView x, std::span<const float> gain, float epsilon,
                      MatrixView y, std::span<float> rstd) {
    LOCKSTEP_EXPECTS(y.rows == x.rows && y.cols == x.cols && gain.size() == x.cols && rstd.size() == x.rows);
    const KernelTable& kernels = kernel_table();
    pool.for_ranges(x.rows, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
            kernels.rms_norm_forward(x.cols, x.row(t), gain.data(), epsilon, y.row(t), &rstd[t]);
        }
    });
}

void rms_norm_backward(ThreadPool& pool, ConstMatrixView x, std::span<const float> gain,
                       std::span<const float> rstd, ConstMatrixView d_y, MatrixView d_x,
                       std::span<float> d_gain) {
    LOCKSTEP_EXPECTS(d_y.rows == x.rows && d_y.cols == x.cols && d_x.rows == x.rows && d_x.cols == x.cols);
    LOCKSTEP_EXPECTS(rstd.size() == x.rows && gain.size() == x.cols);
    LOCKSTEP_EXPECTS(d_gain.empty() || d_gain.size() == x.cols);
    const KernelTable& kernels = kernel_table();
    pool.for_ranges(x.rows, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
            kernels.rms_norm_backward(x.cols, x.row(t), gain.data(), rstd[t], d_y.row(t), d_x.row(t));
        }
    });
    if (d_gain.empty()) return;
    pool.for_ranges(x.cols, 16, [&](std::size_t begin, std::size_t end) {
        kernels.column_gradients(x.rows, end - begin, x.col_range(begin, end).data, x.stride, nullptr,
                                 rstd.data(), d_y.col_range(begin, end).data, d_y.stride,
                                 d_gain.data() + begin, nullptr);
    });
}

}  // namespace lockstep
