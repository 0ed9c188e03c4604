// kernels/gemm/operand.h
//
// One product as the kernels see it: the three forms differ only in the strides
// of their operands. Internal to kernels/. Included by files compiled for one
// instruction set, so it holds plain data alone.

#pragma once

#include <cstddef>

namespace lockstep {

/// A dot product's block length in both contracts.
inline constexpr std::size_t gemm_block_k = 256;
/// Terms of a chain in the contract bf16, and of the two chains that are added first: what a row of an AMX
/// tile holds.
inline constexpr std::size_t bf16_chain_k = 16;
inline constexpr std::size_t bf16_group_k = 2 * bf16_chain_k;
/// Floats that hold `terms` terms of k of one line: pairs of bf16, in whole groups.
static inline std::size_t bf16_floats(std::size_t terms) {
    return (terms + bf16_group_k - 1) / bf16_group_k * bf16_chain_k;
}

/// Element k of line i (a row of A, or a column of B) is data[i * line_stride + k * k_stride]. One stride
/// is 1.
struct GemmOperand {
    const float* data;
    std::size_t line_stride;
    std::size_t k_stride;
};

/// Columns of a panel: a multiple of every tile's columns.
inline constexpr std::size_t panel_lines = 32;

/// B in panels, as our own kernels read it: block after block of gemm_block_k, in each of them panel after
/// panel of a tile's columns, in which element k of line i stands at [k][i]. Lines up to lines_padded are 0.
/// Under the contract bf16, pairs of k stand where elements would (gemm_bf16_blocked.h).
struct GemmPanels {
    const float* data = nullptr;   ///< Whole B's; null: there are none.
    std::size_t lines_padded = 0;  ///< Of the whole B, to whole panels.
    std::size_t first_line = 0;    ///< Of the part that is meant; a multiple of panel_lines.
    std::size_t first_k = 0;       ///< A multiple of gemm_block_k.
};

/// c (m, n) = or += the dot products of a's m lines with b's n lines.
struct GemmProblem {
    std::size_t m, n, k;
    GemmOperand a, b;
    float* c;
    std::size_t c_stride;
    bool accumulate;
    GemmPanels panels = {};  ///< The same B, or nothing.
};

/// The part of a product in rows [m_begin, m_end), columns [n_begin, n_end) and k in [k_begin, k_end).
/// From k_begin > 0 on it adds to what the earlier part left. k_begin is a multiple of gemm_block_k, n_begin
/// of panel_lines where there are panels.
/// Internal linkage: no copy compiled for a wider instruction set may serve other files.
static inline GemmProblem part_of(const GemmProblem& p, std::size_t m_begin, std::size_t m_end,
                                  std::size_t n_begin, std::size_t n_end, std::size_t k_begin,
                                  std::size_t k_end) {
    GemmProblem part = p;
    part.m = m_end - m_begin;
    part.n = n_end - n_begin;
    part.k = k_end - k_begin;
    part.a.data += m_begin * p.a.line_stride + k_begin * p.a.k_stride;
    part.b.data += n_begin * p.b.line_stride + k_begin * p.b.k_stride;
    part.c += m_begin * p.c_stride + n_begin;
    part.accumulate = p.accumulate || k_begin > 0;
    part.panels.first_line += n_begin;
    part.panels.first_k += k_begin;
    return part;
}

}  // namespace lockstep
