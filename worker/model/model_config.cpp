#include "worker/model/model_config.h"

#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/atomic_file.h"
#include "io/base/error.h"

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

/// Reads fields of a config.json and says which file and field is wrong.
class ConfigReader {
  public:
    ConfigReader(const json& object, std::string origin) : object_(object), origin_(std::move(origin)) {}

    bool present(const char* field) const { return object_.contains(field) && !object_[field].is_null(); }

    std::size_t size(const char* field) const {
        if (!present(field)) fail(field, "is missing; it is required");
        return size_or(field, 0);
    }
    std::size_t size_or(const char* field, std::size_t fallback) const {
        if (!present(field)) return fallback;
        if (!object_[field].is_number_unsigned()) fail(field, "is not a whole number ≥ 0");
        return object_[field].get<std::size_t>();
    }
    double number_or(const char* field, double fallback) const {
        if (!present(field)) return fallback;
        if (!object_[field].is_number()) fail(field, "is not a number");
        return object_[field].get<double>();
    }
    bool flag_or(const char* field, bool fallback) const {
        if (!present(field)) return fallback;
        if (!object_[field].is_boolean()) fail(field, "is not true or false");
        return object_[field].get<bool>();
    }
    std::string text_or(const char* field, const std::string& fallback) const {
        if (!present(field)) return fallback;
        if (!object_[field].is_string()) fail(field, "is not a text");
        return object_[field].get<std::string>();
    }
    [[noreturn]] void fail(const char* field, const std::string& what) const {
        throw Error(ErrorCode::invalid_argument,
                    "model config '" + origin_ + "': field '" + field + "' " + what);
    }

  private:
    const json& object_;
    std::string origin_;
};

void note_dropout(const ConfigReader& reader, std::initializer_list<const char*> fields,
                  std::vector<std::string>& warnings) {
    std::string named;
    for (const char* field : fields) {
        if (reader.number_or(field, 0.0) != 0.0) named += (named.empty() ? "" : ", ") + std::string(field);
    }
    if (!named.empty()) warnings.push_back("dropout (" + named + ") is set to 0: every run is deterministic");
}

LoadedModelConfig read_gpt2(const ConfigReader& reader) {
    LoadedModelConfig loaded;
    ModelConfig& config = loaded.config;
    config.family = ModelFamily::gpt2;
    config.layers = reader.size("n_layer");
    config.width = reader.size("n_embd");
    config.heads = reader.size("n_head");
    config.kv_heads = config.heads;
    config.head_dim = config.heads != 0 ? config.width / config.heads : 0;
    config.ffn = reader.size_or("n_inner", 4 * config.width);
    config.positions = reader.size_or("n_positions", reader.size_or("n_ctx", 1024));
    config.vocabulary = reader.size("vocab_size");
    config.tied_head = reader.flag_or("tie_word_embeddings", true);
    config.norm_epsilon = reader.number_or("layer_norm_epsilon", 1e-5);
    config.init_std = reader.number_or("initializer_range", 0.02);
    const std::string activation = reader.text_or("activation_function", "gelu_new");
    if (activation != "gelu_new" && activation != "gelu_pytorch_tanh") {
        reader.fail("activation_function", "is '" + activation + "'; supported: gelu_new, gelu_pytorch_tanh");
    }
    note_dropout(reader, {"resid_pdrop", "embd_pdrop", "attn_pdrop"}, loaded.warnings);
    return loaded;
}

LoadedModelConfig read_llama(const ConfigReader& reader) {
    LoadedModelConfig loaded;
    ModelConfig& config = loaded.config;
    config.family = ModelFamily::llama;
    config.layers = reader.size("num_hidden_layers");
    config.width = reader.size("hidden_size");
    config.heads = reader.size("num_attention_heads");
    config.kv_heads = reader.size_or("num_key_value_heads", config.heads);
    config.head_dim = reader.size_or("head_dim", config.heads != 0 ? config.width / config.heads : 0);
    config.ffn = reader.size("intermediate_size");
    config.positions = reader.size_or("max_position_embeddings", 2048);
    config.vocabulary = reader.size("vocab_size");
    config.tied_head = reader.flag_or("tie_word_embeddings", false);
    config.norm_epsilon = reader.number_or("rms_norm_eps", 1e-6);
    config.rope_base = reader.number_or("rope_theta", 10000.0);
    config.init_std = reader.number_or("initializer_range", 0.02);
    const std::string activation = reader.text_or("hidden_act", "silu");
    if (activation != "silu") reader.fail("hidden_act", "is '" + activation + "'; supported: silu");
    if (reader.present("rope_scaling"))
        reader.fail("rope_scaling", "is set; only plain rotary positions are supported");
    if (reader.flag_or("attention_bias", false))
        reader.fail("attention_bias", "is true; biases are not supported");
    if (reader.flag_or("mlp_bias", false)) reader.fail("mlp_bias", "is true; biases are not supported");
    note_dropout(reader, {"attention_dropout"}, loaded.warnings);
    return loaded;
}

LoadedModelConfig read_config_file(const std::filesystem::path& path) {
    const json object = json::parse(read_file(path), nullptr, false);
    if (!object.is_object()) {
        throw Error(ErrorCode::corrupt_data, "model config '" + path.string() + "' is not a JSON object");
    }
    const ConfigReader reader(object, path.string());
    const std::string type = reader.text_or("model_type", "");
    if (type == "gpt2") return read_gpt2(reader);
    if (type == "llama") return read_llama(reader);
    reader.fail("model_type", "is '" + type + "'; supported: gpt2, llama");
}

std::string list_presets() {
    std::string text;
    for (const Preset& preset : presets) text += (text.empty() ? "" : ", ") + std::string(preset.name);
    return text;
}

void require(bool ok, const std::string& message) {
    if (!ok) throw Error(ErrorCode::invalid_argument, "model: " + message);
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
                         {"init_std", c.init_std}};
    return object.dump();
}

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
