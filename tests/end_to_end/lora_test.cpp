// Adapters on frozen weights: the same bits on any machine room, after any kill, on their very base; in and
// out as PEFT keeps them, and merged.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

constexpr int steps = 10;

std::string read_bytes(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    EXPECT_TRUE(stream) << path;
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void expect_refused(const ProgramResult& result, int code, const std::string& noun) {
    EXPECT_EQ(result.exit_code, code) << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr(noun));
}

ProgramResult expect_works(const ProgramResult& result) {
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    return result;
}

ProgramResult lockstep_here(const std::vector<std::string>& arguments) {
    return run_lockstep_program(0, arguments);
}

/// A model folder to build on, made once for each preset.
const std::string& base_model(const std::string& preset) {
    static std::map<std::string, std::string> made;
    std::string& folder = made[preset];
    if (!folder.empty()) return folder;
    const SmallWorld& world = SmallWorld::get();
    const std::string run = world.fresh("base");
    folder = world.fresh("model");
    expect_works(lockstep_here(train_arguments(run, 4, {"-m", preset})));
    expect_works(lockstep_here({"checkpoint", "export", "-r", run, "-o", folder}));
    return folder;
}

/// train arguments with --init instead of -m.
std::vector<std::string> lora_arguments(const std::string& run, int until, const std::string& base,
                                        const std::vector<std::string>& more = {
                                            "--lora-rank", "4", "--lora-targets", "all-linear"}) {
    std::vector<std::string> arguments = train_arguments(run, until, {"-m", "x"});
    const auto model = std::find(arguments.begin(), arguments.end(), "-m");
    *model = "--init";
    *(model + 1) = base;
    if (std::find(more.begin(), more.end(), "--lr") == more.end())
        arguments.insert(arguments.end(), {"--lr", "0.01"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

RunBits lora_bits(int ranks, const std::string& preset, const std::vector<std::string>& more = {}) {
    const std::string run = SmallWorld::get().fresh("run");
    auto arguments = lora_arguments(run, steps, base_model(preset));
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_works(run_lockstep_program(ranks, arguments));
    return bits_of(run);
}

const RunBits& undisturbed(const std::string& preset) {
    static std::map<std::string, RunBits> known;
    const auto found = known.find(preset);
    return found != known.end() ? found->second : known[preset] = lora_bits(0, preset);
}

// ----------------------------------------------------------- the same bits

TEST(LoraTest, RanksThreadsAndRecomputingDoNotChangeABit) {
    for (const int ranks : {1, 2, 3, 4})
        EXPECT_EQ(lora_bits(ranks, "nano", {"--threads", "1"}), undisturbed("nano")) << ranks << " ranks";
    EXPECT_EQ(lora_bits(2, "nano", {"--threads", "2", "--recompute", "--gemm", "reference"}),
              undisturbed("nano"));
    EXPECT_EQ(lora_bits(3, "llama-nano", {"--recompute"}), undisturbed("llama-nano"));
    const RunBits bf16 = lora_bits(0, "llama-nano", {"--numerics", "bf16"});
    EXPECT_NE(bf16, undisturbed("llama-nano"));
    EXPECT_EQ(lora_bits(2, "llama-nano", {"--numerics", "bf16", "--threads", "2"}), bf16);
}

TEST(LoraTest, ItLearnsAndIsAnotherRunThanItsLikes) {
    const RunBits& bits = undisturbed("nano");
    ASSERT_EQ(bits.loss_hex.size(), static_cast<std::size_t>(steps));
    EXPECT_NE(lora_bits(0, "nano", {"--lora-alpha", "9"}), bits);
    EXPECT_NE(lora_bits(0, "nano", {"--init-seed", "2"}), bits) << "which draws the adapters";
    const std::string run = SmallWorld::get().fresh("run");
    const auto result =
        expect_works(lockstep_here(lora_arguments(run, steps, base_model("nano"), {"--use-lora", "--json"})));
    const json object = json::parse(result.out);
    EXPECT_LT(object["last_loss"].get<double>(), object["first_loss"].get<double>());
    // Rank 8 on queries, keys and values of two layers: 8·64 + 192·8 each.
    EXPECT_EQ(object["trainable_parameters"], 2 * (8 * 64 + 192 * 8));
    EXPECT_GT(object["parameters"], 10 * object["trainable_parameters"].get<int>());
    const json record = json::parse(read_bytes(run + "/run.json"));
    EXPECT_EQ(record["settings"]["lora"],
              (json{{"rank", 8}, {"alpha", 16.0}, {"targets", "qkv"}, {"init", nullptr}}));
    EXPECT_EQ(record["settings"]["init"],
              json::parse(read_bytes(base_model("nano") + "/lockstep.json"))["weights"]);
    // A checkpoint holds the adapters alone.
    EXPECT_LT(fs::file_size(run + "/checkpoints/step-00000010/shard-00000-of-00001.h5"),
              fs::file_size(base_model("nano") + "/model.safetensors"));
}

TEST(LoraTest, KilledAnywhereItGoesOnWithAnyWorldSize) {
    for (const auto& [spec, ranks] : {std::pair("1:forward:8", 2), std::pair("0:all-gather:3", 3),
                                      std::pair("0:manifest:before-write:0", 2), std::pair("1:save:6", 2)}) {
        const std::string run = SmallWorld::get().fresh("killed");
        const auto killed = run_hooked_program(ranks, lora_arguments(run, steps, base_model("llama-nano")),
                                               {{"LOCKSTEP_TEST_KILL", spec}});
        ASSERT_EQ(killed.exit_code, 137) << "the kill must have happened: " << killed.err;
        expect_works(
            run_lockstep_program(4 - ranks, {"resume", run, "--steps", std::to_string(steps), "--quiet"}));
        EXPECT_EQ(bits_of(run), undisturbed("llama-nano")) << spec;
        expect_works(lockstep_here({"verify", run}));
    }
}

TEST(LoraTest, ItsPacksCanBeLookedAtAgain) {
    const SmallWorld& world = SmallWorld::get();
    const std::string run = world.fresh("run");
    const std::string dump = world.fresh("dump") + ".safetensors";
    expect_works(lockstep_here(lora_arguments(run, steps, base_model("llama-nano"))));
    const auto looked =
        expect_works(lockstep_here({"train", "-o", run, "--step", "7", "--pack", "36", "--dump", dump}));
    EXPECT_THAT(looked.out, HasSubstr("to the bit"));
    const auto tensors = expect_works(lockstep_here({"inspect", dump}));
    EXPECT_THAT(tensors.out, HasSubstr("'weight.model.layers.1.mlp.up_proj.weight'"));
    EXPECT_THAT(tensors.out, HasSubstr("'weight.base_model.model.model.layers.1.mlp.up_proj.lora_B.weight'"));
    EXPECT_THAT(tensors.out,
                HasSubstr("'gradient.base_model.model.model.layers.1.mlp.up_proj.lora_B.weight'"));
    EXPECT_THAT(tensors.out, testing::Not(HasSubstr("'gradient.model.")));
}

// ----------------------------------------------------------- the base

TEST(LoraTest, AnotherBaseIsRefusedAndAMovedOneFound) {
    const SmallWorld& world = SmallWorld::get();
    const std::string folder = world.fresh("model");
    fs::copy(base_model("nano"), folder, fs::copy_options::recursive);
    const std::string other_run = world.fresh("base");
    const std::string other = world.fresh("model");
    expect_works(lockstep_here(train_arguments(other_run, 4, {"--lr", "0.002"})));
    expect_works(lockstep_here({"checkpoint", "export", "-r", other_run, "-o", other}));

    const std::string run = world.fresh("run");
    expect_works(run_lockstep_program(2, lora_arguments(run, 6, folder)));
    const std::vector<std::string> resume = {"resume", run, "--steps", std::to_string(steps), "--quiet"};
    const auto with = [&](std::vector<std::string> arguments, const std::vector<std::string>& more) {
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    };
    const std::string moved = world.fresh("moved");
    fs::rename(folder, moved);
    expect_refused(lockstep_here(resume), 66, folder);
    fs::copy(other, folder, fs::copy_options::recursive);
    for (const int ranks : {0, 2}) expect_refused(run_lockstep_program(ranks, resume), 65, "initial weights");
    expect_refused(lockstep_here(with(resume, {"--init", other})), 65, "initial weights");
    expect_refused(lockstep_here({"checkpoint", "export", "-r", run, "-o", world.fresh("m")}), 65,
                   "the adapters were trained on weights");
    expect_works(lockstep_here({"checkpoint", "export", "-r", run, "-o", world.fresh("m"), "--init", moved}));
    expect_works(lockstep_here(with(resume, {"--init", moved})));
    EXPECT_EQ(bits_of(run), undisturbed("nano"));
}

TEST(LoraTest, ADrawnBaseWorksToo) {
    const SmallWorld& world = SmallWorld::get();
    const auto arguments = [&](const std::string& run, int until) {
        return train_arguments(run, until, {"-m", "nano", "--use-lora"});
    };
    const std::string whole = world.fresh("run");
    const std::string parts = world.fresh("run");
    expect_works(lockstep_here(arguments(whole, 8)));
    expect_works(run_lockstep_program(2, arguments(parts, 3)));
    expect_works(run_lockstep_program(3, {"resume", parts, "--steps", "8", "--quiet"}));
    EXPECT_EQ(bits_of(parts), bits_of(whole));
    const std::string adapter = world.fresh("adapter");
    expect_works(lockstep_here({"checkpoint", "export", "-r", whole, "--adapter", "-o", adapter}));
    EXPECT_TRUE(
        json::parse(read_bytes(adapter + "/adapter_config.json"))["base_model_name_or_path"].is_null());
}

// ----------------------------------------------------------- out and in

TEST(LoraTest, AdaptersGoOutAndInAgainWithTheSameLossBits) {
    const SmallWorld& world = SmallWorld::get();
    for (const std::string preset : {"nano", "llama-nano"}) {
        const std::string first = world.fresh("run");
        const std::string adapter = world.fresh("adapter");
        const std::string second = world.fresh("run");
        expect_works(lockstep_here(lora_arguments(first, 5, base_model(preset))));
        expect_works(lockstep_here({"checkpoint", "export", "-r", first, "--adapter", "-o", adapter}));
        // A run that begins with the adapters and leaves them as they are sees what the first one saw next.
        const std::vector<std::string> unchanged = {"--init-adapter", adapter, "--lr", "0",
                                                    "--final-lr",     "0"};
        expect_works(lockstep_here(lora_arguments(second, 6, base_model(preset), unchanged)));
        expect_works(lockstep_here({"resume", first, "--steps", "6", "--quiet"}));
        EXPECT_EQ(bits_of(second).loss_hex[5], bits_of(first).loss_hex[5]) << preset;
        EXPECT_NE(bits_of(second).loss_hex[4], bits_of(first).loss_hex[4]) << "or the test says nothing";
        const json record = json::parse(read_bytes(second + "/run.json"));
        const json notes = json::parse(read_bytes(adapter + "/lockstep.json"));
        EXPECT_EQ(record["settings"]["lora"]["init"], notes["adapter"]);
        EXPECT_EQ(record["settings"]["lora"]["rank"], 4);
        // And out again: nothing is lost on the way.
        const std::string again = world.fresh("adapter");
        expect_works(lockstep_here({"checkpoint", "export", "-r", second, "--adapter", "-o", again}));
        for (const char* name : {"adapter_model.safetensors", "adapter_config.json"})
            EXPECT_TRUE(read_bytes(again + "/" + name) == read_bytes(adapter + "/" + name)) << preset << name;
    }
}

TEST(LoraTest, InitialAdaptersAreASettingOfTheRun) {
    const SmallWorld& world = SmallWorld::get();
    const std::string first = world.fresh("run");
    const std::string adapter = world.fresh("adapter");
    expect_works(lockstep_here(lora_arguments(first, 4, base_model("nano"))));
    expect_works(lockstep_here({"checkpoint", "export", "-r", first, "--adapter", "-o", adapter}));
    const std::string later = world.fresh("adapter");
    expect_works(lockstep_here({"resume", first, "--steps", "5", "--quiet"}));
    expect_works(lockstep_here({"checkpoint", "export", "-r", first, "--adapter", "-o", later}));

    const std::vector<std::string> with_adapter = {"--init-adapter", adapter};
    const std::string whole = world.fresh("run");
    expect_works(lockstep_here(lora_arguments(whole, 6, base_model("nano"), with_adapter)));
    const std::string run = world.fresh("run");
    expect_works(run_lockstep_program(2, lora_arguments(run, 6, base_model("nano"), with_adapter)));
    EXPECT_EQ(bits_of(run), bits_of(whole));
    for (const char* name : {"checkpoints", "ledger"}) {
        fs::remove_all(fs::path(run) / name);
        fs::create_directory(fs::path(run) / name);
    }
    expect_refused(lockstep_here({"resume", run, "--init-adapter", later, "--steps", "6"}), 65,
                   "initial adapters");
    const std::string moved = world.fresh("moved");
    fs::rename(adapter, moved);
    expect_refused(lockstep_here({"resume", run, "--steps", "6"}), 66, "adapter_config.json");
    fs::copy(later, adapter, fs::copy_options::recursive);
    expect_refused(lockstep_here({"resume", run, "--steps", "6"}), 65, "initial adapters");
    expect_works(lockstep_here({"resume", run, "--init-adapter", moved, "--steps", "6", "--quiet"}));
    EXPECT_EQ(bits_of(run), bits_of(whole));

    expect_refused(lockstep_here(lora_arguments(world.fresh("run"), 2, base_model("nano"),
                                                {"--init-adapter", moved, "--lora-rank", "8"})),
                   2, "rank 4");
    expect_refused(lockstep_here(lora_arguments(world.fresh("run"), 2, base_model("llama-nano"),
                                                {"--init-adapter", moved})),
                   2, "target_modules");
}

TEST(LoraTest, TheMergedModelGoesOnWhereTheAdaptersWere) {
    const SmallWorld& world = SmallWorld::get();
    for (const std::string preset : {"nano", "llama-nano"}) {
        const std::string run = world.fresh("run");
        const std::string merged = world.fresh("model");
        const std::string adapter = world.fresh("adapter");
        expect_works(lockstep_here(lora_arguments(run, 5, base_model(preset))));
        expect_works(lockstep_here({"checkpoint", "export", "-r", run, "-o", merged}));
        expect_works(lockstep_here({"checkpoint", "export", "-r", run, "--adapter", "-o", adapter}));
        EXPECT_EQ(read_bytes(merged + "/config.json"), read_bytes(base_model(preset) + "/config.json"));
        const auto first_loss = [&](const std::string& model, const std::vector<std::string>& more) {
            const auto result =
                expect_works(lockstep_here(lora_arguments(world.fresh("run"), 1, model, more)));
            return json::parse(result.out, nullptr, false)["first_loss"].get<double>();
        };
        const double apart = first_loss(base_model(preset), {"--init-adapter", adapter, "--json"});
        const double together = first_loss(merged, {"--json"});
        EXPECT_NEAR(together, apart, 1e-6 * apart) << preset;
        EXPECT_GT(std::abs(first_loss(base_model(preset), {"--json"}) - apart), 1e-3)
            << "they had learnt something";
    }
}

TEST(LoraTest, ExportRefusesWhatIsNotThere) {
    const SmallWorld& world = SmallWorld::get();
    const std::string plain = world.fresh("run");
    expect_works(lockstep_here(train_arguments(plain, 2)));
    for (const char* option : {"--adapter", "--merge"}) {
        expect_refused(lockstep_here({"checkpoint", "export", "-r", plain, option, "-o", world.fresh("m")}),
                       2, "no adapters");
    }
    const std::string run = world.fresh("run");
    expect_works(lockstep_here(lora_arguments(run, 2, base_model("nano"))));
    const std::string folder = world.fresh("adapter");
    expect_refused(lockstep_here({"checkpoint", "export", "-r", run, "--adapter", "--merge", "-o", folder}),
                   2, "--merge");
    const std::vector<std::string> write = {"checkpoint", "export", "-r", run, "--adapter", "-o", folder};
    expect_works(lockstep_here(write));
    expect_refused(lockstep_here(write), 73, "--force");
    // Beside adapters a merged model would be given them again when it is loaded.
    expect_refused(lockstep_here({"checkpoint", "export", "-r", run, "--merge", "--force", "-o", folder}), 73,
                   "adapter_config.json");
}

// ----------------------------------------------------------- the command line

TEST(LoraTest, BadInputIsRefusedBeforeAnythingIsWritten) {
    const SmallWorld& world = SmallWorld::get();
    const auto refused = [&](const std::vector<std::string>& more, const std::string& noun, int code = 2) {
        for (const int ranks : {0, 2}) {
            const std::string run = world.fresh("run");
            expect_refused(
                run_lockstep_program(ranks, lora_arguments(run, 2, base_model("llama-nano"), more)), code,
                noun);
            EXPECT_FALSE(fs::exists(run + "/run.json"));
        }
    };
    refused({"--lora-rank", "0"}, "--lora-rank is 0");
    refused({"--lora-rank", "5000"}, "--lora-rank is 5000");
    refused({"--lora-alpha", "0"}, "--lora-alpha is 0");
    refused({"--lora-targets", "q,c_attn"}, "'c_attn'");
    refused({"--lora-targets", ""}, "--lora-targets");
    refused({"--init-adapter", "/nonexistent"}, "/nonexistent", 66);
}

TEST(LoraTest, ARunKeepsItsAdapters) {
    const SmallWorld& world = SmallWorld::get();
    const std::string run = world.fresh("run");
    expect_works(lockstep_here(lora_arguments(run, 2, base_model("nano"))));
    const RunBits before = bits_of(run);
    for (const auto& [option, value, noun] :
         {std::tuple("--lora-rank", "8", "lora/rank"), std::tuple("--lora-alpha", "9", "lora/alpha"),
          std::tuple("--lora-targets", "qkv", "lora/targets")}) {
        expect_refused(lockstep_here({"resume", run, "--steps", "4", option, value}), 2, noun);
    }
    EXPECT_EQ(bits_of(run), before);
    expect_works(lockstep_here({"resume", run, "--steps", "4", "--use-lora", "--lora-rank", "4", "--quiet"}));
    const std::string plain = world.fresh("run");
    expect_works(lockstep_here(train_arguments(plain, 2)));
    expect_refused(lockstep_here({"resume", plain, "--steps", "4", "--use-lora"}), 2, "lora/");
}

TEST(LoraTest, LazarusSpellingWorks) {
    auto arguments = lora_arguments(SmallWorld::get().fresh("run"), 2, base_model("nano"), {"--use-lora"});
    std::replace(arguments.begin(), arguments.end(), std::string("-p"), std::string("--batch-plan"));
    arguments.insert(arguments.begin() + 1, "sft");
    expect_works(lockstep_here(arguments));
}

TEST(LoraTest, ADryRunSaysWhatIsTrainedAndWhatItTakes) {
    const std::string run = SmallWorld::get().fresh("run");
    const auto dry = [&](const std::vector<std::string>& more) {
        auto arguments = train_arguments(run, 2, {"-m", "small", "--dry-run", "--json"});
        arguments.insert(arguments.end(), more.begin(), more.end());
        return json::parse(expect_works(lockstep_here(arguments)).out, nullptr, false);
    };
    const json whole = dry({});
    const json lora = dry({"--use-lora"});
    EXPECT_EQ(whole["parameters"], whole["trainable_parameters"]);
    EXPECT_EQ(lora["parameters"].get<int>(),
              whole["parameters"].get<int>() + lora["trainable_parameters"].get<int>());
    EXPECT_GT(lora["memory_bytes"]["adapters"], 4 * lora["trainable_parameters"].get<int>());
    EXPECT_EQ(lora["memory_bytes"]["weights"], whole["memory_bytes"]["weights"]);
    for (const char* purpose : {"optimizer moments", "exact gradient sum", "gradient at hand"}) {
        EXPECT_LT(10 * lora["memory_bytes"][purpose].get<double>(),
                  whole["memory_bytes"][purpose].get<double>())
            << purpose;
    }
    EXPECT_LT(lora["flop_per_step"], whole["flop_per_step"]);
    EXPECT_FALSE(fs::exists(run));
}

}  // namespace
}  // namespace lockstep::test
