// kernels/attention.h
//
// Causal attention over packed segments: exact, tiled with an online softmax, no
// T×T buffer. Tiles start at each segment's first token and never mix segments,
// so a segment's bits do not depend on what it is packed with.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/matrix_view.h"
#include "kernels/thread_pool.h"

namespace lockstep {

struct AttentionShape {
    std::size_t num_heads = 0;
    std::size_t num_kv_heads =
        0;                     ///< Divides num_heads; head h reads kv head h / (num_heads / num_kv_heads).
    std::size_t head_dim = 0;  ///< Any ≥ 1, at most 256.
    /// Scratch is made at once for packs of so many tokens; larger ones make it grow.
    std::size_t scratch_tokens = 0;

    std::size_t query_width() const { return num_heads * head_dim; }
    std::size_t kv_width() const { return num_kv_heads * head_dim; }
    std::size_t qkv_width() const { return query_width() + 2 * kv_width(); }
};

/// Scratch of so many threads and of the one that calls, forward and backward, for packs of up to
/// shape.scratch_tokens [bytes]. Each thread makes its own at its first task and keeps it.
std::size_t attention_scratch_bytes(const AttentionShape& shape, int threads);

/// Scores are scaled by 1/√head_dim.
/// @param cu_seqlens    (segments + 1) running sum of lengths; first 0, last T.
/// @param qkv           (T, qkv_width) per token: queries of all heads, then keys, then values.
/// @param out           (T, query_width) written.
/// @param softmax_rows  (2 · num_heads · T) written, head-major, for backward: of each query the largest
/// scaled
///                      score, then of each query 1 / Σ exp(score − largest).
void attention_forward(ThreadPool& pool, const AttentionShape& shape,
                       std::span<const std::int32_t> cu_seqlens, ConstMatrixView qkv, MatrixView out,
                       std::span<float> softmax_rows);

/// @param d_out   (T, query_width) gradient of what forward wrote to `out`.
/// @param d_qkv   (T, qkv_width) written.
void attention_backward(ThreadPool& pool, const AttentionShape& shape,
                        std::span<const std::int32_t> cu_seqlens, ConstMatrixView qkv, ConstMatrixView d_out,
                        std::span<const float> softmax_rows, MatrixView d_qkv);

}  // namespace lockstep
