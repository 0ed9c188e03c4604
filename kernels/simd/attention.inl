// Causal attention of one head, in tiles of 64 queries × 64 keys.
//
// Scores are kept transposed, a row of 64 queries per key: sixteen queries share a
// vector, so maximum and sum over keys need no sum across lanes, and neither K nor
// V nor the probabilities are ever transposed. On the diagonal a group of sixteen
// queries is multiplied with the keys up to its own group only.

#pragma once

#include "kernels/simd/rows.inl"
#include "kernels/unroll.h"

namespace lockstep::LOCKSTEP_SIMD {
namespace {

constexpr std::size_t tile = attention_tile;

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

/// Rows that will be copied soon, brought near a few at a time between blocks of arithmetic. They lie in a
/// wide matrix, where no processor guesses the next one; waiting for them would cost a fifth of the whole.
class Upcoming {
  public:
    explicit Upcoming(std::size_t width) : width_(width) {}

    void add(const float* rows, std::size_t stride, std::size_t count) {
        if (count > 0) ranges_[end_++] = {rows, stride, count};
    }
    void touch() {
        if (next_ == end_) return;
        Range& range = ranges_[next_];
        const std::size_t count = range.count < 4 ? range.count : 4;
        for (std::size_t i = 0; i < count; ++i) {
            for (std::size_t j = 0; j < width_; j += 16) __builtin_prefetch(range.rows + j, 0, 2);
            range.rows += range.stride;
        }
        range.count -= count;
        if (range.count == 0) ++next_;
    }
    void clear() { next_ = end_ = 0; }

  private:
    struct Range {
        const float* rows;
        std::size_t stride, count;
    };
    Range ranges_[attention_block_tiles + 2];  // Forward adds a block's queries, their output, keys, values.
    std::size_t next_ = 0, end_ = 0, width_;
};

template <std::size_t Vecs>
void panel(std::size_t rows, std::size_t depth, Factor a, const float* b, std::size_t b_stride, float* c,
           std::size_t c_stride, bool continues, Upcoming& upcoming) {
    std::size_t i = 0;
    // Enough independent chains to keep two fma units busy, few enough to stay in registers.
    if constexpr (panel_vectors > 1 && Vecs <= 2) {
        for (; i + 8 <= rows; i += 8) {
            block<8, Vecs>(depth, {a.p + i * a.row, a.row, a.depth}, b, b_stride, c + i * c_stride, c_stride,
                           continues);
            upcoming.touch();
        }
    }
    for (; i < rows; i += 4) {
        block<4, Vecs>(depth, {a.p + i * a.row, a.row, a.depth}, b, b_stride, c + i * c_stride, c_stride,
                       continues);
        upcoming.touch();
    }
}

/// c (rows, 16·vectors), rows rounded up to a multiple of four by the caller's buffers.
void product(std::size_t rows, std::size_t vectors, std::size_t depth, Factor a, const float* b,
             std::size_t b_stride, float* c, std::size_t c_stride, bool continues, Upcoming& upcoming) {
    std::size_t j = 0;
    if constexpr (panel_vectors == 4) {
        for (; j + 4 <= vectors; j += 4) {
            panel<4>(rows, depth, a, b + 16 * j, b_stride, c + 16 * j, c_stride, continues, upcoming);
        }
        if (vectors - j == 3) {
            panel<3>(rows, depth, a, b + 16 * j, b_stride, c + 16 * j, c_stride, continues, upcoming);
            return;
        }
        if (vectors - j == 2) {
            panel<2>(rows, depth, a, b + 16 * j, b_stride, c + 16 * j, c_stride, continues, upcoming);
            return;
        }
    }
    for (; j < vectors; ++j)
        panel<1>(rows, depth, a, b + 16 * j, b_stride, c + 16 * j, c_stride, continues, upcoming);
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

/// The scores of one vector of queries, key by key.
struct ScoreColumn {
    float* scores;       ///< Key j at scores + j·tile.
    std::size_t keys;    ///< Those some query sees.
    std::size_t masked;  ///< From here on only some queries do; a multiple of four, or keys.
    std::size_t group;   ///< Which sixteen queries.
};

/// A pair of tiles: `keys` × `queries` valid entries; on the diagonal both tiles are the same tokens.
struct TilePair {
    std::size_t keys, queries;
    bool diagonal;
    Upcoming& upcoming;

    LOCKSTEP_INLINE std::size_t padded(std::size_t n) { return (n + 3) / 4 * 4; }

    ScoreColumn column(float* scores, std::size_t group) const {
        if (!diagonal) return {scores + 16 * group, keys, keys, group};
        return {scores + 16 * group, smaller(keys, 16 * group + 16), smaller(keys, 16 * group), group};
    }

    /// scores (keys, 64) = a (keys, depth) · b (depth, 64), where some query may see the key.
    void keys_by_queries(std::size_t depth, const float* a, std::size_t a_stride, const float* b,
                         float* scores) const {
        const std::size_t vectors = groups_of(queries);
        if (!diagonal) {
            product(padded(keys), vectors, depth, {a, a_stride, 1}, b, tile, scores, tile, false, upcoming);
            return;
        }
        for (std::size_t g = 0; 16 * g < keys; ++g) {
            product(padded(smaller(16, keys - 16 * g)), vectors - g, depth,
                    {a + 16 * g * a_stride, a_stride, 1}, b + 16 * g, tile, scores + 16 * g * tile + 16 * g,
                    tile, false, upcoming);
        }
    }

    /// c (queries, width) continues with weights (keys, 64)ᵀ · b (keys, width), over ascending keys.
    void sum_over_keys(std::size_t vectors, const float* weights, const float* b, float* c,
                       bool continues) const {
        const std::size_t stride = 16 * vectors;
        if (!diagonal) {
            product(padded(queries), vectors, keys, {weights, 1, tile}, b, stride, c, stride, continues,
                    upcoming);
            return;
        }
        for (std::size_t g = 0; 16 * g < queries; ++g) {
            product(padded(smaller(16, queries - 16 * g)), vectors, smaller(keys, 16 * g + 16),
                    {weights + 16 * g, 1, tile}, b, stride, c + 16 * g * stride, stride, continues, upcoming);
        }
    }

    /// c (keys, width) continues with weights (keys, 64) · b (queries, width), over ascending queries.
    void sum_over_queries(std::size_t vectors, const float* weights, const float* b, float* c,
                          bool continues) const {
        const std::size_t stride = 16 * vectors;
        if (!diagonal) {
            product(padded(keys), vectors, queries, {weights, tile, 1}, b, stride, c, stride, continues,
                    upcoming);
            return;
        }
        for (std::size_t g = 0; 16 * g < keys; ++g) {
            product(padded(smaller(16, keys - 16 * g)), vectors, queries - 16 * g,
                    {weights + 16 * g * tile + 16 * g, tile, 1}, b + 16 * g * stride, stride,
                    c + 16 * g * stride, stride, continues, upcoming);
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
        const ScoreColumn column = pair.column(scores, v);
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

/// Divide by the sums, and write what is known of a query tile once all its keys are seen.
void finish_queries(const AttentionForwardTask& task, const QueryTile& q, std::size_t token,
                    std::size_t rows) {
    const std::size_t padded = 16 * groups_of(task.head_dim);
    for (std::size_t row = 0; row < rows; ++row) {
        const float inverse_sum = 1.0F / q.sum[row];
        scale(padded, inverse_sum, q.out + row * padded);
        task.row_max[token + row] = q.maximum[row];
        task.row_inverse_sum[token + row] = inverse_sum;
    }
    store_tile(q.out, rows, task.head_dim, task.out + token * task.out_stride, task.out_stride);
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
    const std::size_t key_tiles = first_tile + num_tiles;
    const auto rows_of = [&](std::size_t t) { return smaller(tile, task.tokens - t * tile); };
    Upcoming upcoming(task.head_dim);
    const auto expect_rows = [&](const float* column, std::size_t stride, std::size_t t) {
        if (t < key_tiles) upcoming.add(column + t * tile * stride, stride, rows_of(t));
    };

    for (std::size_t t = 0; t < key_tiles; ++t) {
        copy_tile(task.k + t * tile * task.stride, task.stride, rows_of(t), task.head_dim, keys);
        copy_tile(task.v + t * tile * task.stride, task.stride, rows_of(t), task.head_dim, values);
        upcoming.clear();
        for (std::size_t i = 1; i < num_tiles && t == 0; ++i)
            expect_rows(task.q, task.stride, first_tile + i);
        if (t >= first_tile) expect_rows(task.out, task.out_stride, t);
        expect_rows(task.k, task.stride, t + 1);
        expect_rows(task.v, task.stride, t + 1);

        for (std::size_t i = t < first_tile ? 0 : t - first_tile; i < num_tiles; ++i) {
            const std::size_t query_tile = first_tile + i;
            if (t == 0) {
                copy_tile(task.q + query_tile * tile * task.stride, task.stride, rows_of(query_tile),
                          task.head_dim, q_rows);
                transpose_tile(q_rows, task.head_dim, q[i].transposed);
            }
            const TilePair pair = {rows_of(t), rows_of(query_tile), t == query_tile, upcoming};
            pair.keys_by_queries(task.head_dim, keys, padded, q[i].transposed, scores);
            online_softmax(pair, task.scale, scores, q[i], t == 0, rescale);
            for (std::size_t row = 0; row < pair.queries && t > 0; ++row) {
                if (rescale[row] != 1.0F) scale(padded, rescale[row], q[i].out + row * padded);
            }
            pair.sum_over_keys(vectors, scores, values, q[i].out, t > 0);
            if (pair.diagonal) finish_queries(task, q[i], query_tile * tile, pair.queries);
        }
    }
}

/// What a query tile's rows of the softmax share, and their running sum of P·dP.
struct SoftmaxRows {
    float* maximum;      ///< (64)
    float* inverse_sum;  ///< (64)
    float* delta;        ///< (64)
};

/// P = exp(scale·score − maximum) / sum in place of the scores; delta gains the sum over keys of P·dP.
void probabilities(const TilePair& pair, float scale, float* scores, const float* d_scores,
                   const SoftmaxRows& rows, bool first) {
    const Vec factor = broadcast(scale);
    for (std::size_t v = 0; 16 * v < pair.queries; ++v) {
        const Vec maximum = load(rows.maximum + 16 * v);
        const Vec inverse_sum = load(rows.inverse_sum + 16 * v);
        const ScoreColumn column = pair.column(scores, v);
        Vec d0 = zero(), d1 = zero(), d2 = zero(), d3 = zero();
        for_scores(column, [&](std::size_t j, std::size_t chain, Vec x) {
            const Vec p = mul(exponential_not_large(sub(mul(x, factor), maximum)), inverse_sum);
            // Read before the store, which a processor takes for one to the same place: both tiles lie a
            // multiple of 4 KiB apart.
            const Vec d_p = load(d_scores + j * tile + 16 * v);
            store(column.scores + j * tile, p);
            Vec& d = chain == 0 ? d0 : chain == 1 ? d1 : chain == 2 ? d2 : d3;
            d = fma(p, d_p, d);
        });
        const Vec sum = add(add(d0, d1), add(d2, d3));
        store(rows.delta + 16 * v, first ? sum : add(load(rows.delta + 16 * v), sum));
    }
}

/// dS = scale·P·(dP − delta) in place of dP.
void score_gradients(const TilePair& pair, float scale, const float* probability, const float* delta,
                     float* d_scores) {
    const Vec factor = broadcast(scale);
    for (std::size_t v = 0; 16 * v < pair.queries; ++v) {
        const Vec shift = load(delta + 16 * v);
        const std::size_t keys = pair.diagonal ? smaller(pair.keys, 16 * v + 16) : pair.keys;
        for (std::size_t j = 0; j < keys; ++j) {
            float* const d_score = d_scores + j * tile + 16 * v;
            const Vec p = load(probability + j * tile + 16 * v);
            store(d_score, mul(mul(p, factor), sub(load(d_score), shift)));
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
    // Of a query tile with all its key tiles: delta must be whole before the first dS.
    float* const scores = take(num_tiles * tile * tile);
    float* const d_scores = take(num_tiles * tile * tile);
    const SoftmaxRows softmax = {take(tile), take(tile), take(tile)};

    const auto rows_of = [&](std::size_t t) { return smaller(tile, task.tokens - t * tile); };
    Upcoming upcoming(task.head_dim);
    /// What the next query tile will read and write; after the last, where the gradients of the keys go.
    const auto expect_after = [&](std::size_t h, std::size_t i) {
        upcoming.clear();
        const bool last_of_head = i + 1 == num_tiles;
        if (last_of_head && h + 1 == task.query_heads) {
            upcoming.add(task.d_k, task.d_stride, task.tokens);
            upcoming.add(task.d_v, task.d_stride, task.tokens);
            return;
        }
        const std::size_t after = last_of_head ? 0 : i + 1;
        const std::size_t token = after * tile;
        const std::size_t column = (last_of_head ? h + 1 : h) * task.head_dim;
        if (h == 0 && !last_of_head) {
            upcoming.add(task.k + token * task.stride, task.stride, rows_of(after));
            upcoming.add(task.v + token * task.stride, task.stride, rows_of(after));
        }
        upcoming.add(task.q + token * task.stride + column, task.stride, rows_of(after));
        upcoming.add(task.d_out + token * task.d_out_stride + column, task.d_out_stride, rows_of(after));
        upcoming.add(task.d_q + token * task.d_stride + column, task.d_stride, rows_of(after));
    };

    // Heads, then queries, then keys, all ascending: dK and dV of a key are one chain over heads and queries,
    // dQ of a query one chain over keys.
    for (std::size_t h = 0; h < task.query_heads; ++h) {
        const std::size_t column = h * task.head_dim;
        for (std::size_t i = 0; i < num_tiles; ++i) {
            const std::size_t token = i * tile;
            const std::size_t rows = rows_of(i);
            if (h == 0) {
                copy_tile(task.k + token * task.stride, task.stride, rows, task.head_dim, keys + i * area);
                copy_tile(task.v + token * task.stride, task.stride, rows, task.head_dim, values + i * area);
            }
            copy_tile(task.q + token * task.stride + column, task.stride, rows, task.head_dim, q_rows);
            copy_tile(task.d_out + token * task.d_out_stride + column, task.d_out_stride, rows, task.head_dim,
                      d_out_rows);
            transpose_tile(q_rows, task.head_dim, q_transposed);
            transpose_tile(d_out_rows, task.head_dim, d_out_transposed);
            for (std::size_t row = 0; row < tile; ++row) {
                const std::size_t place = h * task.row_stride + token + row;
                softmax.maximum[row] = row < rows ? task.row_max[place] : 0.0F;
                softmax.inverse_sum[row] = row < rows ? task.row_inverse_sum[place] : 0.0F;
            }
            const auto pair_with = [&](std::size_t t) {
                return TilePair{rows_of(t), rows, t == i, upcoming};
            };
            expect_after(h, i);
            for (std::size_t t = 0; t <= i; ++t) {
                const TilePair pair = pair_with(t);
                float* const p = scores + t * tile * tile;
                float* const d_p = d_scores + t * tile * tile;
                pair.keys_by_queries(task.head_dim, keys + t * area, padded, q_transposed, p);
                pair.keys_by_queries(task.head_dim, values + t * area, padded, d_out_transposed, d_p);
                probabilities(pair, task.scale, p, d_p, softmax, t == 0);
            }
            for (std::size_t t = 0; t <= i; ++t) {
                const TilePair pair = pair_with(t);
                const float* const p = scores + t * tile * tile;
                float* const d_s = d_scores + t * tile * tile;
                score_gradients(pair, task.scale, p, softmax.delta, d_s);
                const bool continues = h > 0 || !pair.diagonal;
                pair.sum_over_queries(vectors, p, d_out_rows, d_values + t * area, continues);
                pair.sum_over_queries(vectors, d_s, q_rows, d_keys + t * area, continues);
                pair.sum_over_keys(vectors, d_s, keys + t * area, d_q_rows, t > 0);
            }
            store_tile(d_q_rows, rows, task.head_dim, task.d_q + token * task.d_stride + column,
                       task.d_stride);
        }
    }

    for (std::size_t t = 0; t < num_tiles; ++t) {
        const std::size_t place = t * tile * task.d_stride;
        store_tile(d_keys + t * area, rows_of(t), task.head_dim, task.d_k + place, task.d_stride);
        store_tile(d_values + t * area, rows_of(t), task.head_dim, task.d_v + place, task.d_stride);
    }
}

}  // namespace
}  // namespace lockstep::LOCKSTEP_SIMD
