#include "kernels/elementwise.h"

#include "io/base/contract.h"
#include "kernels/simd/kernel_table.h"

namespace lockstep {
namespace {

/// Call body(row) for every row, rows shared out among the threads.
template <class Body>
void for_rows(ThreadPool& pool, std::size_t rows, const Body& body) {
    pool.for_ranges(rows, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) body(t);
    });
}

}  // namespace

void add_bias(MatrixView y, std::span<const float> bias) {
    LOCKSTEP_EXPECTS(bias.size() == y.cols);
    const KernelTable& kernels = kernel_table();
    for (std::size_t t = 0; t < y.rows; ++t) kernels.add(y.cols, bias.data(), y.row(t));
}

void bias_gradient(ThreadPool& pool, ConstMatrixView d_y, std::span<float> d_bias) {
    LOCKSTEP_EXPECTS(d_bias.size() == d_y.cols);
    const KernelTable& kernels = kernel_table();
    pool.for_ranges(d_y.cols, 16, [&](std::size_t begin, std::size_t end) {
        kernels.column_gradients(d_y.rows, end - begin, nullptr, 0, nullptr, nullptr,
                                 d_y.col_range(begin, end).data, d_y.stride, nullptr, d_bias.data() + begin);
    });
}

void scale_by(ThreadPool& pool, float factor, MatrixView x) {
    const KernelTable& kernels = kernel_table();
    for_rows(pool, x.rows, [&](std::size_t t) { kernels.scale(x.cols, factor, x.row(t)); });
}

void add_bias_gelu_forward(MatrixView x, std::span<const float> bias, MatrixView y) {
    LOCKSTEP_EXPECTS(x.rows == y.rows && x.cols == y.cols && bias.size() == x.cols);
    const KernelTable& kernels = kernel_table();
    for (std::size_t t = 0; t < x.rows; ++t) {
        kernels.add(x.cols, bias.data(), x.row(t));
        kernels.gelu_forward(x.cols, x.row(t), y.row(t));
    }
}

void gelu_backward(ConstMatrixView x, MatrixView d) {
    LOCKSTEP_EXPECTS(x.rows == d.rows && x.cols == d.cols);
    const KernelTable& kernels = kernel_table();
    for (std::size_t t = 0; t < x.rows; ++t) kernels.gelu_backward(x.cols, x.row(t), d.row(t));
}

void swiglu_forward(ThreadPool& pool, ConstMatrixView gate_up, MatrixView y) {
    LOCKSTEP_EXPECTS(gate_up.rows == y.rows && gate_up.cols == 2 * y.cols);
    const KernelTable& kernels = kernel_table();
    for_rows(pool, y.rows, [&](std::size_t t) {
        kernels.swiglu_forward(y.cols, gate_up.row(t), gate_up.row(t) + y.cols, y.row(t));
    });
}

void swiglu_backward(ConstMatrixView gate, ConstMatrixView up, ConstMatrixView d_y, MatrixView d_gate,
                     MatrixView d_up) {
    for ([[maybe_unused]] const ConstMatrixView m :
         {gate, up, ConstMatrixView(d_gate), ConstMatrixView(d_up)}) {
        LOCKSTEP_EXPECTS(m.rows == d_y.rows && m.cols == d_y.cols);
    }
    const KernelTable& kernels = kernel_table();
    for (std::size_t t = 0; t < d_y.rows; ++t) {
        kernels.swiglu_backward(d_y.cols, gate.row(t), up.row(t), d_y.row(t), d_gate.row(t), d_up.row(t));
    }
}

}  // namespace lockstep
