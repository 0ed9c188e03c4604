// Causal attention of one head, in tiles of 64 queries × 64 keys.
//
// Scores are kept transposed, a row of 64 queries per key: sixteen queries share a
// vector, so maximum and sum over keys need no sum across lanes, and neither K nor
// V nor the probabilities are ever transposed. On the diagonal a group of sixteen
// queries is multiplied with the keys up to its own group only.

#pragma once

#include "kernels/simd/rows.inl"

namespace lockstep::LOCKSTEP_SIMD {
namespace {

constexpr std::size_t tile = attention_tile;

#if defined(__clang__)
#define LOCKSTEP_UNROLL _Pragma("unroll")
#else
#define LOCKSTEP_UNROLL _Pragma("GCC unroll 16")
#endif

/// A factor read element by element: element (i, k) is p[i·row + k·depth].
struct Factor {
    const float* p;
    std::size_t row, depth;
};

/// c (Rows, 16·Vecs) = or continues from c: a chain of fma over ascending k of a(i, k) · b[k].
template <std::size_t Rows, std::size_t Vecs>
LOCKSTEP_INLINE void block(std::size_t depth, Factor a, const float* b, std::size_t b_stride, float* c,
                           std::size_t c_stride, bool continues) {
    Vec sum[Rows][Vecs];
    LOCKSTEP_UNROLL
    for (std::size_t i = 0; i < Rows; ++i) {
        LOCKSTEP_UNROLL
        for (std::size_t j = 0; j < Vecs; ++j) {
            sum[i][j] = continues ? load(c + i * c_stride + 16 * j) : zero();
        }
    }
    for (std::size_t k = 0; k < depth; ++k) {
        Vec right[Vecs];
        LOCKSTEP_UNROLL
        for (std::size_t j = 0; j < Vecs; ++j) right[j] = load(b + k * b_stride + 16 * j);
        LOCKSTEP_UNROLL
        for (std::size_t i = 0; i < Rows; ++i) {
            const Vec left = broadcast(a.p[i * a.row + k * a.depth]);
            LOCKSTEP_UNROLL
            for (std::size_t j = 0; j < Vecs; ++j) sum[i][j] = fma(left, right[j], sum[i][j]);
        }
    }
    LOCKSTEP_UNROLL
    for (std::size_t i = 0; i < Rows; ++i) {
        LOCKSTEP_UNROLL
        for (std::size_t j = 0; j < Vecs; ++j) store(c + i * c_stride + 16 * j, sum[i][j]);
    }
}

template <std::size_t Vecs>
void panel(std::size_t rows, std::size_t depth, Factor a, const float* b, std::size_t b_stride, float* c,
           std::size_t c_stride, bool continues) {
    std::size_t i = 0;
    // Enough independent chains to keep two fma units busy, few enough to stay in registers.
    if constexpr (panel_vectors > 1 && Vecs <= 2) {
        for (; i + 8 <= rows; i += 8) {
            block<8, Vecs>(depth, {a.p + i * a.row, a.row, a.depth}, b, b_stride, c + i * c_stride, c_stride,
                           continues);
        }
    }
    for (; i < rows; i += 4) {
        block<4, Vecs>(depth, {a.p + i * a.row, a.row, a.depth}, b, b_stride, c + i * c_stride, c_stride,
                       continues);
    }
}

/// c (rows, 16·vectors), rows rounded up to a multiple of four by the caller's buffers.
void product(std::size_t rows, std::size_t vectors, std::size_t depth, Factor a, const float* b,
             std::size_t b_stride, float* c, std::size_t c_stride, bool continues) {
    std::size_t j = 0;
    if constexpr (panel_vectors == 4) {
        for (; j + 4 <= vectors; j += 4) {
            panel<4>(rows, depth, a, b + 16 * j, b_stride, c + 16 * j, c_stride, continues);
        }
        if (vectors - j == 3) {
            panel<3>(rows, depth, a, b + 16 * j, b_stride, c + 16 * j, c_stride, continues);
            return;
        }
        if (vectors - j == 2) {
            panel<2>(rows, depth, a, b + 16 * j, b_stride, c + 16 * j, c_stride, continues);
            return;
        }
    }
    for (; j < vectors; ++j) panel<1>(rows, depth, a, b + 16 * j, b_stride, c + 16 * j, c_stride, continues);
}

LOCKSTEP_INLINE std::size_t smaller(std::size_t a, std::size_t b) {
    return a < b ? a : b;
}
LOCKSTEP_INLINE std::size_t groups_of(std::size_t n) {
    return (n + 15) / 16;
}

/// to (64, width padded to 16) = the given rows, zeros elsewhere.
void copy_tile(const float* from, std::size_t stride, std::size_t rows, std::size_t width, float* to) {
    const std::size_t padded = 16 * groups_of(width);
    // A row is a few lines out of a wide matrix: no processor guesses where the next one lies.
    constexpr std::size_t ahead = 24;
    for (std::size_t i = 0; i < tile; ++i) {
        for (std::size_t j = 0; j < padded; j += 16) {
            __builtin_prefetch(from + (i + ahead) * stride + j);
            const Vec x = i >= rows ? zero() : load_group(from + i * stride + j, smaller(16, width - j));
            store(to + i * padded + j, x);
        }
    }
}

void store_tile(const float* from, std::size_t rows, std::size_t width, float* to, std::size_t stride) {
    const std::size_t padded = 16 * groups_of(width);
    constexpr std::size_t ahead = 24;
    for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < width; j += 16) {
            __builtin_prefetch(to + (i + ahead) * stride + j, 1);
            store_group(to + i * stride + j, load(from + i * padded + j), smaller(16, width - j));
        }
    }
}

/// to (width padded to 16, 64) = from (64, width padded to 16) transposed.
void transpose_tile(const float* from, std::size_t width, float* to) {
    const std::size_t padded = 16 * groups_of(width);
    for (std::size_t i = 0; i < tile; i += 16) {
        for (std::size_t j = 0; j < padded; j += 16)
            transpose16(from + i * padded + j, padded, to + j * tile + i, tile);
    }
}

/// A pair of tiles: `keys` × `queries` valid entries; on the diagonal both tiles are the same tokens.
struct TilePair {
    std::size_t keys, queries;
    bool diagonal;

    LOCKSTEP_INLINE std::size_t padded(std::size_t n) { return (n + 3) / 4 * 4; }

    /// scores (keys, 64) = a (keys, depth) · b (depth, 64), where some query may see the key.
    void keys_by_queries(std::size_t depth, const float* a, std::size_t a_stride, const float* b,
                         float* scores) const {
        const std::size_t vectors = groups_of(queries);
        if (!diagonal) {
            product(padded(keys), vectors, depth, {a, a_stride, 1}, b, tile, scores, tile, false);
            return;
        }
        for (std::size_t g = 0; 16 * g < keys; ++g) {
            product(padded(smaller(16, keys - 16 * g)), vectors - g, depth,
                    {a + 16 * g * a_stride, a_stride, 1}, b + 16 * g, tile, scores + 16 * g * tile + 16 * g,
                    tile, false);
        }
    }

    /// c (queries, width) continues with weights (keys, 64)ᵀ · b (keys, width), over ascending keys.
    void sum_over_keys(std::size_t vectors, const float* weights, const float* b, float* c,
                       bool continues) const {
        const std::size_t stride = 16 * vectors;
        if (!diagonal) {
            product(padded(queries), vectors, keys, {weights, 1, tile}, b, stride, c, stride, continues);
            return;
        }
        for (std::size_t g = 0; 16 * g < queries; ++g) {
            product(padded(smaller(16, queries - 16 * g)), vectors, smaller(keys, 16 * g + 16),
                    {weights + 16 * g, 1, tile}, b, stride, c + 16 * g * stride, stride, continues);
        }
    }

    /// c (keys, width) continues with weights (keys, 64) · b (queries, width), over ascending queries.
    void sum_over_queries(std::size_t vectors, const float* weights, const float* b, float* c,
                          bool continues) const {
        const std::size_t stride = 16 * vectors;
        if (!diagonal) {
            product(padded(keys), vectors, queries, {weights, tile, 1}, b, stride, c, stride, continues);
            return;
        }
        for (std::size_t g = 0; 16 * g < keys; ++g) {
            product(padded(smaller(16, keys - 16 * g)), vectors, queries - 16 * g,
                    {weights + 16 * g * tile + 16 * g, tile, 1}, b + 16 * g * stride, stride,
                    c + 16 * g * stride, stride, continues);
        }
    }
};

/// Queries 16·v … that may see key j, j in the same group or before.
LOCKSTEP_INLINE Mask seeing(std::size_t key, std::size_t v) {
    return lanes_from(static_cast<int>(key) - static_cast<int>(16 * v));
}

/// Running state of one query tile.
struct QueryTile {
    float* transposed;  ///< (head_dim, 64)
    float* out;         ///< (64, head_dim padded)
    float* maximum;     ///< (64)
    float* sum;         ///< (64)
};

/// The scores of one vector of queries, key by key.
struct ScoreColumn {
    float* scores;       ///< Key j at scores + j·tile.
    std::size_t keys;    ///< Those some query sees.
    std::size_t masked;  ///< From here on only some queries do; a multiple of four, or keys.
    std::size_t group;   ///< Which sixteen queries.
};

template <bool Masked, class Step>
LOCKSTEP_INLINE void for_scores(const ScoreColumn& column, std::size_t begin, std::size_t end,
                                const Step& step) {
    const Vec lowest = broadcast(-__builtin_inff());
    for (std::size_t j = begin; j < end; j += 4) {
        LOCKSTEP_UNROLL
        for (std::size_t chain = 0; chain < 4; ++chain) {
            if (j + chain >= end) break;
            Vec x = load(column.scores + (j + chain) * tile);
            if constexpr (Masked) x = select(seeing(j + chain, column.group), x, lowest);
            step(j + chain, chain, x);
        }
    }
}
/// Call step(j, j modulo four, scores with -inf for the queries that do not see key j).
template <class Step>
LOCKSTEP_INLINE void for_scores(const ScoreColumn& column, const Step& step) {
    for_scores<false>(column, 0, column.masked, step);
    for_scores<true>(column, column.masked, column.keys, step);
}

/// Turn scores into exp(scale·score − maximum) and bring maximum and sum up to date.
/// @param rescale (64) written: the factor for what was summed before.
void online_softmax(const TilePair& pair, float scale, float* scores, const QueryTile& q, bool first,
                    float* rescale) {
    const Vec factor = broadcast(scale);
    const Vec lowest = broadcast(-__builtin_inff());
    for (std::size_t v = 0; 16 * v < pair.queries; ++v) {
        ScoreColumn column = {scores + 16 * v, pair.keys, pair.keys, v};
        if (pair.diagonal) {
            column.keys = smaller(pair.keys, 16 * v + 16);
            column.masked = smaller(pair.keys, 16 * v);
        }
        const Vec before = first ? lowest : load(q.maximum + 16 * v);
        // Four chains, by key modulo four; a maximum is exact in any order, and the scale, being positive,
        // may be applied after it.
        Vec m0 = lowest, m1 = lowest, m2 = lowest, m3 = lowest;
        for_scores(column, [&](std::size_t, std::size_t chain, Vec x) {
            Vec& m = chain == 0 ? m0 : chain == 1 ? m1 : chain == 2 ? m2 : m3;
            m = max(m, x);
        });
        const Vec maximum = max(before, mul(max(max(m0, m1), max(m2, m3)), factor));
        Vec s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero();
        for_scores(column, [&](std::size_t j, std::size_t chain, Vec x) {
            const Vec e = exponential_not_large(sub(mul(x, factor), maximum));
            store(column.scores + j * tile, e);
            Vec& s = chain == 0 ? s0 : chain == 1 ? s1 : chain == 2 ? s2 : s3;
            s = add(s, e);
        });
        const Vec sum = add(add(s0, s1), add(s2, s3));
        const Vec shrink = exponential_not_large(sub(before, maximum));
        store(rescale + 16 * v, shrink);
        store(q.maximum + 16 * v, maximum);
        store(q.sum + 16 * v, first ? sum : fma(load(q.sum + 16 * v), shrink, sum));
    }
}

void attention_forward(const AttentionForwardTask& task) {
    const std::size_t vectors = groups_of(task.head_dim);
    const std::size_t padded = 16 * vectors;
    const std::size_t area = tile * padded;
    float* next = task.workspace;
    const auto take = [&next](std::size_t n) {
        float* const p = next;
        next += n;
        return p;
    };
    float* const q_rows = take(area);
    float* const keys = take(area);
    float* const values = take(area);
    float* const scores = take(tile * tile);
    float* const rescale = take(tile);
    QueryTile q[attention_block_tiles];
    for (QueryTile& state : q) state = {take(area), take(area), take(tile), take(tile)};

    const std::size_t first_tile = task.query_begin / tile;
    const std::size_t num_tiles = (task.query_end - task.query_begin + tile - 1) / tile;
    for (std::size_t i = 0; i < num_tiles; ++i) {
        const std::size_t token = task.query_begin + i * tile;
        copy_tile(task.q + token * task.stride, task.stride, smaller(tile, task.query_end - token),
                  task.head_dim, q_rows);
        transpose_tile(q_rows, task.head_dim, q[i].transposed);
    }

    for (std::size_t t = 0; t < first_tile + num_tiles; ++t) {
        const std::size_t num_keys = smaller(tile, task.tokens - t * tile);
        copy_tile(task.k + t * tile * task.stride, task.stride, num_keys, task.head_dim, keys);
        copy_tile(task.v + t * tile * task.stride, task.stride, num_keys, task.head_dim, values);
        for (std::size_t i = t < first_tile ? 0 : t - first_tile; i < num_tiles; ++i) {
            const TilePair pair = {num_keys, smaller(tile, task.query_end - task.query_begin - i * tile),
                                   t == first_tile + i};
            pair.keys_by_queries(task.head_dim, keys, padded, q[i].transposed, scores);
            online_softmax(pair, task.scale, scores, q[i], t == 0, rescale);
            for (std::size_t row = 0; row < pair.queries && t > 0; ++row) {
                if (rescale[row] != 1.0F) scale(padded, rescale[row], q[i].out + row * padded);
            }
            pair.sum_over_keys(vectors, scores, values, q[i].out, t > 0);
        }
    }

    for (std::size_t i = 0; i < num_tiles; ++i) {
        const std::size_t token = task.query_begin + i * tile;
        const std::size_t rows = smaller(tile, task.query_end - token);
        for (std::size_t row = 0; row < rows; ++row) {
            scale(padded, 1.0F / q[i].sum[row], q[i].out + row * padded);
            task.row_max[token + row] = q[i].maximum[row];
            task.row_sum[i * tile + row] = q[i].sum[row];
        }
        store_tile(q[i].out, rows, task.head_dim, task.out + token * task.out_stride, task.out_stride);
    }
}

/// P = exp(scale·score − log_sum_exp) in place of the scores, dS = scale·P·(dP − delta) in place of dP.
void score_gradients(const TilePair& pair, float scale_value, const float* log_sum_exp, const float* delta,
                     float* scores, float* d_scores) {
    const Vec factor = broadcast(scale_value);
    for (std::size_t v = 0; 16 * v < pair.queries; ++v) {
        const Vec normalizer = load(log_sum_exp + 16 * v);
        const Vec shift = load(delta + 16 * v);
        const std::size_t keys = pair.diagonal ? smaller(pair.keys, 16 * v + 16) : pair.keys;
        for (std::size_t j = 0; j < keys; ++j) {
            float* const score = scores + j * tile + 16 * v;
            float* const d_score = d_scores + j * tile + 16 * v;
            // Read before the store below, which a processor takes for one to the same place: both tiles lie
            // a multiple of 4 KiB apart.
            const Vec d = load(d_score);
            Vec p = exponential_not_large(fms(load(score), factor, normalizer));
            if (pair.diagonal && j > 16 * v) p = select(seeing(j, v), p, zero());
            store(score, p);
            store(d_score, mul(mul(p, factor), sub(d, shift)));
        }
    }
}

void attention_backward(const AttentionBackwardTask& task) {
    const std::size_t vectors = groups_of(task.head_dim);
    const std::size_t padded = 16 * vectors;
    const std::size_t area = tile * padded;
    const std::size_t num_tiles = (task.tokens + tile - 1) / tile;
    float* next = task.workspace;
    const auto take = [&next](std::size_t n) {
        float* const p = next;
        next += n;
        return p;
    };
    float* const keys = take(num_tiles * area);
    float* const values = take(num_tiles * area);
    float* const d_keys = take(num_tiles * area);
    float* const d_values = take(num_tiles * area);
    float* const q_rows = take(area);
    float* const d_out_rows = take(area);
    float* const q_transposed = take(area);
    float* const d_out_transposed = take(area);
    float* const d_q_rows = take(area);
    float* const scores = take(tile * tile);
    float* const d_scores = take(tile * tile);
    float* const delta = take(tile);
    float* const log_sum_exp = take(tile);

    for (std::size_t t = 0; t < num_tiles; ++t) {
        const std::size_t token = t * tile;
        const std::size_t rows = smaller(tile, task.tokens - token);
        copy_tile(task.k + token * task.stride, task.stride, rows, task.head_dim, keys + t * area);
        copy_tile(task.v + token * task.stride, task.stride, rows, task.head_dim, values + t * area);
    }

    // Heads, then queries, then keys, all ascending: dK and dV of a key are one chain over heads and queries,
    // dQ of a query one chain over keys.
    for (std::size_t h = 0; h < task.query_heads; ++h) {
        const std::size_t column = h * task.head_dim;
        for (std::size_t i = 0; i < num_tiles; ++i) {
            const std::size_t token = i * tile;
            const std::size_t rows = smaller(tile, task.tokens - token);
            copy_tile(task.q + token * task.stride + column, task.stride, rows, task.head_dim, q_rows);
            copy_tile(task.d_out + token * task.d_out_stride + column, task.d_out_stride, rows, task.head_dim,
                      d_out_rows);
            transpose_tile(q_rows, task.head_dim, q_transposed);
            transpose_tile(d_out_rows, task.head_dim, d_out_transposed);
            for (std::size_t row = 0; row < tile; ++row) {
                delta[row] = 0.0F;
                log_sum_exp[row] = 0.0F;
                if (row >= rows) continue;
                const float* const out = task.out + (token + row) * task.out_stride + column;
                Vec dot = zero();
                for_groups(task.head_dim, [&](std::size_t j, std::size_t count) {
                    dot = fma(load_group(out + j, count), load(d_out_rows + row * padded + j), dot);
                });
                delta[row] = sum_of_lanes(dot);
                log_sum_exp[row] = task.log_sum_exp[h * task.log_sum_exp_stride + token + row];
            }
            for (std::size_t t = 0; t <= i; ++t) {
                const TilePair pair = {smaller(tile, task.tokens - t * tile), rows, t == i};
                pair.keys_by_queries(task.head_dim, keys + t * area, padded, q_transposed, scores);
                pair.keys_by_queries(task.head_dim, values + t * area, padded, d_out_transposed, d_scores);
                score_gradients(pair, task.scale, log_sum_exp, delta, scores, d_scores);
                const bool continues = h > 0 || !pair.diagonal;
                pair.sum_over_queries(vectors, scores, d_out_rows, d_values + t * area, continues);
                pair.sum_over_queries(vectors, d_scores, q_rows, d_keys + t * area, continues);
                pair.sum_over_keys(vectors, d_scores, keys + t * area, d_q_rows, t > 0);
            }
            store_tile(d_q_rows, rows, task.head_dim, task.d_q + token * task.d_stride + column,
                       task.d_stride);
        }
    }

    for (std::size_t t = 0; t < num_tiles; ++t) {
        const std::size_t token = t * tile;
        const std::size_t rows = smaller(tile, task.tokens - token);
        store_tile(d_keys + t * area, rows, task.head_dim, task.d_k + token * task.d_stride, task.d_stride);
        store_tile(d_values + t * area, rows, task.head_dim, task.d_v + token * task.d_stride, task.d_stride);
    }
}

}  // namespace
}  // namespace lockstep::LOCKSTEP_SIMD
