// tests/worker/double_model.h
//
// The same model in double, written to be read.

#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/reference/attention.h"
#include "kernels/reference/cross_entropy.h"
#include "kernels/reference/elementwise.h"
#include "kernels/reference/embedding.h"
#include "kernels/reference/norm.h"
#include "worker/model/model_config.h"
#include "worker/model/rotary_frequencies.h"
#include "worker/model/state_layout.h"
#include "worker/packed_batch.h"

namespace lockstep {

class DoubleModel {
    using DoubleView = BasicMatrixView<double>;
    using ConstDoubleView = BasicMatrixView<const double>;

  public:
    explicit DoubleModel(const ModelConfig& config) : config_(config), layout_(config) {}

    /// Sum of the targets' losses.
    double loss(const PackedBatch& batch, std::span<const double> weights) const {
        const std::size_t tokens = batch.num_tokens();
        const bool gpt2 = config_.family == ModelFamily::gpt2;
        const AttentionShape shape{config_.heads, config_.kv_heads, config_.head_dim};
        std::vector<double> x(tokens * config_.width);
        for (std::size_t t = 0; t < tokens; ++t) {
            for (std::size_t i = 0; i < config_.width; ++i) {
                x[t * config_.width + i] =
                    tensor("token_table.weight", weights)[batch.token_ids[t] * config_.width + i];
                if (gpt2) {
                    x[t * config_.width + i] +=
                        tensor("position_table.weight", weights)[batch.position_ids[t] * config_.width + i];
                }
            }
        }
        for (std::size_t layer = 0; layer < config_.layers; ++layer) {
            const std::string p = "layers." + std::to_string(layer) + ".";
            std::vector<double> qkv =
                linear(norm(x, p + "attention_norm", weights), p + "attention.qkv", weights);
            const DoubleView qkv_view(qkv.data(), tokens, shape.qkv_width());
            if (!gpt2) {
                reference::rotate(shape, batch.position_ids, scaled_rotary_frequencies(config_),
                                  config_.rope.magnitude, qkv_view);
            }
            std::vector<double> attended(tokens * shape.query_width());
            std::vector<double> log_sum_exp(tokens * config_.heads);
            reference::attention(shape, batch.cu_seqlens, qkv_view,
                                 {attended.data(), tokens, shape.query_width()}, log_sum_exp);
            add(linear(attended, p + "attention.out", weights), x);
            const std::vector<double> hidden =
                linear(norm(x, p + "ffn_norm", weights), p + "ffn.in", weights);
            add(linear(activated(hidden, tokens), p + "ffn.out", weights), x);
        }
        const std::vector<double> normed = norm(x, "final_norm", weights);
        const auto head = tensor(config_.tied_head ? "token_table.weight" : "head.weight", weights);
        std::vector<double> token_loss(tokens);
        reference::head_loss(ConstDoubleView(normed.data(), tokens, config_.width),
                             {head.data(), config_.vocabulary, config_.width}, batch.targets, token_loss);
        double sum = 0;
        for (const double value : token_loss) sum += value;
        return sum;
    }

  private:
    std::span<const double> tensor(const std::string& name, std::span<const double> weights) const {
        const TensorSpec& spec = layout_.tensor(name);
        return weights.subspan(spec.offset, spec.elements());
    }

    std::vector<double> norm(const std::vector<double>& x, const std::string& name,
                             std::span<const double> w) const {
        std::vector<double> y(x.size());
        const ConstDoubleView in(x.data(), x.size() / config_.width, config_.width);
        const DoubleView out(y.data(), in.rows, in.cols);
        if (config_.family == ModelFamily::gpt2) {
            reference::layer_norm(in, tensor(name + ".gain", w), tensor(name + ".bias", w),
                                  config_.norm_epsilon, out);
        } else {
            reference::rms_norm(in, tensor(name + ".gain", w), config_.norm_epsilon, out);
        }
        return y;
    }

    std::vector<double> linear(const std::vector<double>& x, const std::string& name,
                               std::span<const double> w) const {
        const TensorSpec& spec = layout_.tensor(name + ".weight");
        const auto weight = tensor(name + ".weight", w);
        const std::size_t tokens = x.size() / spec.cols;
        std::vector<double> y(tokens * spec.rows, 0.0);
        for (std::size_t t = 0; t < tokens; ++t) {
            for (std::size_t out = 0; out < spec.rows; ++out) {
                double sum = layout_.find(name + ".bias") != nullptr ? tensor(name + ".bias", w)[out] : 0.0;
                for (std::size_t in = 0; in < spec.cols; ++in)
                    sum += x[t * spec.cols + in] * weight[out * spec.cols + in];
                y[t * spec.rows + out] = sum;
            }
        }
        return y;
    }

    std::vector<double> activated(const std::vector<double>& hidden, std::size_t tokens) const {
        std::vector<double> y(tokens * config_.ffn);
        const std::size_t width = hidden.size() / tokens;
        for (std::size_t t = 0; t < tokens; ++t) {
            for (std::size_t i = 0; i < config_.ffn; ++i) {
                const double first = hidden[t * width + i];
                y[t * config_.ffn + i] = config_.family == ModelFamily::gpt2
                                             ? reference::gelu(first)
                                             : reference::swiglu(first, hidden[t * width + config_.ffn + i]);
            }
        }
        return y;
    }

    static void add(const std::vector<double>& branch, std::vector<double>& x) {
        for (std::size_t i = 0; i < x.size(); ++i) x[i] += branch[i];
    }

    ModelConfig config_;
    StateLayout layout_;
};

}  // namespace lockstep
