// worker/model/model_config.h
//
// Shape of a decoder transformer: a preset or a Hugging Face style config.json.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/fingerprint.h"
#include "plan/plan_options.h"

namespace lockstep {

/// Stored in fingerprints: append, never renumber.
enum class ModelFamily : std::uint8_t {
    gpt2 = 0,   ///< Learned positions, LayerNorm, GELU (tanh form), biases.
    llama = 1,  ///< Rotary positions, RMSNorm, SwiGLU, grouped-query attention; biases if named.
};

/// Which linear maps of the Llama family add a bias; those of GPT-2 all do.
struct LinearBiases {
    bool qkv = false;
    bool attention_out = false;  ///< Only with qkv.
    bool ffn = false;            ///< Gate, up and down.
    friend bool operator==(const LinearBiases&, const LinearBiases&) = default;
};

/// Rotary frequencies stretched for longer texts (rotary_frequencies.h).
struct RotaryScaling {
    /// Stored in fingerprints: append, never renumber.
    enum class Kind : std::uint8_t { none = 0, linear = 1, llama3 = 2, yarn = 3 };
    Kind kind = Kind::none;
    double factor = 1;
    double low = 0;   ///< llama3: low_freq_factor; yarn: beta_slow.
    double high = 0;  ///< llama3: high_freq_factor; yarn: beta_fast.
    std::size_t original_positions = 0;
    double magnitude = 1;  ///< Of cosines and sines; yarn's attention_factor.
    friend bool operator==(const RotaryScaling&, const RotaryScaling&) = default;
};
std::string_view name_of(RotaryScaling::Kind kind);

struct ModelConfig {
    ModelFamily family = ModelFamily::gpt2;
    std::size_t layers = 0;
    std::size_t width = 0;
    std::size_t heads = 0;
    std::size_t kv_heads = 0;
    std::size_t head_dim = 0;
    std::size_t ffn = 0;
    std::size_t positions = 0;
    std::size_t vocabulary = 0;  ///< 0 in a preset: the corpus' vocabulary.
    bool tied_head = true;       ///< The head is the token table.
    double norm_epsilon = 1e-5;
    double rope_base = 10000.0;
    double init_std = 0.02;
    LinearBiases biases;
    RotaryScaling rope;
    friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

struct LoadedModelConfig {
    ModelConfig config;
    std::vector<std::string> warnings;  ///< What was set aside ("dropout … set to 0").
};

/// Names of all presets, for messages.
std::vector<std::string> model_preset_names();

/// `name_or_path`: a preset, a config.json, or a folder that holds one. A preset without a vocabulary takes
/// `corpus_vocabulary`.
/// @throws Error{not_found} neither; Error{invalid_argument} naming the unsupported or impossible field.
LoadedModelConfig load_model_config(const std::string& name_or_path, std::size_t corpus_vocabulary);

/// @throws Error{invalid_argument} naming the field, found and allowed.
void check_model_config(const ModelConfig& config);

std::string to_json(const ModelConfig& config);  ///< Canonical; read back by model_config_from_json.
ModelConfig model_config_from_json(std::string_view json);
/// Adds every field that changes the computation.
void add_to_fingerprint(FingerprintBuilder& builder, const ModelConfig& config);

/// Floating-point operations of forward and backward that a token of useful work costs:
/// 6·(matrix parameters used) + attention over `mean_context` keys (causal half counted).
double flop_per_token(const ModelConfig& config, double mean_context);

/// The same as the planner's integer cost, to the nearest whole token: a token against a squared segment
/// length.
CostModel cost_of_model(const ModelConfig& config);

}  // namespace lockstep
