// kernels/matrix_view.h
//
// A borrowed row-major matrix. Never owns; buffers belong to one named owner.

#pragma once

#include <cstddef>
#include <span>

namespace lockstep {

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
        return {data + begin, rows, end - begin, stride};
    }
    operator BasicMatrixView<const T>() const { return {data, rows, cols, stride}; }
};

using MatrixView = BasicMatrixView<float>;
using ConstMatrixView = BasicMatrixView<const float>;

}  // namespace lockstep
