// kernels/matrix_view.h
//
// A borrowed row-major matrix. Never owns; buffers belong to one named owner.

#pragma once

#include <cstddef>
#include <span>

namespace lockstep {

/// Rows [row_begin, row_end) and columns [column_begin, column_end) of a matrix.
struct MatrixRange {
    std::size_t row_begin, row_end, column_begin, column_end;
};

template <class T>
struct BasicMatrixView {
    T* data = nullptr;
    std::size_t rows = 0;
    std::size_t cols = 0;
    std::size_t stride = 0;  ///< Elements from one row to the next, ≥ cols.

    BasicMatrixView() = default;
    BasicMatrixView(T* d, std::size_t r, std::size_t c) : data(d), rows(r), cols(c), stride(c) {}
    BasicMatrixView(T* d, std::size_t r, std::size_t c, std::size_t s)
        : data(d), rows(r), cols(c), stride(s) {}

    T* row(std::size_t r) const { return data + r * stride; }
    BasicMatrixView row_range(std::size_t begin, std::size_t end) const {
        return {data + begin * stride, end - begin, cols, stride};
    }
    BasicMatrixView col_range(std::size_t begin, std::size_t end) const {
        // Without rows there may be no data to offset.
        return {rows > 0 ? data + begin : data, rows, end - begin, stride};
    }
    BasicMatrixView part(const MatrixRange& r) const {
        return row_range(r.row_begin, r.row_end).col_range(r.column_begin, r.column_end);
    }
    operator BasicMatrixView<const T>() const { return {data, rows, cols, stride}; }
};

using MatrixView = BasicMatrixView<float>;
using ConstMatrixView = BasicMatrixView<const float>;

}  // namespace lockstep
