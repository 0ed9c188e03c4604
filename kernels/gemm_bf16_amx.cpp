// The product of the contract bf16 with AMX. Compiled for AVX-512 with BF16 and AMX; see CMakeLists.txt for
// what such a file may include.
//
// tdpbf16ps makes two chains of sixteen terms for each element, one of the low halves of its pairs and one of
// the high ones, and adds their sum to the tile. The contract's chain is one of sixteen neighbours in k, so
// only the high halves are used: an operand rounded to bf16 and kept as a float is a pair (+0, x). That
// leaves half of the instruction's speed unused, which is still far more than AVX-512 has; and it lets CPUs
// with vdpbf16ps alone have the same bits.

#include "kernels/gemm_blocked.h"
#include "kernels/gemm_kernels.h"
#include "kernels/gemm_lanes_avx512.h"

namespace lockstep {

namespace {

constexpr std::size_t edge = bf16_chain_k;  // Of a tile: rows, elements in a row.
constexpr std::size_t pair_of_edges = 2 * edge;
constexpr std::size_t row_stride = gemm_block_k + 16;  // Of packed A; not a power of two.
static_assert(block_rows * row_stride <= packed_a_floats && block_rows % pair_of_edges == 0 &&
              panel_lines == pair_of_edges);

// Rounds what it loads, so that the panels of gemm_blocked.h hold rounded floats.
struct RoundingLanes : Avx512Lanes {
    LOCKSTEP_INLINE Vector load_first(const float* p, std::size_t n) {
        const __m256bh rounded = _mm512_cvtneps_pbh(Avx512Lanes::load_first(p, n));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)rounded), 16));
    }
};

// Row i of A at packed + i * row_stride, its k side by side, +0 up to a multiple of sixteen.
[[gnu::noinline]] void pack_rows(const GemmOperand& a, std::size_t rows, std::size_t block_k, float* packed) {
    if (a.k_stride == 1) {
        for (std::size_t i = 0; i < rows; ++i) {
            const float* const source = a.data + i * a.line_stride;
            for (std::size_t k = 0; k < block_k; k += edge) {
                const std::size_t count = block_k - k < edge ? block_k - k : edge;
                RoundingLanes::store(packed + i * row_stride + k,
                                     RoundingLanes::load_first(source + k, count));
            }
        }
        return;
    }
    for (std::size_t k = 0; k < block_k; k += edge) {
        const std::size_t terms = block_k - k < edge ? block_k - k : edge;
        for (std::size_t i = 0; i < rows; i += edge) {
            const std::size_t count = rows - i < edge ? rows - i : edge;
            const float* const source = a.data + k * a.k_stride + i;
            __m512 block[edge];
            for (std::size_t t = 0; t < edge; ++t) {
                if (t < terms) __builtin_prefetch(source + (t + edge) * a.k_stride);
                block[t] = t < terms ? RoundingLanes::load_first(source + t * a.k_stride, count)
                                     : RoundingLanes::zero();
            }
            RoundingLanes::transpose(block);
            for (std::size_t t = 0; t < edge; ++t) {
                RoundingLanes::store(packed + (i + t) * row_stride + k, block[t]);
            }
        }
    }
}

struct alignas(64) TileConfig {
    unsigned char palette = 1;
    unsigned char first_row = 0;
    unsigned char reserved[14] = {};
    unsigned short row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// The compiler does not know that tiles read and write memory.
[[gnu::always_inline]] inline void memory_changes() {
    asm volatile("" ::: "memory");
}

// sums (32, 32) of one block: rows of packed A times a panel of B.
[[gnu::noinline]] void multiply_tiles(const float* a, const float* b, std::size_t block_k, float* sums) {
    constexpr std::size_t a_bytes = row_stride * sizeof(float);
    constexpr std::size_t b_bytes = panel_lines * sizeof(float);
    alignas(64) float last[edge * panel_lines];
    memory_changes();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t k = 0; k < block_k; k += edge) {
        const float* line = b + k * panel_lines;
        if (block_k - k < edge) {
            // What follows the panel is not zero.
            for (std::size_t i = 0; i < edge * panel_lines; ++i) {
                last[i] = i < (block_k - k) * panel_lines ? line[i] : 0.0F;
            }
            line = last;
            memory_changes();
        }
        _tile_loadd(4, a + k, a_bytes);
        _tile_loadd(6, line, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, line + edge, b_bytes);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + edge * row_stride + k, a_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, b_bytes);
    _tile_stored(1, sums + edge, b_bytes);
    _tile_stored(2, sums + edge * panel_lines, b_bytes);
    _tile_stored(3, sums + edge * panel_lines + edge, b_bytes);
    memory_changes();
}

// c (rows, columns) = c or 0, plus the sums.
[[gnu::noinline]] void add_sums(const float* sums, std::size_t rows, float* c, std::size_t c_stride,
                                std::size_t columns, bool add) {
    using Lanes = Avx512Lanes;
    for (std::size_t i = 0; i < rows; ++i, c += c_stride, sums += panel_lines) {
        for (std::size_t j = 0; j < columns; j += edge) {
            const std::size_t count = columns - j < edge ? columns - j : edge;
            const __m512 old = add ? Lanes::load_first(c + j, count) : Lanes::zero();
            Lanes::store_first(c + j, count, Lanes::add(old, Lanes::load(sums + j)));
        }
    }
}

}  // namespace

void multiply_bf16_amx(const GemmProblem& p, float* scratch) {
    float* const packed_a = scratch + packed_b_floats;
    const auto smaller = [](std::size_t x, std::size_t y) { return x < y ? x : y; };
    const TileConfig config;
    memory_changes();
    _tile_loadconfig(&config);
    for (std::size_t n0 = 0; n0 < p.n; n0 += chunk_lines) {
        const std::size_t n1 = smaller(p.n, n0 + chunk_lines);
        for (std::size_t s0 = 0; s0 < p.k; s0 += chunk_k) {
            const std::size_t s1 = smaller(p.k, s0 + chunk_k);
            for (std::size_t m0 = 0; m0 < p.m; m0 += block_rows) {
                const std::size_t m1 = smaller(p.m, m0 + block_rows);
                for (std::size_t k0 = s0; k0 < s1; k0 += gemm_block_k) {
                    const std::size_t block_k = smaller(gemm_block_k, s1 - k0);
                    pack_rows(
                        {p.a.data + m0 * p.a.line_stride + k0 * p.a.k_stride, p.a.line_stride, p.a.k_stride},
                        m1 - m0, block_k, packed_a);
                    const float* panels = p.panels.data;
                    if (panels != nullptr) {
                        panels += (p.panels.first_k + k0) * p.panels.lines_padded +
                                  (p.panels.first_line + n0) * block_k;
                    } else {
                        float* const made_here = scratch + (k0 - s0) * chunk_lines;
                        panels = made_here;
                        if (m0 == 0) {
                            pack_bf16_amx({p.b.data + n0 * p.b.line_stride + k0 * p.b.k_stride,
                                           p.b.line_stride, p.b.k_stride},
                                          n1 - n0, block_k, made_here);
                        }
                    }
                    for (std::size_t j = n0; j < n1; j += panel_lines) {
                        for (std::size_t i = m0; i < m1; i += pair_of_edges) {
                            alignas(64) float sums[pair_of_edges * panel_lines];
                            multiply_tiles(packed_a + (i - m0) * row_stride, panels + (j - n0) * block_k,
                                           block_k, sums);
                            add_sums(sums, smaller(pair_of_edges, m1 - i), p.c + i * p.c_stride + j,
                                     p.c_stride, smaller(panel_lines, n1 - j), p.accumulate || k0 > 0);
                        }
                    }
                }
            }
        }
    }
    _tile_release();
}

void pack_bf16_amx(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    pack_panels<RoundingLanes>(b, lines, block_k, panel_lines, panels);
}

void dot_tiles_by_instruction(const float* sums, const unsigned* a, const unsigned* b, float* out) {
    const TileConfig config;
    memory_changes();
    _tile_loadconfig(&config);
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, a, 64);
    _tile_loadd(2, b, 64);
    _tile_dpbf16ps(0, 1, 2);
    _tile_stored(0, out, 64);
    _tile_release();
    memory_changes();
}

}  // namespace lockstep
