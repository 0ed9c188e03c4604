// The product of the contract bf16 with AMX. Compiled for AVX-512 with BF16 and AMX; see CMakeLists.txt for
// what such a file may include.
//
// tdpbf16ps makes two chains of sixteen terms for each element, one of the high halves of its pairs and one
// of the low ones, and adds their sum to the tile: the contract is made of exactly that.

#include "kernels/gemm/bf16_blocked.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/lanes_avx512.h"

namespace lockstep {

namespace {

constexpr std::size_t edge = bf16_chain_k;  // Of a tile: rows, elements in a row.
constexpr std::size_t pair_of_edges = 2 * edge;
static_assert(edge == pairs_of_group && block_rows % pair_of_edges == 0 && panel_lines == pair_of_edges);

// Word 2i from word 16 + i, word 2i + 1 from word i.
alignas(64) constexpr short interleaved[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                               8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

struct TileLanes : Avx512Lanes {
    static constexpr std::size_t partner = bf16_chain_k;

    LOCKSTEP_INLINE Vector pair(Vector x, Vector y) {
        const __m512i words = (__m512i)_mm512_cvtne2ps_pbh(x, y);
        return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(interleaved), words));
    }
    LOCKSTEP_INLINE Vector pair_line(const float* p, std::size_t n) {
        const std::size_t in_first = n < width ? n : width;
        return pair(load_first(p, in_first), load_first(p + in_first, n - in_first));
    }
};

// The rows of pack_pair_rows, from lines that stand side by side.
[[gnu::noinline]] void transpose_to_pair_rows(const GemmOperand& a, std::size_t rows, std::size_t block_k,
                                              float* packed) {
    for (std::size_t group = 0; group < bf16_floats(block_k); group += pairs_of_group) {
        for (std::size_t i = 0; i < rows; i += edge) {
            const std::size_t count = rows - i < edge ? rows - i : edge;
            const auto line = [&](std::size_t k) {
                if (k >= block_k) return TileLanes::zero();
                const float* const source = a.data + k * a.k_stride + i;
                __builtin_prefetch(source + bf16_group_k * a.k_stride);
                return TileLanes::load_first(source, count);
            };
            __m512 block[edge];
            for (std::size_t t = 0; t < edge; ++t) {
                block[t] = TileLanes::pair(line(2 * group + t), line(2 * group + edge + t));
            }
            TileLanes::transpose(block);
            for (std::size_t t = 0; t < edge; ++t) {
                TileLanes::store(packed + (i + t) * pair_row_stride + group, block[t]);
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
[[gnu::noinline]] void multiply_tiles(const float* a, const float* b, std::size_t pairs, float* sums) {
    constexpr std::size_t a_bytes = pair_row_stride * sizeof(float);
    constexpr std::size_t b_bytes = panel_lines * sizeof(float);
    memory_changes();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t k = 0; k < pairs; k += edge, b += edge * panel_lines) {
        _tile_loadd(4, a + k, a_bytes);
        _tile_loadd(6, b, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + edge, b_bytes);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + edge * pair_row_stride + k, a_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, b_bytes);
    _tile_stored(1, sums + edge, b_bytes);
    _tile_stored(2, sums + edge * panel_lines, b_bytes);
    _tile_stored(3, sums + edge * panel_lines + edge, b_bytes);
    memory_changes();
}

}  // namespace

void multiply_bf16_amx(const GemmProblem& p, float* scratch) {
    float* const packed_a = scratch + packed_b_floats;
    const auto smaller = [](std::size_t x, std::size_t y) { return x < y ? x : y; };
    const TileConfig config;
    memory_changes();
    _tile_loadconfig(&config);
    for_product_blocks(p, [&](const ProductBlock& block) {
        const std::size_t pairs = bf16_floats(block.block_k);
        const GemmOperand a = a_of_block(p, block);
        if (a.k_stride == 1) {
            pack_pair_rows<TileLanes>(a, block.m1 - block.m0, block.block_k, packed_a);
        } else {
            transpose_to_pair_rows(a, block.m1 - block.m0, block.block_k, packed_a);
        }
        const float* const panels = pair_panels_of_b<TileLanes>(p, scratch, block);
        for (std::size_t j = block.n0; j < block.n1; j += panel_lines) {
            for (std::size_t i = block.m0; i < block.m1; i += pair_of_edges) {
                alignas(64) float sums[pair_of_edges * panel_lines];
                multiply_tiles(packed_a + (i - block.m0) * pair_row_stride, panels + (j - block.n0) * pairs,
                               pairs, sums);
                add_tile<TileLanes>(sums, smaller(pair_of_edges, block.m1 - i), p.c + i * p.c_stride + j,
                                    p.c_stride, smaller(panel_lines, block.n1 - j), block.add);
            }
        }
    });
    _tile_release();
}

void pack_bf16_amx(const GemmOperand& b, std::size_t lines, std::size_t block_k, float* panels) {
    pack_pair_panels<TileLanes>(b, lines, block_k, panels);
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
