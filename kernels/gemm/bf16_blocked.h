// kernels/gemm/bf16_blocked.h
//
// The blocked matrix product of the contract bf16, in the manner of blocked.h:
// the chains of a tile of C live in registers through sixteen of k, and their sums
// beside it through one block of 256. Both operands are rounded to bf16 while they
// are packed, two of k to a pair of 32 bits. Pairs are kept in arrays of float, whose
// lanes they fill; nothing computes with them as floats. Groups of 32 of k are sixteen
// pairs; past the end of k stands +0.
//
// vdpbf16ps adds the product of the high halves first, then that of the low ones: a
// pair is two neighbours in k, the first in the high half. tdpbf16ps makes one chain
// of the high halves of a group and one of the low ones: its pair has one of each chain.
//
// `Lanes` is the Lanes of blocked.h with
//   partner               distance in k of a pair's two: 1, or 16
//   pair(x, y)            lane i: bf16 of x's lane i in the high half, of y's in the low half
//   pair_line(p, n)       the pairs of 2·width of k that begin at p; +0 from p[n] on, 0 < n ≤ 2·width
//   dot(sum, a, b)        what vdpbf16ps computes, in a thread that flushes
//   small_tile_rows       whose sums and both chains of a group fit into the registers; 0: tiles stay whole
//   pairs_ahead           pairs of B fetched ahead for each pair of a tile; one for each small tile

#pragma once

#include <cstddef>

#include "kernels/gemm/blocked.h"
#include "kernels/gemm/operand.h"

namespace lockstep {

inline constexpr std::size_t pairs_of_block = gemm_block_k / 2;
inline constexpr std::size_t pairs_of_chain = bf16_chain_k / 2;
inline constexpr std::size_t pairs_of_group = bf16_group_k / 2;
// Distance of A's rows, where they lie row by row: not a power of two, so that a tile's rows share no place
// in the cache.
inline constexpr std::size_t pair_row_stride = pairs_of_block + 16;
/// Of MXCSR: results that are denormal become zeros, and so do operands.
inline constexpr unsigned flush_mode_bits = 0x8040;
static_assert(block_rows * pair_row_stride <= packed_a_floats && chunk_k % 2 == 0);

/// k of a pair's first, from the block's first.
template <class Lanes>
std::size_t first_of_pair(std::size_t pair) {
    if constexpr (Lanes::partner == 1) return 2 * pair;
    return pair / pairs_of_group * bf16_group_k + pair % pairs_of_group;
}

/// Lines whose k stands side by side, as panels: pair k of line i at [i / panel_width][k][i % panel_width];
/// missing lines of the last panel are 0.
template <class Lanes>
[[gnu::noinline]] void transpose_to_pair_panels(const GemmOperand& x, std::size_t lines, std::size_t block_k,
                                                std::size_t panel_width, float* panels) {
    using Vector = typename Lanes::Vector;
    constexpr std::size_t width = Lanes::width;
    const std::size_t pairs = bf16_floats(block_k);
    for (std::size_t first = 0; first < lines; first += width) {
        const std::size_t left = lines - first;
        const float* source = x.data + first * x.line_stride;
        float* const panel = panels + first / panel_width * panel_width * pairs + first % panel_width;
        for (std::size_t k = 0; k < 2 * pairs; k += 2 * width) {
            const std::size_t there = block_k > k ? block_k - k : 0;
            const std::size_t columns = there < 2 * width ? there : 2 * width;
            Vector block[width];
            for (std::size_t i = 0; i < width; ++i) {
                if (i < left) {
                    __builtin_prefetch(source + i * x.line_stride + k + 128);
                    __builtin_prefetch(source + i * x.line_stride + k + 144);
                }
                block[i] = i < left && there > 0 ? Lanes::pair_line(source + i * x.line_stride + k, columns)
                                                 : Lanes::zero();
            }
            Lanes::transpose(block);
            for (std::size_t i = 0; i < width; ++i) {
                Lanes::store(panel + (k / 2 + i) * panel_width, block[i]);
            }
        }
        // The panel's second half, where no line begins one.
        if (left <= width && first % panel_width + width < panel_width) {
            for (std::size_t k = 0; k < pairs; ++k) {
                Lanes::store(panel + k * panel_width + width, Lanes::zero());
            }
        }
    }
}

/// Lines that stand side by side, as the same panels. k is the outer loop, as in copy_to_panels.
template <class Lanes>
[[gnu::noinline]] void copy_to_pair_panels(const GemmOperand& x, std::size_t lines, std::size_t block_k,
                                           std::size_t panel_width, float* panels) {
    constexpr std::size_t width = Lanes::width;
    const std::size_t pairs = bf16_floats(block_k);
    for (std::size_t pair = 0; pair < pairs; ++pair) {
        const std::size_t k = first_of_pair<Lanes>(pair);
        const bool has_one = k < block_k;
        const bool has_two = k + Lanes::partner < block_k;
        const float* const one = x.data + k * x.k_stride;
        const float* const two = one + Lanes::partner * x.k_stride;
        const float* const ahead = one + 4 * x.k_stride;
        float* target = panels + pair * panel_width;
        for (std::size_t begin = 0; begin < lines; begin += panel_width, target += pairs * panel_width) {
            for (std::size_t first = 0; first < panel_width; first += width) {
                const std::size_t room = panel_width - first < width ? panel_width - first : width;
                const std::size_t left = lines > begin + first ? lines - begin - first : 0;
                const std::size_t count = left < room ? left : room;
                const std::size_t at = begin + first;
                if (count > 0) {
                    __builtin_prefetch(ahead + at);
                    __builtin_prefetch(ahead + Lanes::partner * x.k_stride + at);
                }
                const auto high = has_one ? Lanes::load_first(one + at, count) : Lanes::zero();
                const auto low = has_two ? Lanes::load_first(two + at, count) : Lanes::zero();
                Lanes::store_first(target + first, room, Lanes::pair(high, low));
            }
        }
    }
}

/// B's lines as panels of a tile's columns.
template <class Lanes>
void pack_pair_panels(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    constexpr std::size_t tile_columns = Lanes::tile_vectors * Lanes::width;
    if (b.line_stride == 1) {
        copy_to_pair_panels<Lanes>(b, lines, block_k, tile_columns, panels);
    } else {
        transpose_to_pair_panels<Lanes>(b, lines, block_k, tile_columns, panels);
    }
}

/// B's lines of a block: from its panels, or packed into scratch when met for the first time.
template <class Lanes>
const float* pair_panels_of_b(const GemmProblem& p, float* scratch, const ProductBlock& block) {
    if (p.panels.data != nullptr) {
        return p.panels.data + (p.panels.first_k + block.k0) / 2 * p.panels.lines_padded +
               (p.panels.first_line + block.n0) * bf16_floats(block.block_k);
    }
    float* const made_here = scratch + (block.k0 - block.chunk_k0) / 2 * chunk_lines;
    if (block.is_first()) {
        const GemmOperand& b = p.b;
        pack_pair_panels<Lanes>(
            {b.data + block.n0 * b.line_stride + block.k0 * b.k_stride, b.line_stride, b.k_stride},
            block.n1 - block.n0, block.block_k, made_here);
    }
    return made_here;
}

/// A's rows, each at a multiple of pair_row_stride.
template <class Lanes>
[[gnu::noinline]] void pack_pair_rows(const GemmOperand& a, std::size_t rows, std::size_t block_k,
                                      float* packed) {
    constexpr std::size_t at_once = 2 * Lanes::width;
    for (std::size_t i = 0; i < rows; ++i) {
        const float* const source = a.data + i * a.line_stride;
        float* const target = packed + i * pair_row_stride;
        for (std::size_t k = 0; k < 2 * bf16_floats(block_k); k += at_once) {
            const std::size_t there = block_k > k ? block_k - k : 0;
            const std::size_t count = there < at_once ? there : at_once;
            Lanes::store(target + k / 2, there > 0 ? Lanes::pair_line(source + k, count) : Lanes::zero());
        }
    }
}

// The compiler may not move what touches memory across these.
[[gnu::always_inline]] static inline unsigned flush_on() {
    const unsigned mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | flush_mode_bits);
    asm volatile("" ::: "memory");
    return mode;
}
[[gnu::always_inline]] static inline void flush_off(unsigned mode) {
    asm volatile("" ::: "memory");
    __builtin_ia32_ldmxcsr(mode);
}

/// One tile over one block: sums (Rows, a tile's columns), and behind a whole tile room for as many chains.
/// In a thread that flushes: adding to C comes after.
/// @param next  what is read after this tile, fetched meanwhile: Lanes::pairs_ahead for each pair.
template <class Lanes, std::size_t Rows, std::size_t Vectors, bool ByRow>
[[gnu::noinline]] void multiply_pair_tile(const float* a, const float* b, std::size_t pairs, float* sums,
                                          const float* next) {
    using Vector = typename Lanes::Vector;
    constexpr std::size_t tile_columns = Lanes::tile_vectors * Lanes::width;
    float* const first_chains = sums + Lanes::tile_rows * tile_columns;
    for (std::size_t begin = 0; begin < pairs; begin += pairs_of_chain) {
        Vector chain[Rows][Vectors];
        for (std::size_t i = 0; i < Rows; ++i) {
            for (std::size_t v = 0; v < Vectors; ++v) chain[i][v] = Lanes::zero();
        }
        for (std::size_t k = 0; k < pairs_of_chain; ++k) {
            Vector line[Vectors];
            for (std::size_t v = 0; v < Vectors; ++v) line[v] = Lanes::load(b + v * Lanes::width);
            __builtin_prefetch(next, 0, 2);
            for (std::size_t i = 0; i < Rows; ++i) {
                const Vector element = Lanes::broadcast(a + (ByRow ? i * pair_row_stride : i));
                for (std::size_t v = 0; v < Vectors; ++v) {
                    chain[i][v] = Lanes::dot(chain[i][v], element, line[v]);
                }
            }
            a += ByRow ? 1 : Lanes::tile_rows;
            b += tile_columns;
            next += Lanes::pairs_ahead;
        }
        // Copied, because the loop below may stay a loop: an array it indexes lives in memory, also while k
        // ascends (kernels/unroll.h).
        Vector done[Rows][Vectors];
        for (std::size_t i = 0; i < Rows; ++i) {
            for (std::size_t v = 0; v < Vectors; ++v) done[i][v] = chain[i][v];
        }
        const bool is_first = begin % pairs_of_group == 0;
        for (std::size_t i = 0; i < Rows; ++i) {
            for (std::size_t v = 0; v < Vectors; ++v) {
                const std::size_t at = i * tile_columns + v * Lanes::width;
                if (is_first) {
                    Lanes::store(first_chains + at, done[i][v]);
                    continue;
                }
                const Vector before = begin > pairs_of_group ? Lanes::load(sums + at) : Lanes::zero();
                const Vector both = Lanes::add(Lanes::load(first_chains + at), done[i][v]);
                Lanes::store(sums + at, Lanes::add(before, both));
            }
        }
    }
}

/// The same for a tile so small that both chains of a group and the sums stay in registers: a fast
/// instruction would wait for the stores above.
template <class Lanes, std::size_t Rows, std::size_t Vectors, bool ByRow>
[[gnu::noinline]] void multiply_small_pair_tile(const float* a, const float* b, std::size_t pairs,
                                                float* sums, const float* next) {
    using Vector = typename Lanes::Vector;
    constexpr std::size_t tile_columns = Lanes::tile_vectors * Lanes::width;
    constexpr std::size_t a_step = ByRow ? 1 : Lanes::tile_rows;
    Vector sum[Rows][Vectors];
    LOCKSTEP_UNROLL
    for (std::size_t i = 0; i < Rows; ++i) {
        LOCKSTEP_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v) sum[i][v] = Lanes::zero();
    }
    for (std::size_t begin = 0; begin < pairs; begin += pairs_of_group) {
        __builtin_prefetch(next + begin, 0, 2);  // A cache line is a group of pairs.
        Vector one[Rows][Vectors], two[Rows][Vectors];
        LOCKSTEP_UNROLL
        for (std::size_t i = 0; i < Rows; ++i) {
            LOCKSTEP_UNROLL
            for (std::size_t v = 0; v < Vectors; ++v) one[i][v] = two[i][v] = Lanes::zero();
        }
        for (std::size_t k = 0; k < pairs_of_chain; ++k) {
            Vector line_one[Vectors], line_two[Vectors];
            LOCKSTEP_UNROLL
            for (std::size_t v = 0; v < Vectors; ++v) {
                line_one[v] = Lanes::load(b + v * Lanes::width);
                line_two[v] = Lanes::load(b + pairs_of_chain * tile_columns + v * Lanes::width);
            }
            LOCKSTEP_UNROLL
            for (std::size_t i = 0; i < Rows; ++i) {
                const float* const row = a + (ByRow ? i * pair_row_stride : i);
                const Vector element_one = Lanes::broadcast(row);
                const Vector element_two = Lanes::broadcast(row + pairs_of_chain * a_step);
                LOCKSTEP_UNROLL
                for (std::size_t v = 0; v < Vectors; ++v) {
                    one[i][v] = Lanes::dot(one[i][v], element_one, line_one[v]);
                    two[i][v] = Lanes::dot(two[i][v], element_two, line_two[v]);
                }
            }
            a += a_step;
            b += tile_columns;
        }
        a += pairs_of_chain * a_step;
        b += pairs_of_chain * tile_columns;
        LOCKSTEP_UNROLL
        for (std::size_t i = 0; i < Rows; ++i) {
            LOCKSTEP_UNROLL
            for (std::size_t v = 0; v < Vectors; ++v)
                sum[i][v] = Lanes::add(sum[i][v], Lanes::add(one[i][v], two[i][v]));
        }
    }
    LOCKSTEP_UNROLL
    for (std::size_t i = 0; i < Rows; ++i) {
        LOCKSTEP_UNROLL
        for (std::size_t v = 0; v < Vectors; ++v)
            Lanes::store(sums + i * tile_columns + v * Lanes::width, sum[i][v]);
    }
}

/// c (rows, columns) = c or 0, plus the sums of a tile.
template <class Lanes>
[[gnu::noinline]] void add_tile(const float* sums, std::size_t rows, float* c, std::size_t c_stride,
                                std::size_t columns, bool add) {
    constexpr std::size_t width = Lanes::width;
    for (std::size_t i = 0; i < rows; ++i, c += c_stride, sums += Lanes::tile_vectors * width) {
        for (std::size_t j = 0; j < columns; j += width) {
            const std::size_t count = columns - j < width ? columns - j : width;
            const auto old = add ? Lanes::load_first(c + j, count) : Lanes::zero();
            Lanes::store_first(c + j, count, Lanes::add(old, Lanes::load(sums + j)));
        }
    }
}

/// The tile of `rows` ≤ Rows rows.
template <class Lanes, std::size_t Rows, bool ByRow>
void multiply_pair_rows(std::size_t rows, const float* a, const float* b, std::size_t pairs, float* sums,
                        std::size_t columns, const float* next) {
    if (rows == Rows) {
        const bool is_narrow = columns <= Lanes::width;
        if constexpr (Lanes::small_tile_rows > 0) {
            (is_narrow ? multiply_small_pair_tile<Lanes, Rows, 1, ByRow>
                       : multiply_small_pair_tile<Lanes, Rows, 2, ByRow>)(a, b, pairs, sums, next);
        } else {
            (is_narrow ? multiply_pair_tile<Lanes, Rows, 1, ByRow>
                       : multiply_pair_tile<Lanes, Rows, 2, ByRow>)(a, b, pairs, sums, next);
        }
    } else if constexpr (Rows > 1) {
        multiply_pair_rows<Lanes, Rows - 1, ByRow>(rows, a, b, pairs, sums, columns, next);
    }
}

/// The tile of `rows` ≤ Lanes::tile_rows rows, whole or by small tiles.
template <class Lanes, bool ByRow>
void multiply_pair_tiles(std::size_t rows, const float* a, const float* b, std::size_t pairs, float* sums,
                         std::size_t columns, const float* next) {
    if constexpr (Lanes::small_tile_rows == 0) {
        multiply_pair_rows<Lanes, Lanes::tile_rows, ByRow>(rows, a, b, pairs, sums, columns, next);
    } else {
        constexpr std::size_t step = Lanes::small_tile_rows;
        for (std::size_t i = 0; i < rows; i += step, next += pairs) {
            multiply_pair_rows<Lanes, step, ByRow>(
                rows - i < step ? rows - i : step, a + i * (ByRow ? pair_row_stride : 1), b, pairs,
                sums + i * Lanes::tile_vectors * Lanes::width, columns, next);
        }
    }
}

template <class Lanes, bool ByRow>
void multiply_pair_blocked(const GemmProblem& p, float* scratch) {
    constexpr std::size_t tile_rows = Lanes::tile_rows;
    constexpr std::size_t tile_columns = Lanes::tile_vectors * Lanes::width;
    float* const packed_a = scratch + packed_b_floats;
    const auto smaller = [](std::size_t x, std::size_t y) { return x < y ? x : y; };

    for_product_blocks(p, [&](const ProductBlock& block) {
        const std::size_t pairs = bf16_floats(block.block_k);
        const GemmOperand a = a_of_block(p, block);
        if constexpr (ByRow) {
            pack_pair_rows<Lanes>(a, block.m1 - block.m0, block.block_k, packed_a);
        } else {
            copy_to_pair_panels<Lanes>(a, block.m1 - block.m0, block.block_k, tile_rows, packed_a);
        }
        const float* const panels = pair_panels_of_b<Lanes>(p, scratch, block);
        for (std::size_t j = block.n0; j < block.n1; j += tile_columns) {
            const std::size_t columns = smaller(tile_columns, block.n1 - j);
            const float* const panel = panels + (j - block.n0) * pairs;
            const float* next = panel + tile_columns * pairs;
            for (std::size_t i = block.m0; i < block.m1; i += tile_rows, next += Lanes::pairs_ahead * pairs) {
                const std::size_t rows = smaller(tile_rows, block.m1 - i);
                const float* const tile_a = packed_a + (i - block.m0) * (ByRow ? pair_row_stride : pairs);
                alignas(64) float sums[2 * tile_rows * tile_columns];
                const unsigned mode = flush_on();
                multiply_pair_tiles<Lanes, ByRow>(rows, tile_a, panel, pairs, sums, columns, next);
                flush_off(mode);
                add_tile<Lanes>(sums, rows, p.c + i * p.c_stride + j, p.c_stride, columns, block.add);
            }
        }
    });
}

/// @pre k > 0.
template <class Lanes>
void multiply_by_pair_tiles(const GemmProblem& p, float* scratch) {
    if (p.a.k_stride == 1) {
        multiply_pair_blocked<Lanes, true>(p, scratch);
    } else {
        multiply_pair_blocked<Lanes, false>(p, scratch);
    }
}

}  // namespace lockstep
