// worker/model/lora.h
//
// Low-rank adapters beside the linear maps of a frozen model: what they are, where
// they stand, and their own flat state.
//
// y = x·Wᵀ + (alpha/rank)·(x·Aᵀ)·Bᵀ (+ bias), A (rank, in), B (out, rank).
//
// Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models",
// arXiv:2106.09685; names and defaults are those of Hugging Face's PEFT.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/fingerprint.h"
#include "worker/model/model_config.h"
#include "worker/model/state_layout.h"

namespace lockstep {

/// Linear maps as a family's own library cuts them. GPT-2 has qkv, o, up and down; Llama all but qkv.
/// Stored in fingerprints by name.
enum class LoraTarget : std::uint8_t { q, k, v, qkv, o, gate, up, down };
std::string_view name_of(LoraTarget target);
/// The map's name within a layer of Hugging Face's model: "self_attn.q_proj", "attn.c_attn".
std::string_view module_of(ModelFamily family, LoraTarget target);

struct LoraSettings {
    std::size_t rank = 8;
    double alpha = 16;
    std::vector<LoraTarget> targets;  ///< In the order of LoraTarget, each once.
    Fingerprint init;                 ///< Of the initial adapters, if given; empty: drawn from the seed.

    float scale() const;  ///< float(alpha / rank)
    friend bool operator==(const LoraSettings&, const LoraSettings&) = default;
};

/// Queries and values, or GPT-2's one map of queries, keys and values.
std::vector<LoraTarget> default_lora_targets(ModelFamily family);
/// Names separated by commas: ours ("q"), a module ("self_attn.q_proj") or its end ("q_proj"; "c_proj" is two
/// of GPT-2's); or "all-linear".
/// @throws Error{invalid_argument} naming the one this family does not have, and those it has.
std::vector<LoraTarget> parse_lora_targets(std::string_view text, ModelFamily family);
std::string text_of(std::span<const LoraTarget> targets);  ///< "q,v"

/// @throws Error{invalid_argument} naming the option, its value and its range.
void check_lora(const LoraSettings& lora, ModelFamily family);
void add_to_fingerprint(FingerprintBuilder& builder, const LoraSettings& lora);
std::string to_json(const LoraSettings& lora);
/// @throws nlohmann::json::exception; Error{corrupt_data, invalid_argument}.
LoraSettings lora_from_json(std::string_view json, ModelFamily family);

/// The adapters beside one linear map of ours, which may be several of the library's: part p has rows
/// [p·rank, (p + 1)·rank) of A, and its rows of B follow those of the part before.
struct LoraMap {
    struct Part {
        LoraTarget target;
        std::size_t first_row = 0;  ///< Of the map's output.
        std::size_t rows = 0;
    };
    std::size_t layer = 0;
    std::string name;  ///< "layers.3.attention.qkv"
    std::size_t in = 0;
    std::vector<Part> parts;  ///< Ascending rows; not empty.

    std::size_t rows() const;  ///< Of all parts.
};
/// Every map with an adapter, layer by layer, each in the order of forward.
std::vector<LoraMap> lora_maps(const ModelConfig& config, const LoraSettings& lora);

/// The adapters' flat state: of each map NAME.lora_a (parts·rank, in), uniform in ±1/√in, then NAME.lora_b
/// (rows, rank), zero.
StateLayout lora_layout(const ModelConfig& config, const LoraSettings& lora);
/// What a run trains: the adapters, or without them the model.
StateLayout trainable_layout(const ModelConfig& config, const std::optional<LoraSettings>& lora);

/// weights += scale · B·A in every adapted map. The sum over rank ascends in double, without fused steps, and
/// what is added to the weight in double is rounded once.
/// @param adapters  (lora_layout().size())
/// @param weights   (StateLayout(config).size())
void merge_adapters(const ModelConfig& config, const LoraSettings& lora, std::span<const float> adapters,
                    std::span<float> weights);

/// As flop_per_token(config): the frozen matrices take part in two products of three, the adapters in all.
double flop_per_token(const ModelConfig& config, const std::optional<LoraSettings>& lora,
                      double mean_context);

}  // namespace lockstep
