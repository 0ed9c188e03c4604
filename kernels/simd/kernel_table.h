// kernels/simd/kernel_table.h
//
// The inner loops that are built once per instruction set, as a table of plain
// functions. All three tables give the same bits; a caller takes the one of
// kernel_isa(). Plain pointers on purpose: a file compiled for AVX-512 must not
// instantiate inline functions that the linker could share with other files.

#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep {

/// Queries and keys of a tile, counted from the segment's first token.
inline constexpr std::size_t attention_tile = 64;
/// Query tiles that share one pass over the keys in forward.
inline constexpr std::size_t attention_block_tiles = 8;
/// Tokens of a block of the sums that make the gradients of gains and biases.
inline constexpr std::size_t column_sum_block = 32;
/// Columns of a block of the softmax sum over the vocabulary.
inline constexpr std::size_t softmax_block = 1024;

/// One head of one segment, for queries [query_begin, query_end).
struct AttentionForwardTask {
    const float *q, *k, *v;  ///< The head's columns at the segment's first token.
    std::size_t stride;      ///< Of q, k and v, token to token.
    float* out;              ///< As q.
    std::size_t out_stride;
    float* row_max;          ///< (tokens) largest scaled score of each query, written.
    float* row_inverse_sum;  ///< (tokens) 1 / sum of exp(score − row_max), written.
    std::size_t tokens;
    std::size_t query_begin,
        query_end;  ///< Begin is a multiple of the tile; at most attention_block_tiles tiles.
    std::size_t head_dim;
    float scale;
    float* workspace;  ///< attention_forward_floats(head_dim), 64-byte aligned.
};

/// One kv head of one segment with the query heads that read it, whose columns follow each other.
struct AttentionBackwardTask {
    const float *q, *k, *v;
    std::size_t stride;
    const float* d_out;  ///< First query head's columns.
    std::size_t d_out_stride;
    const float *row_max, *row_inverse_sum;  ///< First query head, at the segment's first token.
    std::size_t row_stride;                  ///< From head to head.
    float *d_q, *d_k, *d_v;
    std::size_t d_stride;
    std::size_t tokens;
    std::size_t query_heads;
    std::size_t head_dim;
    float scale;
    float* workspace;  ///< attention_backward_floats(tokens, head_dim), 64-byte aligned.
};

constexpr std::size_t padded_to(std::size_t n, std::size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}
constexpr std::size_t attention_forward_floats(std::size_t head_dim) {
    const std::size_t tile = attention_tile * padded_to(head_dim, 16);
    return 3 * tile + 2 * attention_block_tiles * tile + attention_tile * attention_tile +
           (2 * attention_block_tiles + 1) * attention_tile;
}
constexpr std::size_t attention_backward_floats(std::size_t tokens, std::size_t head_dim) {
    const std::size_t tile = attention_tile * padded_to(head_dim, 16);
    const std::size_t num_tiles = padded_to(tokens, attention_tile) / attention_tile;
    return num_tiles * (4 * tile + 2 * attention_tile * attention_tile) + 5 * tile + 3 * attention_tile;
}

struct AdamWFactors {
    float gradient_factor, beta1, one_minus_beta1, beta2, one_minus_beta2;
    float inverse_correction1, inverse_correction2, epsilon, weight_decay, learning_rate;
};

struct KernelTable {
    // One row, or one run of elements, of length n.
    void (*add)(std::size_t n, const float* x, float* y);
    void (*gelu_forward)(std::size_t n, const float* x, float* y);
    void (*gelu_backward)(std::size_t n, const float* x, float* d);
    void (*swiglu_forward)(std::size_t n, const float* gate, const float* up, float* y);
    void (*swiglu_backward)(std::size_t n, const float* gate, const float* up, const float* d_y,
                            float* d_gate, float* d_up);
    void (*exponential)(std::size_t n, const float* x, float* y);  ///< For tests of the polynomial.
    /// (first, second) turns by the angle whose cosine and sine are given; sign −1 turns back.
    void (*rotate)(std::size_t n, const float* cosine, const float* sine, float sign, float* first,
                   float* second);

    void (*layer_norm_forward)(std::size_t n, const float* x, const float* gain, const float* bias,
                               float epsilon, float* y, float* mean, float* rstd);
    void (*layer_norm_backward)(std::size_t n, const float* x, const float* gain, float mean, float rstd,
                                const float* d_y, float* d_x);
    void (*rms_norm_forward)(std::size_t n, const float* x, const float* gain, float epsilon, float* y,
                             float* rstd);
    void (*rms_norm_backward)(std::size_t n, const float* x, const float* gain, float rstd, const float* d_y,
                              float* d_x);

    // Sums over rows for n columns: chains over column_sum_block rows, added in order. x may be null: then
    // only d_bias, as a plain sum.
    /// d_gain, d_bias may be null; mean null means 0.
    void (*column_gradients)(std::size_t rows, std::size_t n, const float* x, std::size_t x_stride,
                             const float* mean, const float* rstd, const float* d_y, std::size_t d_y_stride,
                             float* d_gain, float* d_bias);

    // The vocabulary's softmax, one row.
    float (*row_max)(std::size_t n, const float* x);
    double (*exponentials_and_sum)(std::size_t n, float maximum, float* x);  ///< x = exp(x − maximum).
    double (*exponential_sum)(std::size_t n, float maximum, const float* x);
    void (*scale)(std::size_t n, float factor, float* x);

    // The exact sum. Flags: bit 0 overflow, bit 1 not finite.
    unsigned (*accumulate_exact)(std::size_t n, const float* gradient, double scale, float limit, bool first,
                                 std::int64_t* accumulator);
    void (*exact_to_float)(std::size_t n, const std::int64_t* sum, float scale, float* out);
    double (*square_sum)(std::size_t n, const float* values);
    void (*adamw)(std::size_t n, const AdamWFactors& f, const float* gradient, float* w, float* m, float* v);

    void (*attention_forward)(const AttentionForwardTask& task);
    void (*attention_backward)(const AttentionBackwardTask& task);
};

namespace simd_scalar {
extern const KernelTable table;
}
namespace simd_avx2 {
extern const KernelTable table;
}
namespace simd_avx512 {
extern const KernelTable table;
}

/// The table of kernel_isa().
const KernelTable& kernel_table();

}  // namespace lockstep
