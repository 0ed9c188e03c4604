#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "tests/faults/malformed/malformed_case.h"
#include "worker/model/config_file.h"

namespace lockstep {

namespace {

using nlohmann::json;

json gpt2() {
    return {{"model_type", "gpt2"}, {"n_layer", 2},      {"n_embd", 32},
            {"n_head", 4},          {"n_positions", 64}, {"vocab_size", 100}};
}

json llama() {
    return {{"model_type", "llama"},         {"num_hidden_layers", 2},   {"hidden_size", 32},
            {"num_attention_heads", 4},      {"num_key_value_heads", 2}, {"intermediate_size", 48},
            {"max_position_embeddings", 64}, {"vocab_size", 100}};
}

class ConfigCases {
  public:
    ConfigCases(const MalformedWorld& world, MalformedCases& cases) : world_(world), cases_(cases) {}

    void add(const std::string& what, const json& config, const std::string& noun, int code = 2) {
        add_text(what, config.dump(), noun, code);
    }
    void add_text(const std::string& what, const std::string& text, const std::string& noun, int code) {
        cases_.push_back({"config.json/" + what, code, {noun}, [&world = world_, text] {
                              const auto file = world.scratch.write("config.json", text);
                              check_model_config(load_model_config(file.string(), 100).config);
                          }});
    }
    /// Sizes: missing, in quotes, negative, a fraction, zero.
    void add_sizes(const std::string& family, const json& sound, const std::vector<const char*>& required,
                   const std::vector<const char*>& defaulted) {
        for (const char* field : required) {
            json config = sound;
            config.erase(field);
            add(family + " without " + field, config, field);
        }
        std::vector<const char*> all = required;
        all.insert(all.end(), defaulted.begin(), defaulted.end());
        for (const char* field : all) {
            const std::string of = family + " " + field + " is ";
            for (const auto& [what, value] :
                 std::vector<std::pair<const char*, json>>{{"a text", "12"},
                                                           {"negative", -1},
                                                           {"a fraction", 1.5},
                                                           {"a list", json::array({1})},
                                                           {"true", true}}) {
                json config = sound;
                config[field] = value;
                add(of + what, config, field);
            }
            json config = sound;
            config[field] = 0;
            add(of + "zero", config, "");
        }
    }

  private:
    const MalformedWorld& world_;
    MalformedCases& cases_;
};

void add_configs(const MalformedWorld& world, MalformedCases& cases) {
    ConfigCases add(world, cases);
    add.add_sizes("gpt2", gpt2(), {"n_layer", "n_embd", "n_head", "vocab_size"}, {"n_positions", "n_inner"});
    add.add_sizes(
        "llama", llama(),
        {"num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size"},
        {"num_key_value_heads", "max_position_embeddings", "head_dim"});
    const auto with = [](json config, const char* field, const json& value) {
        config[field] = value;
        return config;
    };
    add.add("without model_type", json{{"n_layer", 1}}, "model_type");
    add.add("model_type bert", with(gpt2(), "model_type", "bert"), "bert");
    add.add("model_type is a number", with(gpt2(), "model_type", 3), "model_type");
    add.add("quantized", with(llama(), "quantization_config", {{"bits", 4}}), "quantization_config");
    add.add("gpt2 relu", with(gpt2(), "activation_function", "relu"), "relu");
    add.add("gpt2 unscaled", with(gpt2(), "scale_attn_weights", false), "scale_attn_weights");
    add.add("gpt2 by layer", with(gpt2(), "scale_attn_by_inverse_layer_idx", true),
            "scale_attn_by_inverse_layer_idx");
    add.add("gpt2 cross attention", with(gpt2(), "add_cross_attention", true), "add_cross_attention");
    add.add("gpt2 heads do not divide", with(gpt2(), "n_head", 5), "");
    add.add("gpt2 epsilon in quotes", with(gpt2(), "layer_norm_epsilon", "1e-5"), "layer_norm_epsilon");
    add.add("gpt2 tied in quotes", with(gpt2(), "tie_word_embeddings", "yes"), "tie_word_embeddings");
    add.add("llama gelu", with(llama(), "hidden_act", "gelu"), "gelu");
    add.add("llama heads do not divide", with(llama(), "num_key_value_heads", 3), "");
    add.add("llama odd head", with(llama(), "head_dim", 7), "");
    add.add("llama epsilon in quotes", with(llama(), "rms_norm_eps", "1e-5"), "rms_norm_eps");
    add.add("llama base in quotes", with(llama(), "rope_theta", "1"), "rope_theta");
    add.add("llama part of a head", with(llama(), "partial_rotary_factor", 0.5), "partial_rotary_factor");
    add.add("llama scaling is a list", with(llama(), "rope_scaling", json::array()), "rope_scaling");
    add.add("llama scaling unknown", with(llama(), "rope_scaling", {{"rope_type", "longrope"}}), "longrope");
    add.add("llama scaling without a factor", with(llama(), "rope_scaling", {{"rope_type", "linear"}}),
            "factor");
    add.add("llama scaling with more",
            with(llama(), "rope_scaling", {{"rope_type", "linear"}, {"factor", 2}, {"x", 1}}), "x");
    add.add("llama yarn below 1", with(llama(), "rope_scaling", {{"rope_type", "yarn"}, {"factor", 0.5}}),
            "factor");
    add.add("llama scaled twice",
            with(with(llama(), "rope_scaling", {{"rope_type", "default"}}), "rope_parameters",
                 {{"rope_type", "default"}}),
            "rope_parameters");
    for (const char* field :
         {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
        json scaling = {{"rope_type", "llama3"},
                        {"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 64}};
        scaling.erase(field);
        add.add(std::string("llama3 scaling without ") + field, with(llama(), "rope_scaling", scaling),
                field);
    }
    for (const auto& [what, text] :
         std::vector<std::pair<const char*, const char*>>{{"empty", ""},
                                                          {"no JSON", "hello"},
                                                          {"a list", "[]"},
                                                          {"cut", "{\"model_type\":"},
                                                          {"null", "null"}})
        add.add_text(what, text, "config.json", 65);
}

std::string with_length(const std::string& header, std::size_t data = 0) {
    std::string bytes(8, '\0');
    for (unsigned i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
    return bytes + header + std::string(data, '\0');
}

void add_safetensors(const MalformedWorld& world, MalformedCases& cases) {
    const auto add = [&](const std::string& what, const std::string& bytes, const std::string& noun) {
        cases.push_back({"safetensors/" + what, 65, {"model.safetensors", noun}, [&world, bytes] {
                             const auto path = world.scratch.write("model.safetensors", bytes);
                             const SafetensorsFile file = SafetensorsFile::open(path);
                             for (const TensorEntry& tensor : file.tensors()) {
                                 std::vector<float> values(tensor.elements);
                                 file.read(tensor, 0, values);
                             }
                         }});
    };
    const auto header = [&](const std::string& what, const std::string& text, const std::string& noun,
                            std::size_t data = 4) { add(what, with_length(text, data), noun); };
    add("empty", "", "cut short");
    add("seven bytes", "1234567", "cut short");
    add("a length alone", std::string(8, '\0'), "'{'");
    add("a length beyond the file", with_length("{}").substr(0, 9), "cut short");
    add("a length beyond all", std::string(8, '\xff'), "18446744073709551615");
    header("no JSON", "{hello", "not JSON", 0);
    header("a list", "[]", "'{'", 0);
    header("a number no double holds", R"({"a":401e999})", "no double", 0);
    header("a tensor twice", R"({"a":{},"a":{}})", "twice", 0);
    header("nested too deeply", R"({"a":{"b":{"c":{"d":1}}}})", "deeply", 0);
    header("a tensor that is a number", R"({"a":1})", "'a'", 0);
    header("no dtype", R"({"a":{"shape":[1],"data_offsets":[0,4]}})", "dtype");
    header("no shape", R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", "shape");
    header("no offsets", R"({"a":{"dtype":"F32","shape":[1]}})", "data_offsets");
    header("an unknown field", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", "'x'");
    header("an unknown dtype", R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", "F31");
    header("a dtype that is a number", R"({"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}})", "dtype");
    header("a shape that is a number", R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", "shape");
    header("a negative extent", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "shape");
    header("a broken extent", R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", "shape");
    header("more elements than there are numbers",
           R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}})", "counted");
    header("more bytes than there are numbers",
           R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}})", "counted");
    header("one offset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "data_offsets");
    header("three offsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", "data_offsets");
    header("negative offsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", "data_offsets");
    header("an end before its begin", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})",
           "ends before");
    header("offsets of another size", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})",
           "needs 8 bytes");
    header("an end beyond the file", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
           "cut short");
    header("bytes of no tensor", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
           "belong to none", 8);
    header("a hole", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "hole", 8);
    header(
        "an overlap",
        R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
        "overlap", 8);
    header("metadata that is a text", R"({"__metadata__":"x"})", "__metadata__", 0);
    header("metadata of numbers", R"({"__metadata__":{"x":1}})", "__metadata__", 0);
}

}  // namespace

void add_model_cases(const MalformedWorld& world, MalformedCases& cases) {
    add_configs(world, cases);
    add_safetensors(world, cases);
}

}  // namespace lockstep
