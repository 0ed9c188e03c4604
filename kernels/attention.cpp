#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <tuple>
#include <vector>

#include "io/base/contract.h"
#include "kernels/simd/kernel_table.h"

namespace lockstep {
namespace {

constexpr std::size_t query_block = attention_tile * attention_block_tiles;

/// Scratch of one thread: grows to the largest task it has met, and is then reused.
class Workspace {
  public:
    static std::size_t bytes(std::size_t floats) { return padded_to(floats, 16) * sizeof(float); }

    float* at_least(std::size_t floats) {
        if (floats > size_) {
            data_.reset(static_cast<float*>(std::aligned_alloc(64, bytes(floats))));
            if (data_ == nullptr) {
                size_ = 0;
                throw std::bad_alloc();
            }
            size_ = floats;
            std::fill_n(data_.get(), floats, 0.0F);
        }
        return data_.get();
    }

  private:
    struct Free {
        void operator()(float* p) const { std::free(p); }
    };
    std::unique_ptr<float, Free> data_;
    std::size_t size_ = 0;
};

float* thread_workspace(std::size_t floats) {
    static thread_local Workspace workspace;
    return workspace.at_least(floats);
}

/// One piece of work: a head of a segment, and where its queries begin.
struct Task {
    std::size_t segment_begin, tokens, head, query_begin;
    std::size_t cost;
};

/// A segment a token is the most there can be.
std::size_t tasks_max(const AttentionShape& shape) {
    return shape.num_heads * shape.scratch_tokens;
}

/// The list of the calling thread, empty; its memory is kept from call to call.
std::vector<Task>& task_list(const AttentionShape& shape) {
    static thread_local std::vector<Task> tasks;
    tasks.clear();
    tasks.reserve(tasks_max(shape));
    return tasks;
}

/// The most that a thread needs for a task of so many tokens.
std::size_t workspace_floats(std::size_t tokens, std::size_t head_dim) {
    return std::max(attention_forward_floats(head_dim), attention_backward_floats(tokens, head_dim));
}

/// Longest first, so that the threads end together. The order cannot change a bit.
void sort_by_cost(std::vector<Task>& tasks) {
    // Not stable_sort, which allocates: the rest of the order is spelled out.
    std::sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) {
        return std::tie(b.cost, a.segment_begin, a.head, a.query_begin) <
               std::tie(a.cost, b.segment_begin, b.head, b.query_begin);
    });
}

void check_shape(const AttentionShape& shape, std::span<const std::int32_t> cu_seqlens, ConstMatrixView qkv) {
    LOCKSTEP_EXPECTS(shape.head_dim >= 1 && shape.head_dim <= 256);
    LOCKSTEP_EXPECTS(shape.num_kv_heads >= 1 && shape.num_heads % shape.num_kv_heads == 0);
    LOCKSTEP_EXPECTS(qkv.cols == shape.qkv_width());
    LOCKSTEP_EXPECTS(!cu_seqlens.empty() && cu_seqlens.front() == 0);
    LOCKSTEP_EXPECTS(static_cast<std::size_t>(cu_seqlens.back()) == qkv.rows);
    LOCKSTEP_EXPECTS(std::is_sorted(cu_seqlens.begin(), cu_seqlens.end()));
}

float score_scale(const AttentionShape& shape) {
    return static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
}

}  // namespace

std::size_t attention_scratch_bytes(const AttentionShape& shape, int threads) {
    const std::size_t workspace = Workspace::bytes(workspace_floats(shape.scratch_tokens, shape.head_dim));
    return static_cast<std::size_t>(threads) * workspace + tasks_max(shape) * sizeof(Task);
}

void attention_forward(ThreadPool& pool, const AttentionShape& shape,
                       std::span<const std::int32_t> cu_seqlens, ConstMatrixView qkv, MatrixView out,
                       std::span<float> softmax_rows) {
    check_shape(shape, cu_seqlens, qkv);
    LOCKSTEP_EXPECTS(out.rows == qkv.rows && out.cols == shape.query_width());
    LOCKSTEP_EXPECTS(softmax_rows.size() == 2 * shape.num_heads * qkv.rows);
    const KernelTable& kernels = kernel_table();
    const std::size_t group = shape.num_heads / shape.num_kv_heads;

    std::vector<Task>& tasks = task_list(shape);
    for (std::size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
        const auto begin = static_cast<std::size_t>(cu_seqlens[s]);
        const std::size_t tokens = static_cast<std::size_t>(cu_seqlens[s + 1]) - begin;
        for (std::size_t head = 0; head < shape.num_heads; ++head) {
            for (std::size_t query = 0; query < tokens; query += query_block) {
                const std::size_t end = std::min(tokens, query + query_block);
                tasks.push_back({begin, tokens, head, query, (end - query) * end});
            }
        }
    }
    sort_by_cost(tasks);

    pool.for_each(tasks.size(), [&](std::size_t index) {
        const Task& task = tasks[index];
        const float* const row = qkv.row(task.segment_begin);
        const float* const k = row + shape.query_width() + task.head / group * shape.head_dim;
        float* const row_max = softmax_rows.data() + task.head * qkv.rows + task.segment_begin;
        kernels.attention_forward({
            .q = row + task.head * shape.head_dim,
            .k = k,
            .v = k + shape.kv_width(),
            .stride = qkv.stride,
            .out = out.row(task.segment_begin) + task.head * shape.head_dim,
            .out_stride = out.stride,
            .row_max = row_max,
            .row_inverse_sum = row_max + shape.num_heads * qkv.rows,
            .tokens = task.tokens,
            .query_begin = task.query_begin,
            .query_end = std::min(task.tokens, task.query_begin + query_block),
            .head_dim = shape.head_dim,
            .scale = score_scale(shape),
            .workspace = thread_workspace(attention_forward_floats(shape.head_dim)),
        });
    });
}

void attention_backward(ThreadPool& pool, const AttentionShape& shape,
                        std::span<const std::int32_t> cu_seqlens, ConstMatrixView qkv, ConstMatrixView d_out,
                        std::span<const float> softmax_rows, MatrixView d_qkv) {
    check_shape(shape, cu_seqlens, qkv);
    LOCKSTEP_EXPECTS(d_out.rows == qkv.rows && d_out.cols == shape.query_width());
    LOCKSTEP_EXPECTS(d_qkv.rows == qkv.rows && d_qkv.cols == qkv.cols);
    LOCKSTEP_EXPECTS(softmax_rows.size() == 2 * shape.num_heads * qkv.rows);
    const KernelTable& kernels = kernel_table();
    const std::size_t group = shape.num_heads / shape.num_kv_heads;

    // A kv head with all its query heads is one task: their sum into dK and dV has an order.
    std::vector<Task>& tasks = task_list(shape);
    for (std::size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
        const auto begin = static_cast<std::size_t>(cu_seqlens[s]);
        const std::size_t tokens = static_cast<std::size_t>(cu_seqlens[s + 1]) - begin;
        if (tokens == 0) continue;
        for (std::size_t head = 0; head < shape.num_kv_heads; ++head) {
            tasks.push_back({begin, tokens, head, 0, tokens * tokens});
        }
    }
    sort_by_cost(tasks);

    pool.for_each(tasks.size(), [&](std::size_t index) {
        const Task& task = tasks[index];
        const std::size_t query_column = task.head * group * shape.head_dim;
        const std::size_t key_column = shape.query_width() + task.head * shape.head_dim;
        const float* const row = qkv.row(task.segment_begin);
        float* const d_row = d_qkv.row(task.segment_begin);
        const float* const row_max = softmax_rows.data() + task.head * group * qkv.rows + task.segment_begin;
        kernels.attention_backward({
            .q = row + query_column,
            .k = row + key_column,
            .v = row + key_column + shape.kv_width(),
            .stride = qkv.stride,
            .d_out = d_out.row(task.segment_begin) + query_column,
            .d_out_stride = d_out.stride,
            .row_max = row_max,
            .row_inverse_sum = row_max + shape.num_heads * qkv.rows,
            .row_stride = qkv.rows,
            .d_q = d_row + query_column,
            .d_k = d_row + key_column,
            .d_v = d_row + key_column + shape.kv_width(),
            .d_stride = d_qkv.stride,
            .tokens = task.tokens,
            .query_heads = group,
            .head_dim = shape.head_dim,
            .scale = score_scale(shape),
            .workspace = thread_workspace(
                attention_backward_floats(std::max(task.tokens, shape.scratch_tokens), shape.head_dim)),
        });
    });
}

}  // namespace lockstep
