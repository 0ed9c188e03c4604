// kernels/gemm/blocked.h
//
// The blocked matrix product behind avx2.cpp and avx512.cpp: a tile of C
// lives in registers while k ascends through one block of 256. A block is one chain
// per element, so the contract fma256 holds by construction, whatever the tile an
// element falls into. B is read from panels, packed here or once for many products;
// A is read where it lies if its k stands side by side, else packed too.
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

#include "kernels/gemm/operand.h"
#include "kernels/unroll.h"

namespace lockstep {

// Rows of A whose part of C stays in the second-level cache while k ascends through its blocks; a panel of B
// stays in the first.
inline constexpr std::size_t block_rows = 192;    // A multiple of every tile height, 6 and 12.
inline constexpr std::size_t chunk_lines = 1024;  // Of B; a multiple of every tile width, 16 and 32.
inline constexpr std::size_t chunk_k = 2048;      // A multiple of gemm_block_k.
inline constexpr std::size_t packed_a_floats = block_rows * (gemm_block_k + 16);
inline constexpr std::size_t packed_b_floats = chunk_lines * chunk_k;
/// What multiply_avx2 and multiply_avx512 need, aligned to 64 bytes.
inline constexpr std::size_t gemm_scratch_floats = packed_a_floats + packed_b_floats;

/// A part of a product whose operands stay near: rows [m0, m1), columns [n0, n1), k [k0, k0 + block_k).
struct ProductBlock {
    std::size_t m0, m1, n0, n1, k0, block_k;
    std::size_t chunk_k0;  ///< Where the chunk of B begins that k0 lies in.
    bool add;              ///< To what C holds.

    /// B's lines of this block are met for the first time in the chunk.
    bool is_first() const { return m0 == 0; }
};

/// Call body(block) for all of a product, k ascending for every element of C.
template <class Body>
void for_product_blocks(const GemmProblem& p, const Body& body) {
    const auto smaller = [](std::size_t x, std::size_t y) { return x < y ? x : y; };
    for (std::size_t n0 = 0; n0 < p.n; n0 += chunk_lines) {
        const std::size_t n1 = smaller(p.n, n0 + chunk_lines);
        for (std::size_t s0 = 0; s0 < p.k; s0 += chunk_k) {
            const std::size_t s1 = smaller(p.k, s0 + chunk_k);
            for (std::size_t m0 = 0; m0 < p.m; m0 += block_rows) {
                const std::size_t m1 = smaller(p.m, m0 + block_rows);
                for (std::size_t k0 = s0; k0 < s1; k0 += gemm_block_k) {
                    body(ProductBlock{m0, m1, n0, n1, k0, smaller(gemm_block_k, s1 - k0), s0,
                                      p.accumulate || k0 > 0});
                }
            }
        }
    }
}

/// A's part of a block.
static inline GemmOperand a_of_block(const GemmProblem& p, const ProductBlock& block) {
    return {p.a.data + block.m0 * p.a.line_stride + block.k0 * p.a.k_stride, p.a.line_stride, p.a.k_stride};
}

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
                // Lines lie too far apart for the processor to see where this leads.
                if (i < left) __builtin_prefetch(source + i * x.line_stride + k + 64);
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
    const std::size_t in_whole_vectors = lines > width ? lines - width : 0;
    for (std::size_t k = 0; k < block_k; ++k) {
        const float* source = x.data + k * x.k_stride;
        const float* ahead = source + 4 * x.k_stride;
        float* target = panels + k * panel_width;
        std::size_t begin = 0;
        // What a vector writes beyond a narrow panel's line is overwritten by the next k, if there is one.
        for (; k + 1 < block_k && begin + panel_width <= in_whole_vectors; begin += panel_width) {
            for (std::size_t first = 0; first < panel_width; first += width) {
                __builtin_prefetch(ahead + begin + first);
                Lanes::store(target + first, Lanes::load(source + begin + first));
            }
            target += block_k * panel_width;
        }
        for (; begin < lines; begin += panel_width, target += block_k * panel_width) {
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

/// A as a tile reads it: element k of row i at data[i * row_stride + k * k_stride].
struct TileRows {
    const float* data;
    std::size_t row_stride;  ///< Unused when packed.
};

/// One tile: c (Rows, columns) = c or 0, plus the chains over one block of k. `columns` reaches into the last
/// vector. A is packed in tile_rows rows side by side, or lies row by row.
/// @param next  what is read after this tile, fetched meanwhile: 4 floats for each k.
template <class Lanes, std::size_t Rows, std::size_t Vectors, bool Packed>
[[gnu::noinline]] void multiply_tile(TileRows a, const float* b, std::size_t block_k, float* c,
                                     std::size_t c_stride, std::size_t columns, bool add, const float* next) {
    using Vector = typename Lanes::Vector;
    Vector chain[Rows][Vectors];
    LOCKSTEP_UNROLL
    for (std::size_t i = 0; i < Rows; ++i) {
        // Both ends: a row of the tile is at most two cache lines wide. The chains below hide the wait.
        __builtin_prefetch(c + i * c_stride, 1);
        __builtin_prefetch(c + i * c_stride + columns - 1, 1);
        LOCKSTEP_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) chain[i][v] = Lanes::zero();
    }
    // Three rows share a pointer: twelve would be more than there are registers for.
    constexpr std::size_t shared = 3;
    const float* rows[(Rows + shared - 1) / shared];
    for (std::size_t i = 0; i < Rows; i += shared) rows[i / shared] = a.data + i * a.row_stride;
    for (std::size_t k = 0; k < block_k; ++k) {
        Vector line[Vectors];
        LOCKSTEP_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) line[v] = Lanes::load(b + v * Lanes::width);
        __builtin_prefetch(next, 0, 2);
        LOCKSTEP_UNROLL
        for (std::size_t i = 0; i < Rows; ++i) {
            const float* const place = Packed ? a.data + i : rows[i / shared] + i % shared * a.row_stride;
            const Vector element = Lanes::broadcast(place);
            LOCKSTEP_UNROLL
            for (std::size_t v = 0; v < Vectors; ++v) chain[i][v] = Lanes::fma(element, line[v], chain[i][v]);
        }
        if constexpr (Packed) {
            a.data += Lanes::tile_rows;
        } else {
            for (const float*& row : rows) ++row;
        }
        b += Lanes::tile_vectors * Lanes::width;
        next += 4;
    }
    constexpr std::size_t before_last = (Vectors - 1) * Lanes::width;
    const std::size_t in_last = columns - before_last;
    LOCKSTEP_UNROLL
    for (std::size_t i = 0; i < Rows; ++i, c += c_stride) {
        LOCKSTEP_UNROLL
        for (std::size_t v = 0; v + 1 < Vectors; ++v) {
            float* target = c + v * Lanes::width;
            Lanes::store(target, Lanes::add(add ? Lanes::load(target) : Lanes::zero(), chain[i][v]));
        }
        float* target = c + before_last;
        const Vector old = add ? Lanes::load_first(target, in_last) : Lanes::zero();
        Lanes::store_first(target, in_last, Lanes::add(old, chain[i][Vectors - 1]));
    }
}

/// The tile of `rows` ≤ Rows rows.
template <class Lanes, std::size_t Rows, bool Packed>
void multiply_rows(std::size_t rows, TileRows a, const float* b, std::size_t block_k, float* c,
                   std::size_t c_stride, std::size_t columns, bool add, const float* next) {
    if (rows == Rows) {
        if (columns <= Lanes::width) {
            multiply_tile<Lanes, Rows, 1, Packed>(a, b, block_k, c, c_stride, columns, add, next);
        } else {
            multiply_tile<Lanes, Rows, 2, Packed>(a, b, block_k, c, c_stride, columns, add, next);
        }
    } else if constexpr (Rows > 1) {
        multiply_rows<Lanes, Rows - 1, Packed>(rows, a, b, block_k, c, c_stride, columns, add, next);
    }
}

/// B of one product: from its panels, or packed here as it is first met.
template <class Lanes>
class PanelsOfB {
  public:
    static constexpr std::size_t tile_columns = Lanes::tile_vectors * Lanes::width;

    PanelsOfB(const GemmProblem& p, float* scratch) : p_(p), scratch_(scratch) {}

    /// B's lines of this block are about to be used.
    void enter(const ProductBlock& block) {
        block_k_ = block.block_k;
        n0_ = block.n0;
        if (p_.panels.data != nullptr) {
            const GemmPanels& made = p_.panels;
            panels_ = made.data + (made.first_k + block.k0) * made.lines_padded +
                      (made.first_line + n0_) * block_k_;
            packs_ = false;
            return;
        }
        made_here_ = scratch_ + (block.k0 - block.chunk_k0) * chunk_lines;
        panels_ = made_here_;
        source_ = {p_.b.data + block.k0 * p_.b.k_stride, p_.b.line_stride, p_.b.k_stride};
        packs_ = block.is_first() && p_.b.line_stride != 1;
        if (block.is_first() && p_.b.line_stride == 1) {
            pack_panels<Lanes>({source_.data + n0_, 1, source_.k_stride}, block.n1 - n0_, block_k_,
                               tile_columns, made_here_);
        }
    }
    /// The panel of lines [j, j + columns).
    const float* panel(std::size_t j, std::size_t columns) {
        const std::size_t at = (j - n0_) * block_k_;
        // Transposed beside its first use, while it is in the cache anyway.
        if (packs_) {
            pack_panels<Lanes>(
                {source_.data + j * source_.line_stride, source_.line_stride, source_.k_stride}, columns,
                block_k_, tile_columns, made_here_ + at);
        }
        return panels_ + at;
    }

  private:
    const GemmProblem& p_;
    float* scratch_;
    float* made_here_ = nullptr;
    const float* panels_ = nullptr;
    GemmOperand source_{};
    std::size_t block_k_ = 0, n0_ = 0;
    bool packs_ = false;
};

template <class Lanes, bool PackA>
void multiply_blocked(const GemmProblem& p, float* scratch) {
    constexpr std::size_t tile_rows = Lanes::tile_rows;
    constexpr std::size_t tile_columns = Lanes::tile_vectors * Lanes::width;
    static_assert(block_rows % tile_rows == 0 && chunk_lines % panel_lines == 0 &&
                  panel_lines % tile_columns == 0 && chunk_k % gemm_block_k == 0);
    float* const packed_a = scratch + packed_b_floats;
    PanelsOfB<Lanes> b(p, scratch);
    const auto smaller = [](std::size_t x, std::size_t y) { return x < y ? x : y; };

    for_product_blocks(p, [&](const ProductBlock& block) {
        const std::size_t block_k = block.block_k;
        const GemmOperand a = a_of_block(p, block);
        if constexpr (PackA) {
            pack_panels<Lanes>(a, block.m1 - block.m0, block_k, tile_rows, packed_a);
        }
        b.enter(block);
        for (std::size_t j = block.n0; j < block.n1; j += tile_columns) {
            const std::size_t columns = smaller(tile_columns, block.n1 - j);
            const float* const panel = b.panel(j, columns);
            const float* next = panel + tile_columns * block_k;
            for (std::size_t i = block.m0; i < block.m1; i += tile_rows, next += 4 * block_k) {
                const std::size_t row = i - block.m0;
                const TileRows rows = PackA ? TileRows{packed_a + row * block_k, 1}
                                            : TileRows{a.data + row * a.line_stride, a.line_stride};
                multiply_rows<Lanes, tile_rows, PackA>(smaller(tile_rows, block.m1 - i), rows, panel, block_k,
                                                       p.c + i * p.c_stride + j, p.c_stride, columns,
                                                       block.add, next);
            }
        }
    });
}

/// @pre k > 0.
template <class Lanes>
void multiply_by_tiles(const GemmProblem& p, float* scratch) {
    if (p.a.k_stride == 1) {
        multiply_blocked<Lanes, false>(p, scratch);
    } else {
        multiply_blocked<Lanes, true>(p, scratch);
    }
}

}  // namespace lockstep
