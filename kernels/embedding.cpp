#include "kernels/embedding.h"

#include <cstring>

#include "io/base/contract.h"
#include "kernels/scalar_math.h"
#include "kernels/simd/kernel_table.h"

namespace lockstep {
namespace {

void turn(ThreadPool& pool, const AttentionShape& shape, std::span<const std::uint32_t> position_ids,
          MatrixView qkv, std::span<const float> cosines, std::span<const float> sines, std::size_t half,
          float sign) {
    LOCKSTEP_EXPECTS(shape.head_dim == 2 * half && qkv.cols == shape.qkv_width());
    LOCKSTEP_EXPECTS(position_ids.size() == qkv.rows);
    const KernelTable& kernels = kernel_table();
    pool.for_ranges(qkv.rows, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
            const std::size_t at = position_ids[t] * half;
            LOCKSTEP_EXPECTS(at + half <= cosines.size());
            // Keys follow the queries, head by head.
            for (std::size_t head = 0; head < shape.num_heads + shape.num_kv_heads; ++head) {
                float* const first = qkv.row(t) + head * shape.head_dim;
                kernels.rotate(half, cosines.data() + at, sines.data() + at, sign, first, first + half);
            }
        }
    });
}

}  // namespace

void embedding_forward(ThreadPool& pool, std::span<const std::uint32_t> ids, ConstMatrixView table,
                       MatrixView out, Accumulate accumulate) {
    LOCKSTEP_EXPECTS(out.rows == ids.size() && out.cols == table.cols);
    const KernelTable& kernels = kernel_table();
    pool.for_ranges(ids.size(), 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
            LOCKSTEP_EXPECTS(ids[t] < table.rows);
            if (accumulate == Accumulate::yes) {
                kernels.add(table.cols, table.row(ids[t]), out.row(t));
            } else if (table.cols > 0) {
                std::memcpy(out.row(t), table.row(ids[t]), table.cols * sizeof(float));
            }
        }
    });
}

void embedding_backward(ThreadPool& pool, std::span<const std::uint32_t> ids, ConstMatrixView d_out,
                        MatrixView d_table, Accumulate accumulate) {
    LOCKSTEP_EXPECTS(d_out.rows == ids.size() && d_out.cols == d_table.cols);
    const KernelTable& kernels = kernel_table();
    // By columns: a token that occurs twice is summed in token order by one thread.
    pool.for_ranges(d_table.cols, 16, [&](std::size_t begin, std::size_t end) {
        if (accumulate == Accumulate::no) {
            for (std::size_t id = 0; id < d_table.rows; ++id) {
                std::memset(d_table.row(id) + begin, 0, (end - begin) * sizeof(float));
            }
        }
        for (std::size_t t = 0; t < ids.size(); ++t) {
            LOCKSTEP_EXPECTS(ids[t] < d_table.rows);
            kernels.add(end - begin, d_out.row(t) + begin, d_table.row(ids[t]) + begin);
        }
    });
}

std::vector<double> rotary_frequencies(std::size_t head_dim, double base) {
    LOCKSTEP_EXPECTS(head_dim % 2 == 0 && base > 0);
    std::vector<double> frequencies(head_dim / 2);
    const double log_base = exact_log(base);
    for (std::size_t i = 0; i < frequencies.size(); ++i) {
        frequencies[i] = exact_exp(-2.0 * static_cast<double>(i) / static_cast<double>(head_dim) * log_base);
    }
    return frequencies;
}

RotaryTable::RotaryTable(std::size_t positions, std::span<const double> frequencies, double magnitude)
    : half_(frequencies.size()), cos_(positions * half_), sin_(positions * half_) {
    for (std::size_t i = 0; i < half_; ++i) {
        for (std::size_t position = 0; position < positions; ++position) {
            const double angle = static_cast<double>(position) * frequencies[i];
            cos_[position * half_ + i] = static_cast<float>(magnitude * exact_cos(angle));
            sin_[position * half_ + i] = static_cast<float>(magnitude * exact_sin(angle));
        }
    }
}

void RotaryTable::rotate(ThreadPool& pool, const AttentionShape& shape,
                         std::span<const std::uint32_t> position_ids, MatrixView qkv) const {
    turn(pool, shape, position_ids, qkv, cos_, sin_, half_, 1.0F);
}

void RotaryTable::rotate_back(ThreadPool& pool, const AttentionShape& shape,
                              std::span<const std::uint32_t> position_ids, MatrixView d_qkv) const {
    turn(pool, shape, position_ids, d_qkv, cos_, sin_, half_, -1.0F);
}

}  // namespace lockstep
