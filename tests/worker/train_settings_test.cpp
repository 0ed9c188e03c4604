#include "worker/train_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/support/error_of.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

TrainSettings some_settings() {
    TrainSettings s;
    s.model = load_model_config("llama-nano", 300).config;
    s.optimizer.learning_rate = 0.1;  // Not a sum of few powers of two.
    s.optimizer.schedule_steps = 777;
    s.optimizer.epsilon = 1e-9;
    s.seed = ~std::uint64_t{0};
    s.scale_exponent = -3;
    s.lora = LoraSettings{4, 0.1, {LoraTarget::q, LoraTarget::v}, {}};
    return s;
}

/// Every setting, changed by the least.
const std::vector<std::pair<std::string, std::function<void(TrainSettings&)>>> changes = {
    {"model/layers", [](TrainSettings& s) { ++s.model.layers; }},
    {"model/width", [](TrainSettings& s) { ++s.model.width; }},
    {"model/ffn", [](TrainSettings& s) { ++s.model.ffn; }},
    {"model/kv_heads", [](TrainSettings& s) { s.model.kv_heads = 1; }},
    {"model/positions", [](TrainSettings& s) { ++s.model.positions; }},
    {"model/vocabulary", [](TrainSettings& s) { ++s.model.vocabulary; }},
    {"model/tied_head", [](TrainSettings& s) { s.model.tied_head = !s.model.tied_head; }},
    {"model/family", [](TrainSettings& s) { s.model.family = ModelFamily::gpt2; }},
    {"model/norm_epsilon",
     [](TrainSettings& s) { s.model.norm_epsilon = std::nextafter(s.model.norm_epsilon, 1.0); }},
    {"model/rope_base", [](TrainSettings& s) { s.model.rope_base += 1; }},
    {"model/init_std", [](TrainSettings& s) { s.model.init_std = std::nextafter(s.model.init_std, 1.0); }},
    {"optimizer/learning_rate",
     [](TrainSettings& s) { s.optimizer.learning_rate = std::nextafter(0.1, 1.0); }},
    {"optimizer/final_learning_rate", [](TrainSettings& s) { s.optimizer.final_learning_rate *= 2; }},
    {"optimizer/warmup_steps", [](TrainSettings& s) { ++s.optimizer.warmup_steps; }},
    {"optimizer/schedule_steps", [](TrainSettings& s) { ++s.optimizer.schedule_steps; }},
    {"optimizer/beta1", [](TrainSettings& s) { s.optimizer.beta1 /= 2; }},
    {"optimizer/beta2", [](TrainSettings& s) { s.optimizer.beta2 /= 2; }},
    {"optimizer/epsilon", [](TrainSettings& s) { s.optimizer.epsilon *= 2; }},
    {"optimizer/weight_decay", [](TrainSettings& s) { s.optimizer.weight_decay = 0; }},
    {"optimizer/clip_norm", [](TrainSettings& s) { s.optimizer.clip_norm = 0; }},
    {"model/qkv_bias", [](TrainSettings& s) { s.model.biases.qkv = true; }},
    {"model/attention_out_bias",
     [](TrainSettings& s) { s.model.biases.qkv = s.model.biases.attention_out = true; }},
    {"model/ffn_bias", [](TrainSettings& s) { s.model.biases.ffn = true; }},
    {"model/rope_scaling", [](TrainSettings& s) { s.model.rope.kind = RotaryScaling::Kind::linear; }},
    {"init", [](TrainSettings& s) { s.init.bytes[31] = 1; }},
    {"seed", [](TrainSettings& s) { --s.seed; }},
    {"scale_exponent", [](TrainSettings& s) { --s.scale_exponent; }},
    {"lora/rank", [](TrainSettings& s) { ++s.lora->rank; }},
    {"lora/alpha", [](TrainSettings& s) { s.lora->alpha = std::nextafter(0.1, 1.0); }},
    {"lora/targets", [](TrainSettings& s) { s.lora->targets.pop_back(); }},
    {"lora/init", [](TrainSettings& s) { s.lora->init.bytes[0] = 1; }},
    {"lora/alpha", [](TrainSettings& s) { s.lora.reset(); }},
};

TEST(TrainSettingsTest, ComeBackFromJsonToTheBit) {
    for (const TrainSettings& settings : {some_settings(), [] {
                                              TrainSettings s;
                                              s.model = load_model_config("nano", 257).config;
                                              return s;
                                          }()}) {
        const TrainSettings back = train_settings_from_json(to_json(settings));
        EXPECT_TRUE(back == settings) << to_json(settings);
        EXPECT_EQ(fingerprint_of(back), fingerprint_of(settings));
    }
}

TEST(TrainSettingsTest, AnyChangeIsAnotherFingerprintAndIsNamed) {
    const TrainSettings run = some_settings();
    EXPECT_EQ(first_difference(run, run), "");
    std::set<Fingerprint> seen = {fingerprint_of(run)};
    for (const auto& [name, change] : changes) {
        TrainSettings asked = run;
        change(asked);
        EXPECT_TRUE(seen.insert(fingerprint_of(asked)).second) << name;
        EXPECT_THAT(first_difference(run, asked), testing::StartsWith(name + ": ")) << name;
    }
}

// Beside the fingerprint, in the state digest: runs of before there was a choice keep theirs.
TEST(TrainSettingsTest, NumericsAreASettingOutsideTheFingerprint) {
    const TrainSettings run = some_settings();
    TrainSettings asked = run;
    asked.numerics = GemmNumerics::bf16;
    EXPECT_EQ(fingerprint_of(asked), fingerprint_of(run));
    EXPECT_EQ(first_difference(run, asked), "numerics: \"fma256\" in the run, \"bf16\" asked for");
    EXPECT_TRUE(train_settings_from_json(to_json(asked)) == asked);

    std::string text = to_json(asked);
    text.replace(text.find("bf16"), 4, "fp16");
    EXPECT_EQ(error_of([&] { train_settings_from_json(text); }).code(), ErrorCode::incompatible_version);
    const std::string field = "\"numerics\":\"fma256\",";
    std::string old = to_json(run);
    ASSERT_NE(old.find(field), std::string::npos) << old;
    old.erase(old.find(field), field.size());
    EXPECT_TRUE(train_settings_from_json(old) == run);
}

TEST(TrainSettingsTest, TextThatCannotBeReadIsCorrupt) {
    for (const char* text : {"", "{", "[]", "{}", R"({"model":{}})"}) {
        EXPECT_EQ(error_of([&] { train_settings_from_json(text); }).code(), ErrorCode::corrupt_data) << text;
    }
    std::string other = to_json(some_settings());
    other.replace(other.find("adamw"), 5, "adamX");
    EXPECT_EQ(error_of([&] { train_settings_from_json(other); }).code(), ErrorCode::incompatible_version);
}

TEST(TrainSettingsTest, ImpossibleSettingsAreNamed) {
    const auto refused = [](const std::string& option, const std::function<void(TrainSettings&)>& change) {
        TrainSettings settings = some_settings();
        change(settings);
        const Error error = error_of([&] { check_train_settings(settings); });
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << option;
        EXPECT_THAT(error.what(), HasSubstr(option));
    };
    check_train_settings(some_settings());
    refused("--lr", [](TrainSettings& s) { s.optimizer.learning_rate = -1; });
    refused("--lr", [](TrainSettings& s) { s.optimizer.learning_rate = std::nan(""); });
    refused("--final-lr", [](TrainSettings& s) { s.optimizer.final_learning_rate = INFINITY; });
    refused("--beta1", [](TrainSettings& s) { s.optimizer.beta1 = 1; });
    refused("--beta2", [](TrainSettings& s) { s.optimizer.beta2 = 1; });
    refused("--adam-eps", [](TrainSettings& s) { s.optimizer.epsilon = 0; });
    refused("--weight-decay", [](TrainSettings& s) { s.optimizer.weight_decay = -0.1; });
    refused("--clip", [](TrainSettings& s) { s.optimizer.clip_norm = -1; });
    refused("--scale-exponent", [](TrainSettings& s) { s.scale_exponent = 61; });
    refused("layers", [](TrainSettings& s) { s.model.layers = 0; });
    refused("--lora-rank", [](TrainSettings& s) { s.lora->rank = 0; });
    refused("--lora-targets", [](TrainSettings& s) { s.lora->targets = {LoraTarget::qkv}; });
}

TEST(TrainSettingsTest, TheScheduleWarmsUpAndFollowsACosine) {
    OptimizerSettings o;
    o.learning_rate = 1.0;
    o.final_learning_rate = 0.1;
    o.warmup_steps = 4;
    o.schedule_steps = 104;
    EXPECT_DOUBLE_EQ(learning_rate_at(o, 0), 0.25);
    EXPECT_DOUBLE_EQ(learning_rate_at(o, 3), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate_at(o, 4), 1.0);
    EXPECT_NEAR(learning_rate_at(o, 54), 0.55, 1e-12) << "half way down";
    EXPECT_DOUBLE_EQ(learning_rate_at(o, 104), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate_at(o, 100000), 0.1);
    for (std::uint64_t step = 4; step < 110; ++step) {
        EXPECT_LE(learning_rate_at(o, step + 1), learning_rate_at(o, step));
        const double phase = std::min(1.0, static_cast<double>(step - 4) / 100.0);
        EXPECT_NEAR(learning_rate_at(o, step), 0.1 + 0.45 * (1 + std::cos(std::acos(-1.0) * phase)), 1e-12);
    }
}

TEST(TrainSettingsTest, AScheduleShorterThanItsWarmUpEndsAtTheFinalRate) {
    OptimizerSettings o;
    o.warmup_steps = 4;
    for (const std::uint64_t horizon : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4}}) {
        o.schedule_steps = horizon;
        EXPECT_DOUBLE_EQ(learning_rate_at(o, 1), o.learning_rate / 2);
        EXPECT_DOUBLE_EQ(learning_rate_at(o, 4), o.final_learning_rate);
    }
    o.warmup_steps = 0;
    o.schedule_steps = 10;
    EXPECT_DOUBLE_EQ(learning_rate_at(o, 0), o.learning_rate);
}

}  // namespace
}  // namespace lockstep
