// tests/worker/model_cases.h
//
// Small models of both families, sequences to train on, and packs of them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/base/philox.h"
#include "kernels/cross_entropy.h"
#include "kernels/scalar_math.h"
#include "worker/model/lora.h"
#include "worker/model/model_config.h"
#include "worker/model/state_layout.h"
#include "worker/packed_batch.h"

namespace lockstep {

struct ModelCase {
    std::string name;
    ModelConfig config;
};

/// GPT-2 and Llama (grouped queries), each with a tied head and one of its own; Llama with biases and rotary
/// scaling.
inline std::vector<ModelCase> model_cases(std::size_t width, std::size_t vocabulary, std::size_t positions) {
    std::vector<ModelCase> cases;
    for (const ModelFamily family : {ModelFamily::gpt2, ModelFamily::llama}) {
        for (const bool tied : {true, false}) {
            ModelConfig config;
            config.family = family;
            config.layers = 2;
            config.width = width;
            config.heads = 4;
            config.kv_heads = family == ModelFamily::gpt2 ? 4 : 2;
            config.head_dim = width / config.heads;
            config.ffn = width + width / 2;
            config.positions = positions;
            config.vocabulary = vocabulary;
            config.tied_head = tied;
            cases.push_back(
                {std::string(family == ModelFamily::gpt2 ? "gpt2" : "llama") + (tied ? "-tied" : "-untied"),
                 config});
        }
    }
    // Scalings that change something within so few positions.
    ModelConfig qwen2 = cases[2].config;
    qwen2.biases.qkv = true;
    qwen2.rope = {RotaryScaling::Kind::llama3, 4, 1, 4, positions / 2, 1};
    cases.push_back({"llama-qkv-bias-llama3", qwen2});
    ModelConfig biased = cases[3].config;
    biased.biases = {true, true, true};
    biased.rope = {RotaryScaling::Kind::yarn, 3, 1, 32, positions / 2, 1.25};
    cases.push_back({"llama-biases-yarn", biased});
    return cases;
}

/// One layer of GPT-2: about `vocabulary` · width elements in the token table, little elsewhere.
inline ModelConfig small_gpt2(std::size_t width, std::size_t vocabulary) {
    ModelConfig config;
    config.family = ModelFamily::gpt2;
    config.layers = 1;
    config.width = width;
    config.heads = config.kv_heads = 2;
    config.head_dim = width / 2;
    config.ffn = 2 * width;
    config.positions = 32;
    config.vocabulary = vocabulary;
    return config;
}

/// @param targets  as on the command line: "q,v".
inline LoraSettings lora_on(const std::string& targets, ModelFamily family, std::size_t rank = 3) {
    LoraSettings lora;
    lora.rank = rank;
    lora.alpha = 5;
    lora.targets = parse_lora_targets(targets, family);
    return lora;
}

/// Weights in which nothing is zero or one by chance: biases and gains too.
inline std::vector<float> lively_weights(const StateLayout& layout, std::uint64_t seed) {
    std::vector<float> weights(layout.size());
    for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
        const TensorSpec& tensor = layout.tensors()[index];
        const float middle = tensor.init == TensorSpec::Init::ones ? 1.0F : 0.0F;
        for (std::size_t i = 0; i < tensor.elements(); ++i) {
            weights[tensor.offset + i] = middle + 0.2F * standard_normal(seed, index, i);
        }
    }
    return weights;
}

struct Sequence {
    std::vector<std::uint32_t> ids;
    std::vector<std::int32_t> targets;
};

/// Random ids; every fifth target or so is left out, and the last position predicts nothing.
inline Sequence random_sequence(std::size_t tokens, std::size_t vocabulary, std::uint64_t seed) {
    const Philox random(seed, "test-sequence");
    Sequence sequence;
    for (std::size_t i = 0; i < tokens; ++i) {
        sequence.ids.push_back(static_cast<std::uint32_t>(random.below(2 * i, vocabulary)));
    }
    for (std::size_t i = 0; i < tokens; ++i) {
        const bool predicts = i + 1 < tokens && random.below(2 * i + 1, 5) != 0;
        sequence.targets.push_back(predicts ? static_cast<std::int32_t>(sequence.ids[i + 1])
                                            : ignored_target);
    }
    return sequence;
}

inline PackedBatch pack_of(std::span<const Sequence> sequences) {
    PackedBatch batch;
    batch.cu_seqlens = {0};
    for (const Sequence& sequence : sequences) {
        for (std::size_t i = 0; i < sequence.ids.size(); ++i) {
            batch.token_ids.push_back(sequence.ids[i]);
            batch.position_ids.push_back(static_cast<std::uint32_t>(i));
            batch.targets.push_back(sequence.targets[i]);
            if (sequence.targets[i] != ignored_target) ++batch.num_targets;
        }
        batch.cu_seqlens.push_back(static_cast<std::int32_t>(batch.token_ids.size()));
    }
    return batch;
}

}  // namespace lockstep
