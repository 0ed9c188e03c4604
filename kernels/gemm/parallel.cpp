#include "kernels/gemm/parallel.h"

#include <algorithm>

#include "io/base/contract.h"
#include "kernels/gemm/blocked.h"

namespace lockstep {

namespace {

constexpr std::size_t shard_grain = 32;  // Shards begin at multiples of it.
constexpr std::size_t shard_product_least = std::size_t{1}
                                            << 18;  // A smaller shard is not worth waking a thread.

struct ShardGrid {
    std::size_t rows = 1;
    std::size_t columns = 1;
};

// As many shards as threads, and as square as can be: each reads its rows of A and its columns of B once.
ShardGrid shard_grid(std::size_t m, std::size_t n, std::size_t k, std::size_t threads) {
    const auto grains = [](std::size_t x) { return (x + shard_grain - 1) / shard_grain; };
    const std::size_t worthwhile = std::max<std::size_t>(1, m * n * k / shard_product_least);
    const std::size_t wanted = std::min(threads, worthwhile);
    ShardGrid best;
    std::size_t best_count = 0, best_edge = 0;
    for (std::size_t rows = 1; rows <= std::min(wanted, grains(m)); ++rows) {
        const std::size_t columns = std::min(wanted / rows, grains(n));
        const std::size_t count = rows * columns;
        const std::size_t edge = m / rows + n / columns;
        if (count > best_count || (count == best_count && edge < best_edge)) {
            best = {rows, columns};
            best_count = count;
            best_edge = edge;
        }
    }
    return best;
}

// Bound number i of `parts` over [0, items): a multiple of shard_grain, or items.
std::size_t shard_bound(std::size_t items, std::size_t i, std::size_t parts) {
    const std::size_t grains = (items + shard_grain - 1) / shard_grain;
    return std::min(items, grains * i / parts * shard_grain);
}

/// A part of the product on the calling thread.
void multiply_part(GemmKernel kernel, const GemmProblem& p, const GemmFusion& fusion,
                   const MatrixRange& range) {
    GemmProblem part =
        part_of(p, range.row_begin, range.row_end, range.column_begin, range.column_end, 0, p.k);
    if (fusion.start.data != nullptr) {
        const ConstMatrixView start = fusion.start.part(range);
        for (std::size_t i = 0; i < part.m; ++i)
            std::copy_n(start.row(i), part.n, part.c + i * part.c_stride);
        part.accumulate = true;
    }
    if (part.k > 0) {
        kernel(part);
    } else if (!part.accumulate) {
        for (std::size_t i = 0; i < part.m; ++i) std::fill_n(part.c + i * part.c_stride, part.n, 0.0F);
    }
    if (fusion.finish) (*fusion.finish)(range);
}

/// A thread's part of the product, in the blocks in which our own kernels keep C in a cache if work on it is
/// fused. Without panels every block would lay B out again, so the part stays whole.
void multiply_shard(GemmKernel kernel, const GemmProblem& p, const GemmFusion& fusion,
                    const MatrixRange& shard) {
    const bool is_fused = fusion.start.data != nullptr || fusion.finish;
    if (!is_fused || p.panels.data == nullptr) return multiply_part(kernel, p, fusion, shard);
    for (std::size_t n = shard.column_begin; n < shard.column_end; n += chunk_lines) {
        for (std::size_t m = shard.row_begin; m < shard.row_end; m += block_rows) {
            multiply_part(
                kernel, p, fusion,
                {m, std::min(shard.row_end, m + block_rows), n, std::min(shard.column_end, n + chunk_lines)});
        }
    }
}

}  // namespace

void multiply_parallel(ThreadPool& pool, GemmKernel kernel, const GemmProblem& p, const GemmFusion& fusion) {
    LOCKSTEP_EXPECTS(fusion.start.data == nullptr || (fusion.start.rows == p.m && fusion.start.cols == p.n));
    if (p.m == 0 || p.n == 0) return;
    const ShardGrid grid = shard_grid(p.m, p.n, p.k, static_cast<std::size_t>(pool.size()));
    if (grid.rows * grid.columns == 1) return multiply_shard(kernel, p, fusion, {0, p.m, 0, p.n});
    pool.for_each(grid.rows * grid.columns, [&](std::size_t shard) {
        const std::size_t row = shard / grid.columns;
        const std::size_t column = shard % grid.columns;
        multiply_shard(kernel, p, fusion,
                       {shard_bound(p.m, row, grid.rows), shard_bound(p.m, row + 1, grid.rows),
                        shard_bound(p.n, column, grid.columns), shard_bound(p.n, column + 1, grid.columns)});
    });
}

std::size_t to_panels(std::size_t lines) {
    return (lines + panel_lines - 1) / panel_lines * panel_lines;
}

std::size_t fma256_floats(std::size_t terms) {
    return terms;
}

void pack_parallel(ThreadPool& pool, PanelPacker packer, PanelFloats floats_of, ConstMatrixView weight,
                   float* nt_panels, float* nn_panels) {
    // Square, since lines of the one form are terms of the other.
    constexpr std::size_t edge = gemm_block_k;
    static_assert(edge % panel_lines == 0);
    const std::size_t rows = weight.rows, cols = weight.cols, stride = weight.stride;
    const std::size_t column_tiles = (cols + edge - 1) / edge;
    pool.for_each((rows + edge - 1) / edge * column_tiles, [&](std::size_t tile) {
        const std::size_t row = tile / column_tiles * edge;
        const std::size_t column = tile % column_tiles * edge;
        const std::size_t tile_rows = std::min(edge, rows - row);
        const std::size_t tile_columns = std::min(edge, cols - column);
        const float* const source = weight.row(row) + column;
        if (nt_panels != nullptr) {
            packer({source, stride, 1}, tile_rows, tile_columns,
                   nt_panels + floats_of(column) * to_panels(rows) + row * floats_of(tile_columns));
        }
        if (nn_panels != nullptr) {
            packer({source, 1, stride}, tile_columns, tile_rows,
                   nn_panels + floats_of(row) * to_panels(cols) + column * floats_of(tile_rows));
        }
    });
}

GemmProblem problem_of(GemmShape::Form form, ConstMatrixView a, ConstMatrixView b, MatrixView c,
                       Accumulate accumulate) {
    const bool a_transposed = form == GemmShape::Form::tn;
    const bool b_transposed = form == GemmShape::Form::nt;
    const std::size_t m = a_transposed ? a.cols : a.rows;
    const std::size_t k = a_transposed ? a.rows : a.cols;
    const std::size_t n = b_transposed ? b.rows : b.cols;
    LOCKSTEP_EXPECTS((b_transposed ? b.cols : b.rows) == k);
    LOCKSTEP_EXPECTS(c.rows == m && c.cols == n);
    LOCKSTEP_EXPECTS(a.stride >= a.cols && b.stride >= b.cols && c.stride >= c.cols);
    return {m,
            n,
            k,
            a_transposed ? GemmOperand{a.data, 1, a.stride} : GemmOperand{a.data, a.stride, 1},
            b_transposed ? GemmOperand{b.data, b.stride, 1} : GemmOperand{b.data, 1, b.stride},
            c.data,
            c.stride,
            accumulate == Accumulate::yes,
            {}};
}

}  // namespace lockstep
