// kernels/embedding.h
//
// Token and position tables, and rotary positions.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "kernels/matrix_view.h"
#include "kernels/thread_pool.h"

namespace lockstep {

/// out (T, C) = table[id]; every id is below table.rows.
void embedding_forward(ThreadPool& pool, std::span<const std::uint32_t> ids, ConstMatrixView table,
                       MatrixView out, Accumulate accumulate);
/// d_table[id] += d_out row, in ascending token order; zeroed first unless accumulating.
void embedding_backward(ThreadPool& pool, std::span<const std::uint32_t> ids, ConstMatrixView d_out,
                        MatrixView d_table, Accumulate accumulate);

/// base^(−2i/head_dim), (head_dim / 2) [rad per position].
std::vector<double> rotary_frequencies(std::size_t head_dim, double base);

/// Rotary positions, Llama's half-split form: dimensions i and i + head_dim/2 turn by position · frequency i.
class RotaryTable {
  public:
    /// @param frequencies  (head_dim / 2) [rad per position]
    /// @param magnitude    factor of what is turned, in rotate and rotate_back alike.
    RotaryTable(std::size_t positions, std::span<const double> frequencies, double magnitude = 1);
    /// The plain frequencies. @param head_dim  even.
    RotaryTable(std::size_t positions, std::size_t head_dim, double base)
        : RotaryTable(positions, rotary_frequencies(head_dim, base)) {}

    static std::size_t bytes(std::size_t positions, std::size_t head_dim) {
        return positions * head_dim * sizeof(float);
    }

    /// Turn queries and keys of qkv (T, qkv_width) in place, by position_ids (T).
    void rotate(ThreadPool& pool, const AttentionShape& shape, std::span<const std::uint32_t> position_ids,
                MatrixView qkv) const;
    /// The inverse turn, for gradients.
    void rotate_back(ThreadPool& pool, const AttentionShape& shape,
                     std::span<const std::uint32_t> position_ids, MatrixView d_qkv) const;

  private:
    std::size_t half_;
    std::vector<float> cos_, sin_;  ///< (positions, head_dim / 2)
};

}  // namespace lockstep
