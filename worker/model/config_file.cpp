#include "worker/model/config_file.h"

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/files/json_file.h"
#include "worker/model/rotary_frequencies.h"

namespace lockstep {

namespace {

using nlohmann::json;

/// Reads fields of a config.json and says which file and field is wrong.
class ConfigReader {
  public:
    /// @param inside  where `object` stands in the file: "rope_scaling.", or empty.
    ConfigReader(const json& object, std::string origin, std::string inside = "")
        : object_(object), origin_(std::move(origin)), inside_(std::move(inside)) {}

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
    double number(const char* field) const {
        if (!present(field)) fail(field, "is missing; it is required");
        return number_or(field, 0);
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
    bool named(const char* field) const { return object_.contains(field); }
    /// An object inside.
    ConfigReader inside(const char* field) const {
        if (!object_[field].is_object()) fail(field, "is not an object");
        return ConfigReader(object_[field], origin_, inside_ + field + ".");
    }
    void refuse_all_but(std::span<const std::string_view> known) const {
        for (const auto& [key, value] : object_.items()) {
            if (std::find(known.begin(), known.end(), key) == known.end()) fail(key, "is not supported here");
        }
    }
    [[noreturn]] void fail(const std::string& field, const std::string& what) const {
        throw Error(ErrorCode::invalid_argument,
                    "model config '" + origin_ + "': field '" + inside_ + field + "' " + what);
    }
    /// A list of texts may name this alone.
    void refuse_in_list_all_but(const char* field, std::string_view known) const {
        if (!present(field)) return;
        if (!object_[field].is_array()) fail(field, "is not a list");
        for (const json& entry : object_[field]) {
            if (entry != known)
                fail(field, "names " + entry.dump(-1, ' ', true, json::error_handler_t::replace) +
                                "; supported: " + std::string(known));
        }
    }
    void refuse_if_true(std::initializer_list<const char*> fields) const {
        for (const char* field : fields) {
            if (flag_or(field, false)) fail(field, "is true; that is not supported");
        }
    }
    void refuse_if_present(std::initializer_list<const char*> fields) const {
        for (const char* field : fields) {
            if (present(field)) fail(field, "is set; that is not supported");
        }
    }

  private:
    const json& object_;
    std::string origin_, inside_;
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
    if (!reader.flag_or("scale_attn_weights", true)) {
        reader.fail("scale_attn_weights", "is false; scores are always scaled");
    }
    reader.refuse_if_true({"scale_attn_by_inverse_layer_idx", "add_cross_attention"});
    note_dropout(reader, {"resid_pdrop", "embd_pdrop", "attn_pdrop"}, loaded.warnings);
    return loaded;
}

RotaryScaling read_llama3_scaling(const ConfigReader& reader) {
    RotaryScaling scaling;
    scaling.kind = RotaryScaling::Kind::llama3;
    scaling.factor = reader.number("factor");
    scaling.low = reader.number("low_freq_factor");
    scaling.high = reader.number("high_freq_factor");
    scaling.original_positions = reader.size("original_max_position_embeddings");
    return scaling;
}

RotaryScaling read_yarn_scaling(const ConfigReader& reader, std::size_t positions,
                                std::vector<std::string>& warnings) {
    RotaryScaling scaling;
    scaling.kind = RotaryScaling::Kind::yarn;
    scaling.original_positions = reader.size_or("original_max_position_embeddings", positions);
    const bool has_original = reader.present("original_max_position_embeddings");
    const double stretch = static_cast<double>(positions) /
                           static_cast<double>(std::max<std::size_t>(scaling.original_positions, 1));
    // Null leaves it to the positions.
    scaling.factor = reader.named("factor") && !reader.present("factor") && has_original
                         ? stretch
                         : reader.number("factor");
    if (!(scaling.factor >= 1)) reader.fail("factor", "is below 1");
    if (has_original && stretch != scaling.factor) {
        warnings.push_back("YaRN's factor is " + json(scaling.factor).dump() +
                           ", positions over original positions " + json(stretch).dump() +
                           "; some versions of transformers go by the latter, here it is the former");
    }
    scaling.low = reader.number_or("beta_slow", 1);
    scaling.high = reader.number_or("beta_fast", 32);
    scaling.magnitude = reader.number_or("attention_factor", yarn_magnitude(scaling.factor));
    if (!reader.flag_or("truncate", true)) reader.fail("truncate", "is false; that is not supported");
    return scaling;
}

void require_whole_heads(const ConfigReader& reader) {
    if (reader.number_or("partial_rotary_factor", 1.0) != 1.0) {
        reader.fail("partial_rotary_factor", "is not 1; only whole heads are turned");
    }
}

/// rope_theta and rope_scaling, or the newer rope_parameters, which holds both.
void read_rotary(const ConfigReader& reader, LoadedModelConfig& loaded) {
    ModelConfig& config = loaded.config;
    config.rope_base = reader.number_or("rope_theta", 10000.0);
    require_whole_heads(reader);
    const bool newer = reader.present("rope_parameters");
    if (newer && reader.present("rope_scaling")) {
        reader.fail("rope_scaling", "is set beside rope_parameters; give one of them");
    }
    const char* field = newer ? "rope_parameters" : "rope_scaling";
    if (!reader.present(field)) return;
    const ConfigReader scaling = reader.inside(field);
    const std::string type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
    const auto may_hold = [&](std::initializer_list<std::string_view> fields) {
        std::vector<std::string_view> known = fields;
        known.insert(known.end(), {"type", "rope_type"});
        if (newer) known.insert(known.end(), {"rope_theta", "partial_rotary_factor"});
        scaling.refuse_all_but(known);
    };
    if (type == "default") {
        may_hold({});
    } else if (type == "dynamic") {
        may_hold({"factor"});
        scaling.number("factor");
        // It changes with the length of the text, from max_position_embeddings on.
        loaded.warnings.push_back("rotary scaling 'dynamic' changes nothing within the " +
                                  std::to_string(config.positions) +
                                  " positions; an exported model goes without it");
    } else if (type == "linear") {
        may_hold({"factor"});
        config.rope.kind = RotaryScaling::Kind::linear;
        config.rope.factor = scaling.number("factor");
    } else if (type == "llama3") {
        may_hold({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"});
        config.rope = read_llama3_scaling(scaling);
    } else if (type == "yarn") {
        may_hold({"factor", "beta_slow", "beta_fast", "attention_factor", "original_max_position_embeddings",
                  "truncate"});
        config.rope = read_yarn_scaling(scaling, config.positions, loaded.warnings);
    } else {
        scaling.fail("rope_type", "is '" + type + "'; supported: default, dynamic, linear, llama3, yarn");
    }
    if (newer) {
        config.rope_base = scaling.number_or("rope_theta", config.rope_base);
        require_whole_heads(scaling);
    }
}

/// Attention that looks back over a window only is whole attention while no segment is longer than that.
void limit_to_window(const ConfigReader& reader, std::size_t fallback, LoadedModelConfig& loaded) {
    // Absent and null differ here: null says that there is no window.
    const std::size_t window =
        reader.named("sliding_window") ? reader.size_or("sliding_window", 0) : fallback;
    if (window == 0 || window >= loaded.config.positions) return;
    loaded.warnings.push_back("positions are limited to the sliding window of " + std::to_string(window) +
                              " (max_position_embeddings is " + std::to_string(loaded.config.positions) +
                              ")");
    loaded.config.positions = window;
}

LoadedModelConfig read_llama(const ConfigReader& reader, const std::string& type) {
    LoadedModelConfig loaded;
    ModelConfig& config = loaded.config;
    config.family = ModelFamily::llama;
    config.layers = reader.size("num_hidden_layers");
    config.width = reader.size("hidden_size");
    config.heads = reader.size("num_attention_heads");
    // Llama's own default, and everyone's meaning of null; a missing field has defaults elsewhere that nobody
    // relies on.
    const bool own_heads = type == "llama" || reader.named("num_key_value_heads");
    config.kv_heads =
        own_heads ? reader.size_or("num_key_value_heads", config.heads) : reader.size("num_key_value_heads");
    config.head_dim = reader.size_or("head_dim", config.heads != 0 ? config.width / config.heads : 0);
    config.ffn = reader.size("intermediate_size");
    config.positions = type == "llama" ? reader.size_or("max_position_embeddings", 2048)
                                       : reader.size("max_position_embeddings");
    config.vocabulary = reader.size("vocab_size");
    config.tied_head = reader.flag_or("tie_word_embeddings", false);
    config.norm_epsilon = reader.number_or("rms_norm_eps", 1e-6);
    config.init_std = reader.number_or("initializer_range", 0.02);
    const std::string activation = reader.text_or("hidden_act", "silu");
    if (activation != "silu") reader.fail("hidden_act", "is '" + activation + "'; supported: silu");
    read_rotary(reader, loaded);
    if (type == "llama") {
        config.biases.qkv = config.biases.attention_out = reader.flag_or("attention_bias", false);
        config.biases.ffn = reader.flag_or("mlp_bias", false);
    } else if (type == "mistral") {
        limit_to_window(reader, 4096, loaded);
    } else {
        config.biases.qkv = true;
        if (reader.flag_or("use_sliding_window", false)) limit_to_window(reader, 4096, loaded);
    }
    // Windows in some layers only: what is said of all is not the whole truth then.
    reader.refuse_in_list_all_but("layer_types", "full_attention");
    note_dropout(reader, {"attention_dropout"}, loaded.warnings);
    return loaded;
}

}  // namespace

LoadedModelConfig read_config_file(const std::filesystem::path& path) {
    const json object = read_json_object(path, "model config");
    const ConfigReader reader(object, path.string());
    if (!reader.present("model_type"))
        reader.fail("model_type", "is missing; supported: gpt2, llama, mistral, qwen2");
    const std::string type = reader.text_or("model_type", "");
    reader.refuse_if_present({"quantization_config"});
    if (type == "gpt2") return read_gpt2(reader);
    if (type == "llama" || type == "mistral" || type == "qwen2") return read_llama(reader, type);
    reader.fail("model_type", "is '" + type + "'; supported: gpt2, llama, mistral, qwen2");
}

// ----------------------------------------------------------- writing

namespace {

using nlohmann::ordered_json;

ordered_json rope_scaling_of(const RotaryScaling& r, std::size_t positions) {
    switch (r.kind) {
        case RotaryScaling::Kind::none:
            break;
        case RotaryScaling::Kind::linear:
            return {{"rope_type", "linear"}, {"type", "linear"}, {"factor", r.factor}};
        case RotaryScaling::Kind::llama3:
            return {{"rope_type", "llama3"},
                    {"factor", r.factor},
                    {"low_freq_factor", r.low},
                    {"high_freq_factor", r.high},
                    {"original_max_position_embeddings", r.original_positions}};
        case RotaryScaling::Kind::yarn: {
            ordered_json object = {{"rope_type", "yarn"},
                                   {"factor", r.factor},
                                   {"beta_slow", r.low},
                                   {"beta_fast", r.high},
                                   {"attention_factor", r.magnitude}};
            // Where it stands, some versions of transformers compute a factor of their own from it.
            if (r.original_positions != positions)
                object["original_max_position_embeddings"] = r.original_positions;
            return object;
        }
    }
    return nullptr;
}

ordered_json gpt2_object(const ModelConfig& c) {
    return {{"architectures", {"GPT2LMHeadModel"}},
            {"model_type", "gpt2"},
            {"n_layer", c.layers},
            {"n_embd", c.width},
            {"n_head", c.heads},
            {"n_inner", c.ffn},
            {"n_positions", c.positions},
            {"vocab_size", c.vocabulary},
            {"activation_function", "gelu_new"},
            {"layer_norm_epsilon", c.norm_epsilon},
            {"tie_word_embeddings", c.tied_head},
            {"initializer_range", c.init_std},
            {"resid_pdrop", 0.0},
            {"embd_pdrop", 0.0},
            {"attn_pdrop", 0.0}};
}

ordered_json llama_object(const ModelConfig& c) {
    // Biases of queries, keys and values alone are what Qwen2 is.
    const bool qwen2 = c.biases.qkv && !c.biases.attention_out;
    ordered_json object = {{"architectures", {qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
                           {"model_type", qwen2 ? "qwen2" : "llama"},
                           {"num_hidden_layers", c.layers},
                           {"hidden_size", c.width},
                           {"num_attention_heads", c.heads},
                           {"num_key_value_heads", c.kv_heads},
                           {"head_dim", c.head_dim},
                           {"intermediate_size", c.ffn},
                           {"max_position_embeddings", c.positions},
                           {"vocab_size", c.vocabulary},
                           {"hidden_act", "silu"},
                           {"rms_norm_eps", c.norm_epsilon},
                           {"rope_theta", c.rope_base},
                           {"rope_scaling", rope_scaling_of(c.rope, c.positions)},
                           {"tie_word_embeddings", c.tied_head},
                           {"initializer_range", c.init_std},
                           {"attention_dropout", 0.0}};
    if (qwen2) {
        object["use_sliding_window"] = false;
    } else {
        object["attention_bias"] = c.biases.qkv;
        object["mlp_bias"] = c.biases.ffn;
    }
    return object;
}

}  // namespace

std::string to_config_file(const ModelConfig& config) {
    ordered_json object = config.family == ModelFamily::gpt2 ? gpt2_object(config) : llama_object(config);
    // The defaults of the families would name tokens that this vocabulary need not have.
    object["bos_token_id"] = nullptr;
    object["eos_token_id"] = nullptr;
    object["torch_dtype"] = "float32";
    return object.dump(2) + "\n";
}

}  // namespace lockstep
