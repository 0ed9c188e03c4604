#include "worker/model/lora.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/base/contract.h"
#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr std::size_t rank_max = 4096;
constexpr double alpha_max = 1e6;
constexpr std::string_view all_linear = "all-linear";

struct Module {
    LoraTarget target;
    std::string_view name;
};
using enum LoraTarget;
constexpr std::array gpt2_modules = {Module{qkv, "attn.c_attn"}, Module{o, "attn.c_proj"},
                                     Module{up, "mlp.c_fc"}, Module{down, "mlp.c_proj"}};
constexpr std::array llama_modules = {Module{q, "self_attn.q_proj"}, Module{k, "self_attn.k_proj"},
                                      Module{v, "self_attn.v_proj"}, Module{o, "self_attn.o_proj"},
                                      Module{gate, "mlp.gate_proj"}, Module{up, "mlp.up_proj"},
                                      Module{down, "mlp.down_proj"}};

std::span<const Module> modules_of(ModelFamily family) {
    if (family == ModelFamily::gpt2) return gpt2_modules;
    return llama_modules;
}

bool is_called(const Module& module, std::string_view text) {
    return text == name_of(module.target) || text == module.name ||
           (module.name.ends_with(text) && module.name[module.name.size() - text.size() - 1] == '.');
}

[[noreturn]] void refuse_target(std::string_view text, ModelFamily family) {
    std::string known;
    for (const Module& module : modules_of(family)) {
        known += std::string(name_of(module.target)) + " (" + std::string(module.name) + "), ";
    }
    throw Error(ErrorCode::invalid_argument, "--lora-targets: '" + std::string(text) +
                                                 "' is no linear map of this model's layers; they have " +
                                                 known + "or all of them: " + std::string(all_linear));
}

/// One linear map of a layer, cut as the library cuts it.
struct LayerMap {
    const char* name;
    std::size_t in;
    std::vector<LoraMap::Part> parts;
};

std::vector<LayerMap> layer_maps(const ModelConfig& c) {
    const std::size_t queries = c.heads * c.head_dim;
    const std::size_t keys = c.kv_heads * c.head_dim;
    if (c.family == ModelFamily::gpt2) {
        return {{"attention.qkv", c.width, {{qkv, 0, queries + 2 * keys}}},
                {"attention.out", queries, {{o, 0, c.width}}},
                {"ffn.in", c.width, {{up, 0, c.ffn}}},
                {"ffn.out", c.ffn, {{down, 0, c.width}}}};
    }
    return {{"attention.qkv", c.width, {{q, 0, queries}, {k, queries, keys}, {v, queries + keys, keys}}},
            {"attention.out", queries, {{o, 0, c.width}}},
            {"ffn.in", c.width, {{gate, 0, c.ffn}, {up, c.ffn, c.ffn}}},
            {"ffn.out", c.ffn, {{down, 0, c.width}}}};
}

}  // namespace

std::string_view name_of(LoraTarget target) {
    constexpr std::array<std::string_view, 8> names = {"q", "k", "v", "qkv", "o", "gate", "up", "down"};
    return names[static_cast<std::size_t>(target)];
}

std::string_view module_of(ModelFamily family, LoraTarget target) {
    for (const Module& module : modules_of(family)) {
        if (module.target == target) return module.name;
    }
    throw Error(ErrorCode::bug, "no module for target " + std::string(name_of(target)));
}

float LoraSettings::scale() const {
    return static_cast<float>(alpha / static_cast<double>(rank));
}

std::vector<LoraTarget> default_lora_targets(ModelFamily family) {
    if (family == ModelFamily::gpt2) return {qkv};
    return {q, v};
}

std::vector<LoraTarget> parse_lora_targets(std::string_view text, ModelFamily family) {
    std::vector<LoraTarget> targets;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        const std::string_view word = text.substr(begin, end - begin);
        const std::size_t before = targets.size();
        for (const Module& module : modules_of(family)) {
            if (word == all_linear || (!word.empty() && is_called(module, word)))
                targets.push_back(module.target);
        }
        if (targets.size() == before) refuse_target(word, family);
        begin = end + 1;
    }
    std::sort(targets.begin(), targets.end());
    targets.erase(std::unique(targets.begin(), targets.end()), targets.end());
    return targets;
}

std::string text_of(std::span<const LoraTarget> targets) {
    std::string text;
    for (const LoraTarget target : targets) text += (text.empty() ? "" : ",") + std::string(name_of(target));
    return text;
}

void check_lora(const LoraSettings& lora, ModelFamily family) {
    if (lora.rank < 1 || lora.rank > rank_max) {
        throw Error(ErrorCode::invalid_argument, "--lora-rank is " + std::to_string(lora.rank) +
                                                     "; allowed: 1 to " + std::to_string(rank_max));
    }
    if (!(lora.alpha > 0 && lora.alpha <= alpha_max)) {
        throw Error(ErrorCode::invalid_argument,
                    "--lora-alpha is " + nlohmann::json(lora.alpha).dump() + "; allowed: above 0, up to 1e6");
    }
    if (lora.targets.empty()) throw Error(ErrorCode::invalid_argument, "--lora-targets names no linear map");
    for (const LoraTarget target : lora.targets) {
        const auto modules = modules_of(family);
        if (std::none_of(modules.begin(), modules.end(),
                         [&](const Module& module) { return module.target == target; })) {
            refuse_target(name_of(target), family);
        }
    }
}

void add_to_fingerprint(FingerprintBuilder& builder, const LoraSettings& lora) {
    builder.add("lora")
        .add(std::uint64_t{lora.rank})
        .add(std::bit_cast<std::uint64_t>(lora.alpha))
        .add(text_of(lora.targets));
    if (!lora.init.empty()) builder.add("init").add(lora.init);
}

std::string to_json(const LoraSettings& lora) {
    return nlohmann::json{{"rank", lora.rank},
                          {"alpha", lora.alpha},
                          {"targets", text_of(lora.targets)},
                          {"init", lora.init.empty() ? nlohmann::json() : nlohmann::json(lora.init.hex())}}
        .dump();
}

LoraSettings lora_from_json(std::string_view text, ModelFamily family) {
    const auto object = nlohmann::json::parse(text);
    LoraSettings lora;
    object.at("rank").get_to(lora.rank);
    object.at("alpha").get_to(lora.alpha);
    lora.targets = parse_lora_targets(object.at("targets").get<std::string>(), family);
    if (!object.at("init").is_null()) {
        lora.init = Fingerprint::from_hex(object.at("init").get<std::string>());
    }
    return lora;
}

std::size_t LoraMap::rows() const {
    std::size_t rows = 0;
    for (const Part& part : parts) rows += part.rows;
    return rows;
}

std::vector<LoraMap> lora_maps(const ModelConfig& config, const LoraSettings& lora) {
    std::vector<LoraMap> maps;
    for (std::size_t layer = 0; layer < config.layers; ++layer) {
        for (LayerMap& map : layer_maps(config)) {
            std::erase_if(map.parts, [&](const LoraMap::Part& part) {
                return std::find(lora.targets.begin(), lora.targets.end(), part.target) == lora.targets.end();
            });
            if (map.parts.empty()) continue;
            maps.push_back(
                {layer, "layers." + std::to_string(layer) + "." + map.name, map.in, std::move(map.parts)});
        }
    }
    return maps;
}

StateLayout lora_layout(const ModelConfig& config, const LoraSettings& lora) {
    std::vector<TensorSpec> tensors;
    for (const LoraMap& map : lora_maps(config, lora)) {
        // Kaiming's uniform distribution with the slope √5 that PyTorch's Linear has: bound √(6 / (6·in)).
        tensors.push_back({map.name + ".lora_a", map.parts.size() * lora.rank, map.in, true,
                           TensorSpec::Init::uniform, 1.0 / std::sqrt(static_cast<double>(map.in)), 0});
        tensors.push_back(
            {map.name + ".lora_b", map.rows(), lora.rank, true, TensorSpec::Init::zeros, 0.0, 0});
    }
    return StateLayout(std::move(tensors));
}

StateLayout trainable_layout(const ModelConfig& config, const std::optional<LoraSettings>& lora) {
    return lora ? lora_layout(config, *lora) : StateLayout(config);
}

void merge_adapters(const ModelConfig& config, const LoraSettings& lora, std::span<const float> adapters,
                    std::span<float> weights) {
    const StateLayout base(config);
    const StateLayout layout = lora_layout(config, lora);
    LOCKSTEP_EXPECTS(adapters.size() == layout.size() && weights.size() == base.size());
    const double scale = static_cast<double>(lora.scale());
    std::vector<double> delta;
    for (const LoraMap& map : lora_maps(config, lora)) {
        const float* a = adapters.data() + layout.tensor(map.name + ".lora_a").offset;
        const float* b = adapters.data() + layout.tensor(map.name + ".lora_b").offset;
        float* const weight = weights.data() + base.tensor(map.name + ".weight").offset;
        for (const LoraMap::Part& part : map.parts) {
            for (std::size_t row = 0; row < part.rows; ++row, b += lora.rank) {
                delta.assign(map.in, 0.0);
                for (std::size_t r = 0; r < lora.rank; ++r) {
                    const auto factor = static_cast<double>(b[r]);
                    for (std::size_t i = 0; i < map.in; ++i)
                        delta[i] += factor * static_cast<double>(a[r * map.in + i]);
                }
                float* const into = weight + (part.first_row + row) * map.in;
                for (std::size_t i = 0; i < map.in; ++i)
                    into[i] = static_cast<float>(static_cast<double>(into[i]) + scale * delta[i]);
            }
            a += lora.rank * map.in;
        }
    }
}

double flop_per_token(const ModelConfig& config, const std::optional<LoraSettings>& lora,
                      double mean_context) {
    if (!lora) return flop_per_token(config, mean_context);
    // Of the frozen matrices: forward and the gradient of the input.
    const double matrices = flop_per_token(config, 0) / 3 * 2;
    const double attention = flop_per_token(config, mean_context) - flop_per_token(config, 0);
    return matrices + attention + 6.0 * static_cast<double>(lora_layout(config, *lora).parameters());
}

}  // namespace lockstep
