// kernels/gemm_blocked.h
//
// The blocked matrix product behind gemm_avx2.cpp and gemm_avx512.cpp: operands
// are packed into panels, and a tile of C lives in registers while k ascends
// through one block of 256. A block is one chain per element, so the contract
// fma256 holds by construction, whatever the tile an element falls into.
//
// Everything here is a template over `Lanes`, the vector operations of one
// instruction set, which each file defines in its unnamed namespace. So every
// instance is local to that file, and the linker cannot merge them. The inner
// functions stay functions: inlined into one, they take minutes to compile under the sanitizers.
//
// Source of the loop order: Goto and van de Geijn 2008, "Anatomy of
// High-Performance Matrix Multiplication", ACM TOMS 34(3).

#pragma once

#include <cstddef>

#include "kernels/gemm_operand.h"

namespace lockstep {

// A block of packed A stays in the second-level cache, a panel of packed B in the first.
inline constexpr std::size_t packed_a_lines = 96;    // A multiple of every tile height, 6 and 12.
inline constexpr std::size_t packed_b_lines = 2048;  // A multiple of every tile width, 16 and 32.
inline constexpr std::size_t packed_a_floats = packed_a_lines * gemm_block_k + 16;
inline constexpr std::size_t packed_b_floats = packed_b_lines * gemm_block_k;
/// What multiply_avx2 and multiply_avx512 need, aligned to 64 bytes.
inline constexpr std::size_t gemm_scratch_floats = packed_a_floats + packed_b_floats;

/// Write lines whose k stands side by side (k_stride 1) as one panel, by blocks of width x width.
template <class Lanes>
[[gnu::noinline]] void transpose_to_panel(const GemmOperand& x, std::size_t lines, std::size_t block_k,
                                          std::size_t panel_width, float* panel) {
    using Vector = typename Lanes::Vector;
    constexpr std::size_t width = Lanes::width;
    for (std::size_t first = 0; first < panel_width; first += width) {
        const std::size_t left = lines > first ? lines - first : 0;
        const float* source = x.data + first * x.line_stride;
        for (std::size_t k = 0; k < block_k; k += width) {
            const std::size_t columns = block_k - k < width ? block_k - k : width;
            Vector block[width];
            for (std::size_t i = 0; i < width; ++i) {
                block[i] =
                    i < left ? Lanes::load_first(source + i * x.line_stride + k, columns) : Lanes::zero();
            }
            Lanes::transpose(block);
            // Ascending k: what a vector writes beyond a narrow panel's line is overwritten by the next.
            for (std::size_t i = 0; i < columns; ++i) {
                Lanes::store(panel + (k + i) * panel_width + first, block[i]);
            }
        }
    }
}

/// Write lines that stand side by side (line_stride 1) as panels. k is the outer loop: with a panel at a
/// time, lines a power of two apart would push each other out of the cache between one panel and the next.
template <class Lanes>
[[gnu::noinline]] void copy_to_panels(const GemmOperand& x, std::size_t lines, std::size_t block_k,
                                      std::size_t panel_width, float* panels) {
    constexpr std::size_t width = Lanes::width;
    for (std::size_t k = 0; k < block_k; ++k) {
        const float* source = x.data + k * x.k_stride;
        float* target = panels + k * panel_width;
        for (std::size_t begin = 0; begin < lines; begin += panel_width, target += block_k * panel_width) {
            for (std::size_t first = 0; first < panel_width; first += width) {
                const std::size_t room = panel_width - first < width ? panel_width - first : width;
                const std::size_t left = lines > begin + first ? lines - begin - first : 0;
                const auto values = Lanes::load_first(source + begin + first, left < room ? left : room);
                Lanes::store_first(target + first, room, values);
            }
        }
    }
}

/// Write lines as panels of panel_width: element k of line i at [i / panel_width][k][i % panel_width];
/// missing lines of the last panel are 0. May write up to Lanes::width - 1 floats past the last panel.
template <class Lanes>
void pack_panels(const GemmOperand& x, std::size_t lines, std::size_t block_k, std::size_t panel_width,
                 float* panels) {
    if (x.line_stride == 1) return copy_to_panels<Lanes>(x, lines, block_k, panel_width, panels);
    for (std::size_t i = 0; i < lines; i += panel_width) {
        const GemmOperand rest{x.data + i * x.line_stride, x.line_stride, x.k_stride};
        transpose_to_panel<Lanes>(rest, lines - i, block_k, panel_width, panels + i * block_k);
    }
}

/// One tile: c (Rows, columns) = c or 0, plus the chains over one block of k. `columns` reaches into the last
/// vector.
template <class Lanes, std::size_t Rows, std::size_t Vectors>
[[gnu::noinline]] void multiply_tile(const float* a, const float* b, std::size_t block_k, float* c,
                                     std::size_t c_stride, std::size_t columns, bool add) {
    using Vector = typename Lanes::Vector;
    Vector chain[Rows][Vectors];
    for (std::size_t i = 0; i < Rows; ++i) {
        // Both ends: a row of the tile is at most two cache lines wide. The chains below hide the wait.
        __builtin_prefetch(c + i * c_stride, 1);
        __builtin_prefetch(c + i * c_stride + columns - 1, 1);
        for (std::size_t v = 0; v < Vectors; ++v) chain[i][v] = Lanes::zero();
    }
    for (std::size_t k = 0; k < block_k; ++k) {
        Vector line[Vectors];
        for (std::size_t v = 0; v < Vectors; ++v) line[v] = Lanes::load(b + v * Lanes::width);
        for (std::size_t i = 0; i < Rows; ++i) {
            const Vector element = Lanes::broadcast(a + i);
            for (std::size_t v = 0; v < Vectors; ++v) chain[i][v] = Lanes::fma(element, line[v], chain[i][v]);
        }
        a += Lanes::tile_rows;
        b += Lanes::tile_vectors * Lanes::width;
    }
    // Copied, because the loop below may stay a loop: an array it indexes lives in memory, also while k
    // ascends.
    Vector sum[Rows][Vectors];
    for (std::size_t i = 0; i < Rows; ++i) {
        for (std::size_t v = 0; v < Vectors; ++v) sum[i][v] = chain[i][v];
    }
    constexpr std::size_t before_last = (Vectors - 1) * Lanes::width;
    const std::size_t in_last = columns - before_last;
    for (std::size_t i = 0; i < Rows; ++i, c += c_stride) {
        for (std::size_t v = 0; v + 1 < Vectors; ++v) {
            float* target = c + v * Lanes::width;
            Lanes::store(target, Lanes::add(add ? Lanes::load(target) : Lanes::zero(), sum[i][v]));
        }
        float* target = c + before_last;
        const Vector old = add ? Lanes::load_first(target, in_last) : Lanes::zero();
        Lanes::store_first(target, in_last, Lanes::add(old, sum[i][Vectors - 1]));
    }
}

/// The tile of `rows` ≤ Rows rows.
template <class Lanes, std::size_t Rows>
void multiply_rows(std::size_t rows, const float* a, const float* b, std::size_t block_k, float* c,
                   std::size_t c_stride, std::size_t columns, bool add) {
    if (rows == Rows) {
        if (columns <= Lanes::width) {
            multiply_tile<Lanes, Rows, 1>(a, b, block_k, c, c_stride, columns, add);
        } else {
            multiply_tile<Lanes, Rows, 2>(a, b, block_k, c, c_stride, columns, add);
        }
    } else if constexpr (Rows > 1) {
        multiply_rows<Lanes, Rows - 1>(rows, a, b, block_k, c, c_stride, columns, add);
    }
}

template <class Lanes>
void multiply_blocked(const GemmProblem& p, float* scratch) {
    constexpr std::size_t tile_rows = Lanes::tile_rows;
    constexpr std::size_t tile_columns = Lanes::tile_vectors * Lanes::width;
    static_assert(packed_a_lines % tile_rows == 0 && packed_b_lines % tile_columns == 0);
    float* const packed_b = scratch;
    float* const packed_a = scratch + packed_b_floats;
    const auto smaller = [](std::size_t x, std::size_t y) { return x < y ? x : y; };

    for (std::size_t n0 = 0; n0 < p.n; n0 += packed_b_lines) {
        const std::size_t n1 = smaller(p.n, n0 + packed_b_lines);
        for (std::size_t k0 = 0; k0 < p.k; k0 += gemm_block_k) {
            const std::size_t block_k = smaller(gemm_block_k, p.k - k0);
            const bool add = p.accumulate || k0 > 0;
            for (std::size_t m0 = 0; m0 < p.m; m0 += packed_a_lines) {
                const std::size_t m1 = smaller(p.m, m0 + packed_a_lines);
                const GemmOperand a{p.a.data + m0 * p.a.line_stride + k0 * p.a.k_stride, p.a.line_stride,
                                    p.a.k_stride};
                pack_panels<Lanes>(a, m1 - m0, block_k, tile_rows, packed_a);
                for (std::size_t j = n0; j < n1; j += tile_columns) {
                    const std::size_t columns = smaller(tile_columns, n1 - j);
                    float* const panel = packed_b + (j - n0) * block_k;
                    // Packed beside its first use, while it is in the cache anyway.
                    if (m0 == 0) {
                        const GemmOperand b{p.b.data + j * p.b.line_stride + k0 * p.b.k_stride,
                                            p.b.line_stride, p.b.k_stride};
                        pack_panels<Lanes>(b, columns, block_k, tile_columns, panel);
                    }
                    for (std::size_t i = m0; i < m1; i += tile_rows) {
                        multiply_rows<Lanes, tile_rows>(smaller(tile_rows, m1 - i),
                                                        packed_a + (i - m0) * block_k, panel, block_k,
                                                        p.c + i * p.c_stride + j, p.c_stride, columns, add);
                    }
                }
            }
        }
    }
}

}  // namespace lockstep
