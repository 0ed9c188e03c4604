#include "worker/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"
#include "tests/worker/model_cases.h"
#include "worker/model/config_file.h"
#include "worker/model/state_layout.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string gpt2_json =
    R"("model_type": "gpt2", "n_layer": 3, "n_embd": 48, "n_head": 6, "vocab_size": 99)";
const std::string llama_json = R"("model_type": "llama", "num_hidden_layers": 3, "hidden_size": 48,
    "num_attention_heads": 6, "intermediate_size": 100, "vocab_size": 99)";

class ModelConfigTest : public testing::Test {
  protected:
    LoadedModelConfig load(const std::string& fields) {
        return load_model_config(directory_.write("config.json", "{" + fields + "}").string(), 0);
    }
    void expect_refused(const std::string& fields, const std::string& noun) {
        const Error error = error_of([&] { load(fields); });
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(noun));
    }

    TemporaryDirectory directory_;
};

TEST_F(ModelConfigTest, PresetsAreThoseOfTheTable) {
    struct Row {
        const char* name;
        ModelFamily family;
        std::size_t layers, width, heads, kv_heads, ffn, positions, vocabulary;
    };
    constexpr std::size_t corpus = 345;
    const Row table[] = {
        {"nano", ModelFamily::gpt2, 2, 64, 4, 4, 256, 512, corpus},
        {"tiny", ModelFamily::gpt2, 4, 128, 4, 4, 512, 1024, corpus},
        {"small", ModelFamily::gpt2, 4, 256, 8, 8, 1024, 1024, 8192},
        {"gpt2-124m", ModelFamily::gpt2, 12, 768, 12, 12, 3072, 1024, 50257},
        {"llama-nano", ModelFamily::llama, 2, 64, 4, 2, 192, 2048, corpus},
        {"llama-tiny", ModelFamily::llama, 4, 256, 8, 4, 768, 2048, corpus},
        {"llama-160m", ModelFamily::llama, 12, 768, 12, 4, 2048, 2048, 32000},
    };
    std::vector<std::string> names;
    for (const Row& row : table) {
        const LoadedModelConfig loaded = load_model_config(row.name, corpus);
        const ModelConfig& c = loaded.config;
        EXPECT_EQ(c.family, row.family) << row.name;
        EXPECT_EQ(c.layers, row.layers) << row.name;
        EXPECT_EQ(c.width, row.width) << row.name;
        EXPECT_EQ(c.heads, row.heads) << row.name;
        EXPECT_EQ(c.kv_heads, row.kv_heads) << row.name;
        EXPECT_EQ(c.head_dim * c.heads, row.width) << row.name;
        EXPECT_EQ(c.ffn, row.ffn) << row.name;
        EXPECT_EQ(c.positions, row.positions) << row.name;
        EXPECT_EQ(c.vocabulary, row.vocabulary) << row.name;
        EXPECT_THAT(loaded.warnings, IsEmpty());
        EXPECT_TRUE(model_config_from_json(to_json(c)) == c) << row.name;
        names.emplace_back(row.name);
    }
    EXPECT_EQ(model_preset_names(), names);
}

TEST_F(ModelConfigTest, KnownModelsHaveTheirParameters) {
    // GPT-2 small as published; its head is the token table.
    EXPECT_EQ(StateLayout(load_model_config("gpt2-124m", 0).config).parameters(), 124439808U);
    const ModelConfig nano = load_model_config("nano", 257).config;
    EXPECT_EQ(StateLayout(nano).parameters(),
              257U * 64 + 512 * 64 + 2U * (64 * 192 + 192 + 64 * 64 + 64 + 2 * 64 * 256 + 256 + 64 + 4 * 64) +
                  2 * 64);
}

TEST_F(ModelConfigTest, ReadsAGpt2Config) {
    const LoadedModelConfig loaded = load(gpt2_json);
    ModelConfig expected;
    expected.family = ModelFamily::gpt2;
    expected.layers = 3;
    expected.width = 48;
    expected.heads = expected.kv_heads = 6;
    expected.head_dim = 8;
    expected.ffn = 192;
    expected.positions = 1024;
    expected.vocabulary = 99;
    EXPECT_TRUE(loaded.config == expected) << to_json(loaded.config);
    EXPECT_THAT(loaded.warnings, IsEmpty());

    const ModelConfig full =
        load(gpt2_json + R"(, "n_inner": 64, "n_positions": 77, "layer_norm_epsilon": 1e-6,
        "initializer_range": 0.01, "tie_word_embeddings": false, "activation_function": "gelu_pytorch_tanh")")
            .config;
    EXPECT_EQ(full.ffn, 64U);
    EXPECT_EQ(full.positions, 77U);
    EXPECT_EQ(full.norm_epsilon, 1e-6);
    EXPECT_EQ(full.init_std, 0.01);
    EXPECT_FALSE(full.tied_head);
    EXPECT_EQ(load(gpt2_json + R"(, "n_inner": null, "n_ctx": 55)").config.positions, 55U);
}

TEST_F(ModelConfigTest, ReadsALlamaConfig) {
    const LoadedModelConfig loaded = load(llama_json);
    ModelConfig expected;
    expected.family = ModelFamily::llama;
    expected.layers = 3;
    expected.width = 48;
    expected.heads = expected.kv_heads = 6;
    expected.head_dim = 8;
    expected.ffn = 100;
    expected.positions = 2048;
    expected.vocabulary = 99;
    expected.tied_head = false;
    expected.norm_epsilon = 1e-6;
    EXPECT_TRUE(loaded.config == expected) << to_json(loaded.config);

    const ModelConfig full =
        load(llama_json + R"(, "num_key_value_heads": 2, "head_dim": 16, "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "tie_word_embeddings": true, "rope_scaling": null)")
            .config;
    EXPECT_EQ(full.kv_heads, 2U);
    EXPECT_EQ(full.head_dim, 16U);
    EXPECT_EQ(full.rope_base, 500000.0);
    EXPECT_EQ(full.positions, 4096U);
    EXPECT_TRUE(full.tied_head);
}

TEST_F(ModelConfigTest, AFolderStandsForItsConfig) {
    directory_.write("config.json", "{" + gpt2_json + "}");
    EXPECT_EQ(load_model_config(directory_.path().string(), 0).config.width, 48U);
}

TEST_F(ModelConfigTest, DropoutIsSetAsideWithOneWarning) {
    EXPECT_THAT(load(gpt2_json + R"(, "resid_pdrop": 0.1, "attn_pdrop": 0.1, "embd_pdrop": 0.0)").warnings,
                ElementsAre(testing::AllOf(HasSubstr("resid_pdrop"), HasSubstr("attn_pdrop"),
                                           testing::Not(HasSubstr("embd_pdrop")))));
    EXPECT_THAT(load(llama_json + R"(, "attention_dropout": 0.1)").warnings,
                ElementsAre(HasSubstr("attention_dropout")));
}

TEST_F(ModelConfigTest, UnsupportedFieldsAreRefusedByName) {
    expect_refused(R"("model_type": "mamba")", "model_type");
    expect_refused("", "model_type");
    expect_refused(gpt2_json + R"(, "activation_function": "relu")", "activation_function");
    expect_refused(llama_json + R"(, "hidden_act": "gelu")", "hidden_act");
    expect_refused(gpt2_json + R"(, "scale_attn_weights": false)", "scale_attn_weights");
    expect_refused(gpt2_json + R"(, "scale_attn_by_inverse_layer_idx": true)", "by_inverse_layer_idx");
    expect_refused(gpt2_json + R"(, "add_cross_attention": true)", "add_cross_attention");
    expect_refused(llama_json + R"(, "quantization_config": {"bits": 4})", "quantization_config");
    expect_refused(llama_json + R"(, "partial_rotary_factor": 0.5)", "partial_rotary_factor");
    expect_refused(llama_json + R"(, "attention_bias": 1)", "attention_bias");
}

TEST_F(ModelConfigTest, ReadsTheRelativesOfLlama) {
    const std::string fields = llama_json.substr(llama_json.find(',')) +
                               R"(, "num_key_value_heads": 2, "max_position_embeddings": 512)";
    const ModelConfig qwen2 =
        load(R"("model_type": "qwen2")" + fields + R"(, "sliding_window": 9, "use_sliding_window": false)")
            .config;
    EXPECT_TRUE((qwen2.biases == LinearBiases{true, false, false}));
    EXPECT_EQ(qwen2.positions, 512U);
    EXPECT_TRUE(
        (load(llama_json + R"(, "attention_bias": true)").config.biases == LinearBiases{true, true, false}));
    EXPECT_TRUE(
        (load(llama_json + R"(, "mlp_bias": true)").config.biases == LinearBiases{false, false, true}));

    const std::string mistral = R"("model_type": "mistral")" + fields;
    EXPECT_TRUE(load(mistral + R"(, "sliding_window": null)").config ==
                load(llama_json + R"(, "num_key_value_heads": 2, "max_position_embeddings": 512)").config);
    const LoadedModelConfig windowed = load(mistral + R"(, "sliding_window": 100)");
    EXPECT_EQ(windowed.config.positions, 100U);
    EXPECT_THAT(windowed.warnings, ElementsAre(HasSubstr("sliding window of 100")));
    EXPECT_EQ(load(mistral).config.positions, 512U)
        << "the window of 4096 that stands for none given is wider";
    expect_refused(
        R"("model_type": "qwen2")" + fields + R"(, "layer_types": ["full_attention", "sliding_attention"])",
        "layer_types");
    expect_refused(llama_json + R"(, "layer_types": ["sliding_attention"])", "layer_types");
    expect_refused(mistral + R"(, "layer_types": ["sliding_attention"])", "layer_types");
    EXPECT_EQ(load(R"("model_type": "mistral")" + llama_json.substr(llama_json.find(',')) +
                   R"(, "num_key_value_heads": null, "max_position_embeddings": 512)")
                  .config.kv_heads,
              load(llama_json).config.heads);
    EXPECT_EQ(
        load(R"("model_type": "qwen2")" + fields + R"(, "layer_types": ["full_attention"])").config.width,
        48U);
    expect_refused(R"("model_type": "mistral")" + llama_json.substr(llama_json.find(',')),
                   "num_key_value_heads");
}

TEST_F(ModelConfigTest, ReadsRotaryScaling) {
    const auto rope = [&](const std::string& scaling) {
        return load(llama_json + R"(, "rope_scaling": )" + scaling).config.rope;
    };
    using Kind = RotaryScaling::Kind;
    EXPECT_TRUE(rope(R"({"rope_type": "default"})") == RotaryScaling{});
    EXPECT_TRUE((rope(R"({"type": "linear", "factor": 2.0})") == RotaryScaling{Kind::linear, 2, 0, 0, 0, 1}));
    EXPECT_TRUE(
        (rope(R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 8192})") ==
         RotaryScaling{Kind::llama3, 8, 1, 4, 8192, 1}));
    EXPECT_TRUE((rope(R"({"type": "yarn", "factor": 4.0, "attention_factor": 1.5,
                          "original_max_position_embeddings": 512})") ==
                 RotaryScaling{Kind::yarn, 4, 1, 32, 512, 1.5}));
    const RotaryScaling yarn = rope(R"({"type": "yarn", "factor": 4, "beta_fast": 16, "beta_slow": 2})");
    EXPECT_EQ(yarn.original_positions, 2048U);
    EXPECT_EQ(yarn.low, 2);
    EXPECT_EQ(yarn.high, 16);
    EXPECT_NEAR(yarn.magnitude, 1.1386294361119891, 1e-15);

    // The positions (2048) say what null does not.
    EXPECT_EQ(rope(R"({"type": "yarn", "factor": null, "original_max_position_embeddings": 512})").factor, 4);
    EXPECT_TRUE(rope("{}") == RotaryScaling{});
    const LoadedModelConfig dynamic =
        load(llama_json + R"(, "rope_scaling": {"type": "dynamic", "factor": 2.0})");
    EXPECT_TRUE(dynamic.config.rope == RotaryScaling{});
    EXPECT_THAT(dynamic.warnings, ElementsAre(HasSubstr("'dynamic' changes nothing within the 2048")));
    const LoadedModelConfig disputed =
        load(llama_json +
             R"(, "rope_scaling": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 512})");
    EXPECT_EQ(disputed.config.rope.factor, 8);
    EXPECT_THAT(disputed.warnings, ElementsAre(HasSubstr("original positions 4.0")));

    EXPECT_EQ(load(llama_json + R"(, "rope_parameters": {"rope_theta": 5000.0})").config.rope_base, 5000.0);
    const ModelConfig newer = load(llama_json + R"(, "rope_parameters": {"rope_type": "linear", "factor": 2.0,
                                                   "rope_theta": 5000.0})")
                                  .config;
    EXPECT_EQ(newer.rope_base, 5000.0);
    EXPECT_EQ(newer.rope.factor, 2.0);

    const auto refused = [&](const std::string& scaling, const std::string& noun) {
        expect_refused(llama_json + R"(, "rope_scaling": )" + scaling, noun);
    };
    refused(R"({"rope_type": "longrope", "factor": 2.0})", "longrope");
    refused(R"({"factor": 2.0})", "rope_scaling.factor");
    refused(R"("linear")", "rope_scaling");
    refused(R"({"type": "linear"})", "rope_scaling.factor");
    refused(R"({"type": "linear", "factor": 0.5})", "factor");
    refused(R"({"type": "linear", "factor": 2.0, "surprise": 1})", "rope_scaling.surprise");
    refused(R"({"type": "yarn", "factor": 2.0, "mscale": 1.0})", "rope_scaling.mscale");
    refused(R"({"type": "yarn", "factor": 2.0, "truncate": false})", "rope_scaling.truncate");
    refused(R"({"type": "yarn", "factor": 0.5})", "rope_scaling.factor");
    refused(R"({"type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192})",
            "bounds");
    refused(R"({"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0})",
            "original_max_position_embeddings");
    expect_refused(
        llama_json + R"(, "rope_scaling": {"type": "default"}, "rope_parameters": {"type": "default"})",
        "rope_scaling");
}

TEST_F(ModelConfigTest, AWrittenConfigIsReadBack) {
    std::vector<ModelCase> cases = model_cases(24, 31, 17);
    for (const std::string& preset : model_preset_names()) {
        cases.push_back({preset, load_model_config(preset, 345).config});
    }
    ModelConfig linear = load_model_config("llama-nano", 345).config;
    linear.rope = {RotaryScaling::Kind::linear, 2.5, 0, 0, 0, 1};
    linear.norm_epsilon = 1.0000000000000001e-7;
    cases.push_back({"linear", linear});
    ModelConfig yarn = load_model_config("llama-nano", 345).config;
    yarn.rope = {RotaryScaling::Kind::yarn, 4, 1, 32, yarn.positions, 1.25};
    EXPECT_THAT(to_config_file(yarn), Not(HasSubstr("original_max")))
        << "some versions of transformers would compute a factor of 1 from it";
    cases.push_back({"yarn", yarn});
    for (const auto& [name, config] : cases) {
        const auto path = directory_.write("config.json", to_config_file(config));
        const LoadedModelConfig back = read_config_file(path);
        EXPECT_TRUE(back.config == config) << name << "\n" << to_json(back.config) << to_json(config);
        const RotaryScaling& rope = config.rope;
        const bool disputed = rope.kind == RotaryScaling::Kind::yarn &&
                              rope.original_positions != config.positions &&
                              rope.factor * static_cast<double>(rope.original_positions) !=
                                  static_cast<double>(config.positions);
        EXPECT_EQ(back.warnings.size(), disputed ? 1U : 0U) << name;
        EXPECT_TRUE(model_config_from_json(to_json(config)) == config) << name;
    }
}

TEST_F(ModelConfigTest, SettingsWithoutTheNewerFieldsAreStillRead) {
    const std::string old = R"({"family":"llama","layers":2,"width":64,"heads":4,"kv_heads":2,"head_dim":16,
        "ffn":192,"positions":2048,"vocabulary":257,"tied_head":false,"norm_epsilon":1e-05,
        "rope_base":10000.0,"init_std":0.02})";
    EXPECT_TRUE(model_config_from_json(old) == load_model_config("llama-nano", 257).config);
}

TEST_F(ModelConfigTest, ImpossibleShapesAreRefusedByName) {
    expect_refused(R"("model_type": "gpt2", "n_layer": 3, "n_embd": 48, "n_head": 6)", "vocab_size");
    expect_refused(R"("model_type": "gpt2", "n_layer": "3", "n_embd": 48, "n_head": 6, "vocab_size": 9)",
                   "n_layer");
    expect_refused(R"("model_type": "gpt2", "n_layer": -3, "n_embd": 48, "n_head": 6, "vocab_size": 9)",
                   "n_layer");
    expect_refused(R"("model_type": "gpt2", "n_layer": 3, "n_embd": 50, "n_head": 6, "vocab_size": 9)",
                   "width 50");
    expect_refused(R"("model_type": "gpt2", "n_layer": 0, "n_embd": 48, "n_head": 6, "vocab_size": 9)",
                   "layers");
    expect_refused(R"("model_type": "gpt2", "n_layer": 3, "n_embd": 48, "n_head": 0, "vocab_size": 9)",
                   "heads");
    expect_refused(llama_json + R"(, "num_key_value_heads": 4)", "kv heads");
    expect_refused(llama_json + R"(, "num_key_value_heads": 0)", "kv heads");
    expect_refused(llama_json + R"(, "head_dim": 7)", "head dimension");
    expect_refused(llama_json + R"(, "rms_norm_eps": 0.0)", "epsilon");
    EXPECT_EQ(error_of([] { load_model_config("nano", 0); }).code(), ErrorCode::invalid_argument);
}

TEST_F(ModelConfigTest, WhatIsNeitherPresetNorFileIsNotFound) {
    const Error error = error_of([] { load_model_config("nanoo", 300); });
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_THAT(error.what(), HasSubstr("llama-nano"));
    directory_.write("config.json", "not json");
    EXPECT_EQ(error_of([&] { load_model_config(directory_.path().string(), 0); }).code(),
              ErrorCode::corrupt_data);
}

}  // namespace
}  // namespace lockstep
