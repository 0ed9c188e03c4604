#include "worker/model/model_config.h"

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "worker/model/config_file.h"

namespace lockstep {

namespace {

using nlohmann::json;

struct Preset {
    const char* name;
    ModelFamily family;
    std::size_t layers, width, heads, kv_heads, ffn, positions, vocabulary;
};

constexpr std::array presets = {
    Preset{"nano", ModelFamily::gpt2, 2, 64, 4, 4, 256, 512, 0},
    Preset{"tiny", ModelFamily::gpt2, 4, 128, 4, 4, 512, 1024, 0},
    Preset{"small", ModelFamily::gpt2, 4, 256, 8, 8, 1024, 1024, 8192},
    Preset{"gpt2-124m", ModelFamily::gpt2, 12, 768, 12, 12, 3072, 1024, 50257},
    Preset{"llama-nano", ModelFamily::llama, 2, 64, 4, 2, 192, 2048, 0},
    Preset{"llama-tiny", ModelFamily::llama, 4, 256, 8, 4, 768, 2048, 0},
    Preset{"llama-160m", ModelFamily::llama, 12, 768, 12, 4, 2048, 2048, 32000},
};

ModelConfig from_preset(const Preset& preset, std::size_t corpus_vocabulary) {
    ModelConfig config;
    config.family = preset.family;
    config.layers = preset.layers;
    config.width = preset.width;
    config.heads = preset.heads;
    config.kv_heads = preset.kv_heads;
    config.head_dim = preset.width / preset.heads;
    config.ffn = preset.ffn;
    config.positions = preset.positions;
    config.vocabulary = preset.vocabulary != 0 ? preset.vocabulary : corpus_vocabulary;
    config.tied_head = preset.family == ModelFamily::gpt2;
    return config;
}

std::string list_presets() {
    std::string text;
    for (const Preset& preset : presets) text += (text.empty() ? "" : ", ") + std::string(preset.name);
    return text;
}

void require(bool ok, const std::string& message) {
    if (!ok) throw Error(ErrorCode::invalid_argument, "model: " + message);
}

void check_rotary_scaling(const RotaryScaling& r) {
    using Kind = RotaryScaling::Kind;
    if (r.kind == Kind::none) {
        require(r == RotaryScaling{}, "rotary scaling is off, yet has parameters");
        return;
    }
    require(r.factor >= 1 && r.factor <= 1e6, "rotary scaling: factor must lie in [1, 1e6]");
    if (r.kind == Kind::linear) return;
    require(r.original_positions >= 1 && r.original_positions <= 1U << 24U,
            "rotary scaling: original_max_position_embeddings is " + std::to_string(r.original_positions) +
                "; allowed: 1 to 2^24");
    require(r.low > 0 && r.high > r.low && r.high <= 1e6,
            "rotary scaling: the two bounds must be above 0, at most 1e6, and differ in the right order");
    require(r.kind != Kind::yarn || (r.magnitude > 0 && r.magnitude <= 100),
            "rotary scaling: attention_factor must lie in (0, 100]");
}

}  // namespace

std::vector<std::string> model_preset_names() {
    std::vector<std::string> names;
    for (const Preset& preset : presets) names.emplace_back(preset.name);
    return names;
}

LoadedModelConfig load_model_config(const std::string& name_or_path, std::size_t corpus_vocabulary) {
    LoadedModelConfig loaded;
    const auto* preset = std::find_if(presets.begin(), presets.end(), [&](const Preset& candidate) {
        return candidate.name == name_or_path;
    });
    if (preset != presets.end()) {
        loaded.config = from_preset(*preset, corpus_vocabulary);
    } else {
        std::filesystem::path path = name_or_path;
        if (std::filesystem::is_directory(path)) path /= "config.json";
        if (!std::filesystem::exists(path)) {
            throw Error(ErrorCode::not_found,
                        "model '" + name_or_path +
                            "' is neither a preset nor a config.json; presets: " + list_presets());
        }
        loaded = read_config_file(path);
    }
    check_model_config(loaded.config);
    return loaded;
}

void check_model_config(const ModelConfig& c) {
    const auto in_range = [](std::size_t value, std::size_t low, std::size_t high) {
        return value >= low && value <= high;
    };
    require(in_range(c.layers, 1, 1000), "layers is " + std::to_string(c.layers) + "; allowed: 1 to 1000");
    require(in_range(c.width, 1, 1U << 17U),
            "width is " + std::to_string(c.width) + "; allowed: 1 to 131072");
    require(in_range(c.heads, 1, 1024), "heads is " + std::to_string(c.heads) + "; allowed: 1 to 1024");
    require(in_range(c.head_dim, 1, 256),
            "head dimension is " + std::to_string(c.head_dim) + "; allowed: 1 to 256");
    require(
        c.family == ModelFamily::llama || c.head_dim * c.heads == c.width,
        "width " + std::to_string(c.width) + " is not a multiple of " + std::to_string(c.heads) + " heads");
    require(c.kv_heads >= 1 && c.heads % c.kv_heads == 0, "kv heads is " + std::to_string(c.kv_heads) +
                                                              "; it must divide heads (" +
                                                              std::to_string(c.heads) + ")");
    require(in_range(c.ffn, 1, 1U << 20U),
            "FFN width is " + std::to_string(c.ffn) + "; allowed: 1 to 1048576");
    require(in_range(c.positions, 1, 1U << 24U),
            "positions is " + std::to_string(c.positions) + "; allowed: 1 to 2^24");
    require(in_range(c.vocabulary, 1, 1U << 24U),
            "vocabulary is " + std::to_string(c.vocabulary) + "; allowed: 1 to 2^24");
    require(c.family == ModelFamily::gpt2 || c.head_dim % 2 == 0,
            "head dimension is " + std::to_string(c.head_dim) + "; rotary positions need an even one");
    require(c.norm_epsilon > 0 && c.norm_epsilon < 1, "norm epsilon must lie in (0, 1)");
    require(c.rope_base > 1 && c.rope_base <= 1e12, "rotary base must lie in (1, 1e12]");
    require(c.init_std >= 0 && c.init_std <= 10, "initializer range must lie in [0, 10]");
    require(c.family == ModelFamily::llama || (c.biases == LinearBiases{} && c.rope == RotaryScaling{}),
            "biases and rotary scaling are settings of the Llama family");
    require(c.biases.qkv || !c.biases.attention_out, "a bias after attention needs those before it");
    require(c.biases.qkv == c.biases.attention_out || !c.biases.ffn,
            "biases of queries, keys and values alone do not go with biases of the FFN");
    check_rotary_scaling(c.rope);
}

std::string_view name_of(RotaryScaling::Kind kind) {
    switch (kind) {
        case RotaryScaling::Kind::none:
            return "none";
        case RotaryScaling::Kind::linear:
            return "linear";
        case RotaryScaling::Kind::llama3:
            return "llama3";
        case RotaryScaling::Kind::yarn:
            return "yarn";
    }
    return "?";
}

std::string to_json(const ModelConfig& c) {
    const json object = {{"family", c.family == ModelFamily::gpt2 ? "gpt2" : "llama"},
                         {"layers", c.layers},
                         {"width", c.width},
                         {"heads", c.heads},
                         {"kv_heads", c.kv_heads},
                         {"head_dim", c.head_dim},
                         {"ffn", c.ffn},
                         {"positions", c.positions},
                         {"vocabulary", c.vocabulary},
                         {"tied_head", c.tied_head},
                         {"norm_epsilon", c.norm_epsilon},
                         {"rope_base", c.rope_base},
                         {"init_std", c.init_std},
                         {"qkv_bias", c.biases.qkv},
                         {"attention_out_bias", c.biases.attention_out},
                         {"ffn_bias", c.biases.ffn},
                         {"rope_scaling", name_of(c.rope.kind)},
                         {"rope_factor", c.rope.factor},
                         {"rope_low", c.rope.low},
                         {"rope_high", c.rope.high},
                         {"rope_original_positions", c.rope.original_positions},
                         {"rope_magnitude", c.rope.magnitude}};
    return object.dump();
}

namespace {

/// Fields that settings written before there were such variants do not have.
void read_llama_variant(const json& object, ModelConfig& c) {
    c.biases.qkv = object.value("qkv_bias", false);
    c.biases.attention_out = object.value("attention_out_bias", false);
    c.biases.ffn = object.value("ffn_bias", false);
    using Kind = RotaryScaling::Kind;
    const std::string kind = object.value("rope_scaling", "none");
    for (const Kind known : {Kind::none, Kind::linear, Kind::llama3, Kind::yarn}) {
        if (kind == name_of(known)) c.rope.kind = known;
    }
    if (kind != name_of(c.rope.kind)) {
        throw Error(ErrorCode::incompatible_version,
                    "rotary scaling '" + kind + "' is unknown to this version");
    }
    c.rope.factor = object.value("rope_factor", 1.0);
    c.rope.low = object.value("rope_low", 0.0);
    c.rope.high = object.value("rope_high", 0.0);
    c.rope.original_positions = object.value("rope_original_positions", std::size_t{0});
    c.rope.magnitude = object.value("rope_magnitude", 1.0);
}

}  // namespace

ModelConfig model_config_from_json(std::string_view text) {
    try {
        const json object = json::parse(text);
        ModelConfig c;
        const std::string family = object.at("family");
        if (family != "gpt2" && family != "llama") {
            throw Error(ErrorCode::incompatible_version,
                        "model family '" + family + "' is unknown to this version");
        }
        c.family = family == "gpt2" ? ModelFamily::gpt2 : ModelFamily::llama;
        object.at("layers").get_to(c.layers);
        object.at("width").get_to(c.width);
        object.at("heads").get_to(c.heads);
        object.at("kv_heads").get_to(c.kv_heads);
        object.at("head_dim").get_to(c.head_dim);
        object.at("ffn").get_to(c.ffn);
        object.at("positions").get_to(c.positions);
        object.at("vocabulary").get_to(c.vocabulary);
        object.at("tied_head").get_to(c.tied_head);
        object.at("norm_epsilon").get_to(c.norm_epsilon);
        object.at("rope_base").get_to(c.rope_base);
        object.at("init_std").get_to(c.init_std);
        read_llama_variant(object, c);
        check_model_config(c);
        return c;
    } catch (const json::exception& failure) {
        throw Error(ErrorCode::corrupt_data,
                    std::string("recorded model settings cannot be read: ") + failure.what());
    }
}

void add_to_fingerprint(FingerprintBuilder& builder, const ModelConfig& c) {
    builder.add("model")
        .add(static_cast<std::uint64_t>(c.family))
        .add(c.layers)
        .add(c.width)
        .add(c.heads)
        .add(c.kv_heads)
        .add(c.head_dim)
        .add(c.ffn)
        .add(c.positions)
        .add(c.vocabulary)
        .add(std::uint64_t{c.tied_head})
        .add(std::bit_cast<std::uint64_t>(c.norm_epsilon))
        .add(std::bit_cast<std::uint64_t>(c.rope_base))
        .add(std::bit_cast<std::uint64_t>(c.init_std));
    // Later fields only where they say something, so that a model without them keeps its name.
    if (!(c.biases == LinearBiases{})) {
        builder.add("biases")
            .add(std::uint64_t{c.biases.qkv})
            .add(std::uint64_t{c.biases.attention_out})
            .add(std::uint64_t{c.biases.ffn});
    }
    if (c.rope.kind != RotaryScaling::Kind::none) {
        builder.add("rotary scaling")
            .add(static_cast<std::uint64_t>(c.rope.kind))
            .add(std::bit_cast<std::uint64_t>(c.rope.factor))
            .add(std::bit_cast<std::uint64_t>(c.rope.low))
            .add(std::bit_cast<std::uint64_t>(c.rope.high))
            .add(c.rope.original_positions)
            .add(std::bit_cast<std::uint64_t>(c.rope.magnitude));
    }
}

double flop_per_token(const ModelConfig& c, double mean_context) {
    const auto d = [](std::size_t value) { return static_cast<double>(value); };
    const double query_width = d(c.heads * c.head_dim);
    const double kv_width = d(c.kv_heads * c.head_dim);
    const double attention_weights = d(c.width) * (2 * query_width + 2 * kv_width);
    const double ffn_weights = d(c.width) * d(c.ffn) * (c.family == ModelFamily::gpt2 ? 2.0 : 3.0);
    const double matrices = d(c.layers) * (attention_weights + ffn_weights) + d(c.vocabulary) * d(c.width);
    // Scores and values: 2 products of 2 flop each, forward once and backward twice.
    const double attention = d(c.layers) * 12.0 * query_width * mean_context;
    return 6.0 * matrices + attention;
}

CostModel cost_of_model(const ModelConfig& config) {
    const double linear = flop_per_token(config, 0);
    // A token attends to half its segment on average: so much for each squared length.
    const double square = (flop_per_token(config, 1) - linear) / 2;
    return {static_cast<std::uint64_t>(linear / square + 0.5), 1};
}

}  // namespace lockstep
