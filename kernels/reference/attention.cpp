#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace lockstep::reference {

namespace {

double dot(const double* a, const double* b, std::size_t n) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

}  // namespace

void attention(const AttentionShape& shape, std::span<const std::int32_t> cu_seqlens,
               BasicMatrixView<const double> qkv, BasicMatrixView<double> out,
               std::span<double> log_sum_exp) {
    const std::size_t group = shape.num_heads / shape.num_kv_heads;
    const double scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
    for (std::size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
        const auto begin = static_cast<std::size_t>(cu_seqlens[s]);
        const auto end = static_cast<std::size_t>(cu_seqlens[s + 1]);
        for (std::size_t head = 0; head < shape.num_heads; ++head) {
            const std::size_t q_column = head * shape.head_dim;
            const std::size_t k_column = shape.query_width() + head / group * shape.head_dim;
            const std::size_t v_column = k_column + shape.kv_width();
            for (std::size_t query = begin; query < end; ++query) {
                std::vector<double> score;
                for (std::size_t key = begin; key <= query; ++key) {
                    score.push_back(scale *
                                    dot(qkv.row(query) + q_column, qkv.row(key) + k_column, shape.head_dim));
                }
                const double largest = *std::max_element(score.begin(), score.end());
                double sum = 0;
                for (double& x : score) {
                    x = std::exp(x - largest);
                    sum += x;
                }
                for (std::size_t i = 0; i < shape.head_dim; ++i) {
                    double value = 0;
                    for (std::size_t key = begin; key <= query; ++key) {
                        value += score[key - begin] / sum * qkv.row(key)[v_column + i];
                    }
                    out.row(query)[q_column + i] = value;
                }
                log_sum_exp[head * qkv.rows + query] = largest + std::log(sum);
            }
        }
    }
}

}  // namespace lockstep::reference
