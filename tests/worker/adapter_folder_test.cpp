#include "worker/model/adapter_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"
#include "tests/worker/model_cases.h"

namespace lockstep {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::size_t width = 24;

ModelConfig config_of(ModelFamily family) {
    return model_cases(width, 31, 17)[family == ModelFamily::gpt2 ? 0 : 2].config;
}

using Tensors = std::map<std::string, SafetensorsWriter::Tensor>;

class AdapterFolderTest : public testing::Test {
  protected:
    /// A whole folder, as we write it.
    std::vector<float> write(const ModelConfig& config, const LoraSettings& lora) {
        std::vector<float> adapters = lively_weights(lora_layout(config, lora), 4);
        write_adapter_file(directory_ / adapter_weights_name, config, lora, source_of(adapters),
                           Overwrite::yes);
        directory_.write(adapter_config_name, to_adapter_config(config, lora, "/models/base"));
        return adapters;
    }
    /// The same names and shapes after a change, all numbers 0.5 but those of one tensor.
    void write_changed(const ModelConfig& config, const LoraSettings& lora,
                       const std::function<void(Tensors&)>& change, const std::string& odd = "",
                       float odd_value = 0) {
        Tensors tensors;
        for (const FolderTensor& tensor : adapter_tensors(config, lora))
            tensors[tensor.name] = {tensor.name, TensorType::f32, tensor.shape};
        change(tensors);
        std::vector<SafetensorsWriter::Tensor> header;
        for (auto& [name, tensor] : tensors) {
            tensor.name = name;
            header.push_back(tensor);
        }
        SafetensorsWriter writer(directory_ / adapter_weights_name, header, {}, Overwrite::yes);
        for (const auto& [name, tensor] : tensors) {
            std::uint64_t elements = 1;
            for (const std::uint64_t extent : tensor.shape) elements *= extent;
            writer.append_array(
                std::span<const float>(std::vector<float>(elements, name == odd ? odd_value : 0.5F)));
        }
        writer.publish();
    }
    void write_config(const ModelConfig& config, const LoraSettings& lora,
                      const std::function<void(json&)>& change) {
        json object = json::parse(to_adapter_config(config, lora, ""));
        change(object);
        directory_.write(adapter_config_name, object.dump());
    }
    AdapterFolder open(const ModelConfig& config) { return AdapterFolder::open(directory_.path(), config); }
    void expect_refused(const ModelConfig& config, const std::string& noun,
                        ErrorCode code = ErrorCode::invalid_argument) {
        const Error error = error_of([&] {
            const AdapterFolder folder = open(config);
            std::vector<float> adapters(lora_layout(config, folder.settings()).size());
            folder.read(adapters);
        });
        EXPECT_EQ(error.code(), code) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(noun));
    }

    TemporaryDirectory directory_;
};

TEST_F(AdapterFolderTest, WhatIsWrittenIsReadBackToTheBit) {
    for (const ModelFamily family : {ModelFamily::gpt2, ModelFamily::llama}) {
        const ModelConfig config = config_of(family);
        for (const char* targets : {"all-linear", "o", "up,down"}) {
            const LoraSettings lora = lora_on(targets, family);
            const std::vector<float> adapters = write(config, lora);
            const AdapterFolder folder = open(config);
            EXPECT_TRUE(folder.settings() == lora) << targets;
            EXPECT_THAT(folder.warnings(), IsEmpty());
            std::vector<float> back(adapters.size(), 7.0F);
            folder.read(back);
            EXPECT_EQ(back, adapters) << targets << ", padding zero included";
        }
    }
}

TEST_F(AdapterFolderTest, TensorsCoverTheStateOnce) {
    for (const ModelFamily family : {ModelFamily::gpt2, ModelFamily::llama}) {
        const ModelConfig config = config_of(family);
        const LoraSettings lora = lora_on("all-linear", family);
        const StateLayout layout = lora_layout(config, lora);
        std::vector<int> covered(layout.size());
        std::set<std::string> names;
        for (const FolderTensor& tensor : adapter_tensors(config, lora)) {
            EXPECT_TRUE(names.insert(tensor.name).second) << tensor.name;
            EXPECT_FALSE(tensor.transposed);
            for (std::uint64_t i = 0; i < tensor.elements(); ++i) ++covered[tensor.offset + i];
        }
        for (const TensorSpec& tensor : layout.tensors()) {
            for (std::size_t i = 0; i < tensor.elements(); ++i) ASSERT_EQ(covered[tensor.offset + i]--, 1);
        }
        EXPECT_TRUE(std::all_of(covered.begin(), covered.end(), [](int n) { return n == 0; }));
    }
}

TEST_F(AdapterFolderTest, NamesShapesAndFieldsAreThoseOfTheLibrary) {
    const auto names_of = [](const ModelConfig& config, const std::string& targets) {
        std::vector<std::string> names;
        for (const FolderTensor& tensor : adapter_tensors(config, lora_on(targets, config.family))) {
            if (tensor.name.find(".1.") != std::string::npos)
                names.push_back(tensor.name + shape_text(tensor.shape));
        }
        return names;
    };
    EXPECT_THAT(names_of(config_of(ModelFamily::gpt2), "c_attn,c_fc"),
                ElementsAre("base_model.model.transformer.h.1.attn.c_attn.lora_A.weight(3, 24)",
                            "base_model.model.transformer.h.1.attn.c_attn.lora_B.weight(72, 3)",
                            "base_model.model.transformer.h.1.mlp.c_fc.lora_A.weight(3, 24)",
                            "base_model.model.transformer.h.1.mlp.c_fc.lora_B.weight(36, 3)"));
    EXPECT_THAT(names_of(config_of(ModelFamily::llama), "v,gate,down"),
                ElementsAre("base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight(3, 24)",
                            "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight(12, 3)",
                            "base_model.model.model.layers.1.mlp.gate_proj.lora_A.weight(3, 24)",
                            "base_model.model.model.layers.1.mlp.gate_proj.lora_B.weight(36, 3)",
                            "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight(3, 36)",
                            "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight(24, 3)"));
    const ModelConfig gpt2 = config_of(ModelFamily::gpt2);
    const json object =
        json::parse(to_adapter_config(gpt2, lora_on("all-linear", ModelFamily::gpt2), "base"));
    EXPECT_EQ(object["peft_type"], "LORA");
    EXPECT_EQ(object["r"], 3);
    EXPECT_TRUE(object["lora_alpha"].is_number_integer());
    EXPECT_EQ(object["lora_alpha"], 5);
    EXPECT_EQ(object["fan_in_fan_out"], true);
    EXPECT_EQ(object["base_model_name_or_path"], "base");
    EXPECT_EQ(object["target_modules"], (json{"c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"}));
    const ModelConfig llama = config_of(ModelFamily::llama);
    const json other = json::parse(to_adapter_config(llama, lora_on("q,v", ModelFamily::llama), ""));
    EXPECT_EQ(other["fan_in_fan_out"], false);
    EXPECT_EQ(other["target_modules"], (json{"q_proj", "v_proj"}));
    EXPECT_TRUE(other["base_model_name_or_path"].is_null());
}

// Element by element: an agreeing pair of mistakes would pass the round trip.
TEST_F(AdapterFolderTest, ElementsStandWhereTheLibraryExpectsThem) {
    const ModelConfig llama = config_of(ModelFamily::llama);  // 24 rows of queries, 12 of keys, 12 of values.
    const LoraSettings lora = lora_on("q,k,v", ModelFamily::llama);
    const std::vector<float> adapters = write(llama, lora);
    const StateLayout layout = lora_layout(llama, lora);
    const std::size_t a = layout.tensor("layers.1.attention.qkv.lora_a").offset;
    const std::size_t b = layout.tensor("layers.1.attention.qkv.lora_b").offset;
    const SafetensorsFile file = SafetensorsFile::open(directory_ / adapter_weights_name);
    const auto element = [&](const std::string& name, std::uint64_t index) {
        for (const TensorEntry& entry : file.tensors()) {
            float value = 0;
            if (entry.name != "base_model.model.model.layers.1.self_attn." + name) continue;
            file.read(entry, index, std::span(&value, 1));
            return value;
        }
        ADD_FAILURE() << name;
        return 0.0F;
    };
    EXPECT_EQ(element("q_proj.lora_A.weight", width + 5), adapters[a + width + 5]);
    EXPECT_EQ(element("v_proj.lora_A.weight", width + 5), adapters[a + (6 + 1) * width + 5]);
    EXPECT_EQ(element("q_proj.lora_B.weight", 2 * 3 + 1), adapters[b + 2 * 3 + 1]);
    EXPECT_EQ(element("k_proj.lora_B.weight", 2 * 3 + 1), adapters[b + (24 + 2) * 3 + 1]);
    EXPECT_EQ(element("v_proj.lora_B.weight", 2 * 3 + 1), adapters[b + (24 + 12 + 2) * 3 + 1]);
}

TEST_F(AdapterFolderTest, MissingSurplusAndMisshapenTensorsAreNamed) {
    const ModelConfig config = config_of(ModelFamily::llama);
    const LoraSettings lora = lora_on("q,down", ModelFamily::llama);
    write(config, lora);
    for (const FolderTensor& tensor : adapter_tensors(config, lora)) {
        const std::string& name = tensor.name;
        write_changed(config, lora, [&](Tensors& all) { all.erase(name); });
        expect_refused(config, "'" + name + "' is missing");
        write_changed(config, lora, [&](Tensors& all) { all[name].shape[0] += 1; });
        expect_refused(config, "'" + name + "' has shape");
        write_changed(config, lora, [&](Tensors& all) { all[name].type = TensorType::i32; });
        expect_refused(config, "'" + name + "' has dtype I32");
        write_changed(
            config, lora, [](Tensors&) {}, name, std::numeric_limits<float>::infinity());
        expect_refused(config, "'" + name + "' holds a number that is not finite", ErrorCode::corrupt_data);
    }
    write_changed(config, lora, [](Tensors& all) {
        all["base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"] = {
            "", TensorType::f32, {24}};
    });
    expect_refused(config, "lora_magnitude_vector' is not one");
    // Adapters of a wider model, and of the other family.
    write(config, lora);
    ModelConfig wider = config;
    wider.ffn *= 2;
    expect_refused(wider, "down_proj.lora_A.weight' has shape");
    expect_refused(config_of(ModelFamily::gpt2), "target_modules");
}

TEST_F(AdapterFolderTest, WhatWeDoNotComputeIsRefusedByItsName) {
    const ModelConfig config = config_of(ModelFamily::llama);
    const LoraSettings lora = lora_on("q,v", ModelFamily::llama);
    write(config, lora);
    const std::vector<std::pair<const char*, json>> refused = {{"peft_type", "LOHA"},
                                                               {"peft_type", nullptr},
                                                               {"use_rslora", "yes"},
                                                               {"use_dora", true},
                                                               {"rank_pattern", {{"q_proj", 4}}},
                                                               {"alpha_pattern", {{"q_proj", 4}}},
                                                               {"modules_to_save", {"lm_head"}},
                                                               {"layers_to_transform", {0}},
                                                               {"lora_bias", true},
                                                               {"bias", "all"},
                                                               {"init_lora_weights", "pissa"},
                                                               {"r", 0},
                                                               {"r", -4},
                                                               {"r", 2.5},
                                                               {"r", nullptr},
                                                               {"lora_alpha", "16"},
                                                               {"lora_alpha", 0},
                                                               {"target_modules", "q_.*"},
                                                               {"target_modules", json::array()},
                                                               {"target_modules", {"q_proj", 3}},
                                                               {"target_modules", {"q_proj,v_proj"}},
                                                               {"target_modules", {"q_proj", "lm_head"}},
                                                               {"target_modules", nullptr}};
    for (const auto& [name, value] : refused) {
        write_config(config, lora,
                     [&, &field = name, &wanted = value](json& object) { object[field] = wanted; });
        expect_refused(config, std::string(name) + " is ");
    }
    for (const char* text : {"", "[]", "{", "3"}) {
        directory_.write(adapter_config_name, text);
        expect_refused(config, adapter_config_name, ErrorCode::corrupt_data);
    }
    std::filesystem::remove(directory_ / adapter_config_name);
    expect_refused(config, adapter_config_name, ErrorCode::not_found);
}

// PEFT then scales by alpha / √r instead of alpha / r.
TEST_F(AdapterFolderTest, RankStabilizedAdaptersHaveAGreaterAlpha) {
    const ModelConfig config = config_of(ModelFamily::llama);
    const LoraSettings lora = lora_on("q,v", ModelFamily::llama);
    write(config, lora);
    write_config(config, lora, [](json& object) { object["use_rslora"] = true; });
    const AdapterFolder folder = AdapterFolder::open(directory_.path(), config);
    const double root = std::sqrt(static_cast<double>(lora.rank));
    EXPECT_DOUBLE_EQ(folder.settings().alpha, lora.alpha * root);
    EXPECT_FLOAT_EQ(folder.settings().scale(), static_cast<float>(lora.alpha / root));
    EXPECT_THAT(folder.warnings(), ElementsAre(HasSubstr("use_rslora")));
}

TEST_F(AdapterFolderTest, WhatChangesNothingIsReadAndDropoutIsSetAside) {
    const ModelConfig config = config_of(ModelFamily::llama);
    const LoraSettings lora = lora_on("q,v", ModelFamily::llama);
    write(config, lora);
    write_config(config, lora, [](json& object) {
        object["target_modules"] = {"v_proj", "self_attn.q_proj"};
        object["lora_alpha"] = 5.0;
        object["use_dora"] = false;
        object["use_rslora"] = nullptr;
        object["rank_pattern"] = json::object();
        object["modules_to_save"] = json::array();
        object["init_lora_weights"] = "gaussian";
        object["lora_dropout"] = 0.05;
        object["revision"] = "main";
        object["something_new"] = 3;
    });
    const AdapterFolder folder = open(config);
    EXPECT_TRUE(folder.settings() == lora);
    ASSERT_EQ(folder.warnings().size(), 1U);
    EXPECT_THAT(folder.warnings()[0], HasSubstr("lora_dropout 0.05"));
}

}  // namespace
}  // namespace lockstep
