#include "worker/model/model_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"
#include "tests/worker/model_cases.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::size_t width = 24;
constexpr std::size_t vocabulary = 31;
constexpr std::size_t positions = 17;

std::vector<ModelCase> cases() {
    return model_cases(width, vocabulary, positions);
}
ModelConfig config_of(const std::string& name) {
    for (const ModelCase& model : cases()) {
        if (model.name == name) return model.config;
    }
    ADD_FAILURE() << name;
    return {};
}

/// A tensor as a file holds it, to be changed before it is written.
struct StoredTensor {
    SafetensorsWriter::Tensor header;
    std::vector<std::byte> bytes;

    std::span<float> floats() { return {reinterpret_cast<float*>(bytes.data()), bytes.size() / 4}; }
};
using StoredModel = std::map<std::string, StoredTensor>;

StoredTensor stored(const std::string& name, std::vector<std::uint64_t> shape,
                    std::span<const float> values) {
    const auto bytes = std::as_bytes(values);
    return {{name, TensorType::f32, std::move(shape)}, {bytes.begin(), bytes.end()}};
}

class ModelFolderTest : public testing::Test {
  protected:
    StoredModel load(const ModelConfig& config, std::span<const float> weights) {
        write_weights_file(directory_ / "whole.safetensors", config, source_of(weights), Overwrite::yes);
        const SafetensorsFile file = SafetensorsFile::open(directory_ / "whole.safetensors");
        StoredModel model;
        for (const TensorEntry& entry : file.tensors()) {
            std::vector<float> values(entry.elements);
            file.read(entry, 0, values);
            model[entry.name] = stored(entry.name, entry.shape, values);
        }
        return model;
    }
    void save(const StoredModel& model) {
        std::vector<SafetensorsWriter::Tensor> header;
        for (const auto& [name, tensor] : model) {
            header.push_back(tensor.header);
            header.back().name = name;
        }
        SafetensorsWriter writer(directory_ / "model.safetensors", header, {}, Overwrite::yes);
        for (const auto& [name, tensor] : model) writer.append(tensor.bytes);
        writer.publish();
    }
    std::vector<float> read(const ModelConfig& config) {
        std::vector<float> weights(StateLayout(config).size(), 7.0F);
        WeightsFolder::open(directory_.path(), config).read(weights);
        return weights;
    }
    void expect_refused(const ModelConfig& config, const std::string& noun, ErrorCode code) {
        const Error error = error_of([&] { read(config); });
        EXPECT_EQ(error.code(), code) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(noun));
    }

    TemporaryDirectory directory_;
};

TEST_F(ModelFolderTest, TensorsCoverTheStateOnce) {
    for (const ModelCase& model : cases()) {
        const StateLayout layout(model.config);
        std::vector<int> covered(layout.size());
        std::set<std::string> names;
        for (const FolderTensor& tensor : folder_tensors(model.config)) {
            EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
            for (std::uint64_t i = 0; i < tensor.elements(); ++i) ++covered[tensor.offset + i];
        }
        for (const TensorSpec& tensor : layout.tensors()) {
            for (std::size_t i = 0; i < tensor.elements(); ++i) ASSERT_EQ(covered[tensor.offset + i]--, 1);
        }
        EXPECT_TRUE(std::all_of(covered.begin(), covered.end(), [](int n) { return n == 0; })) << model.name;
    }
}

TEST_F(ModelFolderTest, WhatIsWrittenIsReadBackToTheBit) {
    for (const ModelCase& model : cases()) {
        const std::vector<float> weights = lively_weights(StateLayout(model.config), 5);
        write_weights_file(directory_ / "model.safetensors", model.config, source_of(weights),
                           Overwrite::yes);
        EXPECT_EQ(read(model.config), weights) << model.name << ", padding zero included";
    }
}

TEST_F(ModelFolderTest, NamesAndShapesAreThoseOfTheLibrary) {
    const auto names_of = [](const ModelConfig& config) {
        std::vector<std::string> names;
        for (const FolderTensor& tensor : folder_tensors(config)) {
            if (tensor.name.find(".1.") == std::string::npos)
                names.push_back(tensor.name + shape_text(tensor.shape));
        }
        return names;
    };
    const ModelConfig gpt2 = config_of("gpt2-tied");
    EXPECT_THAT(
        names_of(gpt2),
        ElementsAre("transformer.wte.weight(31, 24)", "transformer.wpe.weight(17, 24)",
                    "transformer.h.0.ln_1.weight(24)", "transformer.h.0.ln_1.bias(24)",
                    "transformer.h.0.attn.c_attn.weight(24, 72)", "transformer.h.0.attn.c_attn.bias(72)",
                    "transformer.h.0.attn.c_proj.weight(24, 24)", "transformer.h.0.attn.c_proj.bias(24)",
                    "transformer.h.0.ln_2.weight(24)", "transformer.h.0.ln_2.bias(24)",
                    "transformer.h.0.mlp.c_fc.weight(24, 36)", "transformer.h.0.mlp.c_fc.bias(36)",
                    "transformer.h.0.mlp.c_proj.weight(36, 24)", "transformer.h.0.mlp.c_proj.bias(24)",
                    "transformer.ln_f.weight(24)", "transformer.ln_f.bias(24)"));
    const std::vector<std::string> llama = {"model.embed_tokens.weight(31, 24)",
                                            "model.layers.0.input_layernorm.weight(24)",
                                            "model.layers.0.self_attn.q_proj.weight(24, 24)",
                                            "model.layers.0.self_attn.k_proj.weight(12, 24)",
                                            "model.layers.0.self_attn.v_proj.weight(12, 24)",
                                            "model.layers.0.self_attn.o_proj.weight(24, 24)",
                                            "model.layers.0.post_attention_layernorm.weight(24)",
                                            "model.layers.0.mlp.gate_proj.weight(36, 24)",
                                            "model.layers.0.mlp.up_proj.weight(36, 24)",
                                            "model.layers.0.mlp.down_proj.weight(24, 36)",
                                            "model.norm.weight(24)",
                                            "lm_head.weight(31, 24)"};
    EXPECT_EQ(names_of(config_of("llama-untied")), llama);
    ModelConfig qwen2 = config_of("llama-tied");
    qwen2.biases.qkv = true;
    std::vector<std::string> expected = llama;
    expected.pop_back();
    expected.insert(expected.begin() + 6,
                    {"model.layers.0.self_attn.q_proj.bias(24)", "model.layers.0.self_attn.k_proj.bias(12)",
                     "model.layers.0.self_attn.v_proj.bias(12)"});
    EXPECT_EQ(names_of(qwen2), expected);
}

// Against the definition, element by element: an agreeing pair of mistakes would pass the round trip.
TEST_F(ModelFolderTest, ElementsStandWhereTheLibraryExpectsThem) {
    const ModelConfig gpt2 = config_of("gpt2-untied");
    const StateLayout layout(gpt2);
    const std::vector<float> weights = lively_weights(layout, 6);
    StoredModel model = load(gpt2, weights);
    const std::size_t fc = layout.tensor("layers.1.ffn.in.weight").offset;
    const auto stored_fc = model.at("transformer.h.1.mlp.c_fc.weight").floats();
    for (std::size_t in = 0; in < width; ++in) {
        for (std::size_t out = 0; out < gpt2.ffn; ++out) {
            EXPECT_EQ(stored_fc[in * gpt2.ffn + out], weights[fc + out * width + in]);
        }
    }
    const ModelConfig llama = config_of("llama-untied");
    const StateLayout llama_layout(llama);
    const std::vector<float> llama_weights = lively_weights(llama_layout, 7);
    StoredModel llama_model = load(llama, llama_weights);
    const std::size_t qkv = llama_layout.tensor("layers.0.attention.qkv.weight").offset;
    EXPECT_EQ(llama_model.at("model.layers.0.self_attn.q_proj.weight").floats()[0], llama_weights[qkv]);
    EXPECT_EQ(llama_model.at("model.layers.0.self_attn.k_proj.weight").floats()[0],
              llama_weights[qkv + 24 * width]);
    EXPECT_EQ(llama_model.at("model.layers.0.self_attn.v_proj.weight").floats()[width],
              llama_weights[qkv + (24 + 12 + 1) * width]);
    const std::size_t gate = llama_layout.tensor("layers.1.ffn.in.weight").offset;
    EXPECT_EQ(llama_model.at("model.layers.1.mlp.gate_proj.weight").floats()[3], llama_weights[gate + 3]);
    EXPECT_EQ(llama_model.at("model.layers.1.mlp.up_proj.weight").floats()[3],
              llama_weights[gate + 36 * width + 3]);
}

TEST_F(ModelFolderTest, PrefixIsOptionalAndImpliedTensorsAreSetAside) {
    for (const std::string name : {"gpt2-untied", "llama-untied"}) {
        const ModelConfig config = config_of(name);
        const std::string prefix = name == "gpt2-untied" ? "transformer." : "model.";
        const std::vector<float> weights = lively_weights(StateLayout(config), 8);
        StoredModel bare;
        for (auto& [full, tensor] : load(config, weights)) {
            bare[full.starts_with(prefix) ? full.substr(prefix.size()) : full] = tensor;
        }
        const float mask[] = {1, 0, 1, 1};
        if (config.family == ModelFamily::gpt2) {
            bare["h.0.attn.bias"] = stored("", {1, 1, 2, 2}, mask);
            bare["h.1.attn.masked_bias"] = stored("", {}, std::span(mask).first(1));
        } else {
            bare["layers.0.self_attn.rotary_emb.inv_freq"] = stored("", {4}, mask);
        }
        save(bare);
        EXPECT_EQ(read(config), weights) << name;
    }
}

TEST_F(ModelFolderTest, ASecondCopyOfATiedHeadMustBeEqual) {
    for (const std::string name : {"gpt2-tied", "llama-tied"}) {
        const ModelConfig config = config_of(name);
        const std::vector<float> weights = lively_weights(StateLayout(config), 9);
        StoredModel model = load(config, weights);
        StoredTensor table =
            model.at(name == "gpt2-tied" ? "transformer.wte.weight" : "model.embed_tokens.weight");
        model["lm_head.weight"] = table;
        save(model);
        EXPECT_EQ(read(config), weights);
        model["lm_head.weight"].floats().back() += 1;
        save(model);
        expect_refused(config, "lm_head.weight", ErrorCode::corrupt_data);
        model["lm_head.weight"] = stored("", {1, width}, table.floats().first(width));
        save(model);
        expect_refused(config, "lm_head.weight", ErrorCode::invalid_argument);
    }
}

TEST_F(ModelFolderTest, MissingSurplusAndMisshapenTensorsAreNamed) {
    for (const ModelCase& model_case : cases()) {
        const ModelConfig& config = model_case.config;
        const std::vector<float> weights = lively_weights(StateLayout(config), 10);
        const StoredModel whole = load(config, weights);
        for (const auto& [name, tensor] : whole) {
            StoredModel model = whole;
            model.erase(name);
            save(model);
            expect_refused(config, "'" + name + "' is missing", ErrorCode::invalid_argument);

            model = whole;
            model[name].header.shape.push_back(1);
            save(model);
            expect_refused(config, "'" + name + "' has shape", ErrorCode::invalid_argument);

            model = whole;
            model[name].header.type = TensorType::i32;
            save(model);
            expect_refused(config, "'" + name + "' has dtype I32", ErrorCode::invalid_argument);

            model = whole;
            model[name].floats()[0] = std::numeric_limits<float>::quiet_NaN();
            save(model);
            expect_refused(config, "'" + name + "' holds a number that is not finite",
                           ErrorCode::corrupt_data);
        }
        StoredModel model = whole;
        model["something.else"] = whole.begin()->second;
        save(model);
        expect_refused(config, "'something.else' is not one", ErrorCode::invalid_argument);
    }
    // The weights of the other family, and biases nobody asked for.
    ModelConfig biased = config_of("llama-untied");
    biased.biases.qkv = true;
    const std::vector<float> weights = lively_weights(StateLayout(biased), 10);
    save(load(biased, weights));
    expect_refused(config_of("llama-untied"), "k_proj.bias", ErrorCode::invalid_argument);
    expect_refused(config_of("gpt2-tied"), "wte.weight", ErrorCode::invalid_argument);
}

TEST_F(ModelFolderTest, ShardsAndHalvesAreReadToo) {
    const ModelConfig config = config_of("llama-untied");
    // Numbers that a bfloat16 holds, so that all types hold the same.
    std::vector<float> weights = lively_weights(StateLayout(config), 11);
    for (float& value : weights)
        value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xFFFF0000U);
    StoredModel first;
    StoredModel second;
    std::string map;
    std::size_t index = 0;
    for (auto& [name, tensor] : load(config, weights)) {
        const bool half = ++index % 2 == 0;
        if (half) {
            std::vector<std::byte> bytes;
            for (const float value : tensor.floats()) {
                const auto bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16U);
                const auto two = std::as_bytes(std::span(&bits, 1));
                bytes.insert(bytes.end(), two.begin(), two.end());
            }
            tensor.bytes = bytes;
            tensor.header.type = TensorType::bf16;
        }
        (half ? second : first)[name] = tensor;
        map += (map.empty() ? "" : ",") + ("\"" + name) + "\":\"" + (half ? "b" : "a") + ".safetensors\"";
    }
    for (const auto& [name, model] :
         {std::pair("a.safetensors", first), std::pair("b.safetensors", second)}) {
        save(model);
        std::filesystem::rename(directory_ / "model.safetensors", directory_ / name);
    }
    directory_.write("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
    EXPECT_EQ(read(config), weights);
}

TEST_F(ModelFolderTest, AFingerprintNamesTheBits) {
    std::vector<float> weights(300000, 0.5F);
    const Fingerprint before = weights_fingerprint(source_of(weights), weights.size());
    weights.back() = std::bit_cast<float>(std::bit_cast<std::uint32_t>(0.5F) ^ 1U);
    EXPECT_NE(weights_fingerprint(source_of(weights), weights.size()), before);
}

}  // namespace
}  // namespace lockstep
