// Models that come from a folder and go into one: --init, checkpoint export, --dump.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;

ProgramResult lockstep_here(const std::vector<std::string>& arguments) {
    return run_lockstep_program(0, arguments);
}

std::string read_bytes(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    EXPECT_TRUE(stream) << path;
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void expect_refused(const ProgramResult& result, int code, const std::string& noun) {
    EXPECT_EQ(result.exit_code, code) << result.out << result.err;
    EXPECT_NE(result.err.find(noun), std::string::npos) << "expected '" << noun << "' in: " << result.err;
}

std::vector<std::string> with_init(const std::string& run, int steps, const std::string& init) {
    std::vector<std::string> arguments = train_arguments(run, steps, {"-m", "nano"});
    const auto model = std::find(arguments.begin(), arguments.end(), "-m");
    *model = "--init";
    *(model + 1) = init;
    return arguments;
}

/// A run of nano, or of a model, and its export.
struct Exported {
    std::string run, folder;
};
Exported make_export(const std::string& model = "nano", const std::vector<std::string>& more = {}) {
    const SmallWorld& world = SmallWorld::get();
    Exported made{world.fresh("run"), world.fresh("model")};
    std::vector<std::string> options = {"-m", model};
    options.insert(options.end(), more.begin(), more.end());
    const auto train = lockstep_here(train_arguments(made.run, 4, options));
    EXPECT_EQ(train.exit_code, 0) << train.err;
    const auto written =
        lockstep_here({"checkpoint", "export", "-r", made.run, "--to", "safetensors", "-o", made.folder});
    EXPECT_EQ(written.exit_code, 0) << written.err;
    return made;
}

/// Equal documents, so that every pack holds the same tokens and the loss of one after N steps is that of
/// another after none.
class SameAgain {
  public:
    static const SameAgain& get() {
        static const SameAgain same;
        return same;
    }
    std::string corpus, plan;

  private:
    SameAgain() {
        const SmallWorld& world = SmallWorld::get();
        const std::string text = world.fresh("same") + ".txt";
        std::ofstream out(text);
        for (int i = 0; i < 60; ++i)
            out << "The plan decides, and every rank does as it says; nothing more.\n";
        out.close();
        corpus = world.fresh("same") + ".h5";
        plan = world.fresh("same-plan");
        const auto ingest =
            lockstep_here({"ingest", "-d", text, "-t", "bytes", "--document", "line", "-o", corpus});
        EXPECT_EQ(ingest.exit_code, 0) << ingest.err;
        const auto build = lockstep_here({"batchplan", "build", "-l", corpus, "-e", "1", "-b", "128",
                                          "--packs-per-step", "2", "-o", plan});
        EXPECT_EQ(build.exit_code, 0) << build.err;
    }
};

std::string loss_bits(const std::string& run, const std::string& step, const std::string& pack) {
    const auto result = lockstep_here({"train", "-o", run, "--step", step, "--pack", pack, "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto object = nlohmann::json::parse(result.out, nullptr, false);
    return object.is_object() ? object["loss_sum_hex"].get<std::string>() : result.out;
}

TEST(ModelFolderTest, ExportedWeightsGoOnWithTheSameLossBits) {
    const SameAgain& same = SameAgain::get();
    const SmallWorld& world = SmallWorld::get();
    for (const std::string model : {"nano", "llama-nano"}) {
        const std::string first = world.fresh("run");
        const std::string folder = world.fresh("model");
        const std::string second = world.fresh("run");
        ASSERT_EQ(lockstep_here({"train", "-p", same.plan, "-d", same.corpus, "-m", model, "-o", first,
                                 "--steps", "5", "--quiet"})
                      .exit_code,
                  0);
        ASSERT_EQ(lockstep_here({"checkpoint", "export", "-r", first, "-o", folder}).exit_code, 0);
        const auto train = lockstep_here({"train", "-p", same.plan, "-d", same.corpus, "--init", folder, "-o",
                                          second, "--steps", "1", "--quiet"});
        ASSERT_EQ(train.exit_code, 0) << train.err;
        const std::string at_start = loss_bits(first, "0", "0");
        const std::string continued = loss_bits(first, "5", "10");
        EXPECT_EQ(loss_bits(first, "0", "1"), at_start) << "packs are equal, or the test says nothing";
        EXPECT_NE(continued, at_start);
        EXPECT_EQ(loss_bits(second, "0", "0"), continued) << model;
        // And out again: nothing is lost on the way.
        const std::string again = world.fresh("model");
        const std::string still = world.fresh("run");
        ASSERT_EQ(lockstep_here({"train", "-p", same.plan, "-d", same.corpus, "--init", folder, "--lr", "0",
                                 "--final-lr", "0", "-o", still, "--steps", "1", "--quiet"})
                      .exit_code,
                  0);
        ASSERT_EQ(lockstep_here({"checkpoint", "export", "-r", still, "-o", again}).exit_code, 0);
        EXPECT_EQ(read_bytes(again + "/model.safetensors"), read_bytes(folder + "/model.safetensors"));
        EXPECT_EQ(read_bytes(again + "/config.json"), read_bytes(folder + "/config.json"));
    }
}

TEST(ModelFolderTest, AnInitializedRunResumesVerifiesAndDoesNotDependOnRanks) {
    const SmallWorld& world = SmallWorld::get();
    const Exported made = make_export("llama-nano");
    const std::string whole = world.fresh("run");
    const auto train = lockstep_here(with_init(whole, 8, made.folder));
    ASSERT_EQ(train.exit_code, 0) << train.err;
    EXPECT_EQ(lockstep_here({"verify", whole}).exit_code, 0);

    const std::string parts = world.fresh("run");
    ASSERT_EQ(run_lockstep_program(3, with_init(parts, 3, made.folder)).exit_code, 0);
    const auto resume = run_lockstep_program(2, {"resume", parts, "--steps", "8", "--quiet"});
    ASSERT_EQ(resume.exit_code, 0) << resume.err;
    EXPECT_EQ(bits_of(parts), bits_of(whole));
    EXPECT_EQ(lockstep_here({"verify", parts, "--against", whole}).exit_code, 0);

    const auto record = nlohmann::json::parse(read_bytes(whole + "/run.json"));
    const auto notes = nlohmann::json::parse(read_bytes(made.folder + "/lockstep.json"));
    EXPECT_EQ(record["settings"]["init"], notes["weights"]);
}

// A run that was killed before its first generation starts again from the folder.
TEST(ModelFolderTest, ResumeWithoutAGenerationNeedsTheVeryWeights) {
    const SmallWorld& world = SmallWorld::get();
    const Exported made = make_export();
    const Exported other = make_export("nano", {"--lr", "0.01"});
    const std::string whole = world.fresh("run");
    ASSERT_EQ(lockstep_here(with_init(whole, 3, made.folder)).exit_code, 0);
    const std::string run = world.fresh("run");
    ASSERT_EQ(lockstep_here(with_init(run, 3, made.folder)).exit_code, 0);
    for (const char* name : {"checkpoints", "ledger"}) {
        fs::remove_all(fs::path(run) / name);
        fs::create_directory(fs::path(run) / name);
    }
    expect_refused(lockstep_here({"resume", run, "--init", other.folder, "--steps", "3", "--quiet"}), 65,
                   "initial weights");
    const std::string moved = world.fresh("moved");
    fs::rename(made.folder, moved);
    expect_refused(lockstep_here({"resume", run, "--steps", "3", "--quiet"}), 66, "model.safetensors");
    fs::copy(other.folder, made.folder, fs::copy_options::recursive);
    expect_refused(lockstep_here({"resume", run, "--steps", "3", "--quiet"}), 65, "initial weights");
    const auto resume = lockstep_here({"resume", run, "--init", moved, "--steps", "3", "--quiet"});
    ASSERT_EQ(resume.exit_code, 0) << resume.err;
    EXPECT_EQ(bits_of(run), bits_of(whole));
}

TEST(ModelFolderTest, InitIsASettingOfTheRun) {
    const SmallWorld& world = SmallWorld::get();
    const Exported made = make_export();
    expect_refused(lockstep_here({"resume", made.run, "--init", made.folder, "--steps", "6"}), 65,
                   "drawn from seed 1");
    auto both = with_init(world.fresh("run"), 2, made.folder);
    both.insert(both.end(), {"--init-seed", "3"});
    expect_refused(lockstep_here(both), 2, "--init-seed");
    // A model of another shape, by name of the tensor.
    auto mismatch = with_init(world.fresh("run"), 2, made.folder);
    mismatch.insert(mismatch.end(), {"-m", "tiny"});
    expect_refused(lockstep_here(mismatch), 2, "transformer.wte.weight");
    const std::string untouched = mismatch[6];
    EXPECT_FALSE(fs::exists(untouched + "/run.json"));
    expect_refused(lockstep_here(with_init(world.fresh("run"), 2, "/nonexistent")), 66, "/nonexistent");

    const std::string damaged = world.fresh("model");
    fs::copy(made.folder, damaged, fs::copy_options::recursive);
    fs::resize_file(damaged + "/model.safetensors", fs::file_size(damaged + "/model.safetensors") - 1);
    expect_refused(lockstep_here(with_init(world.fresh("run"), 2, damaged)), 65, "model.safetensors");
    auto nothing = train_arguments(world.fresh("run"), 2);
    nothing.erase(std::find(nothing.begin(), nothing.end(), "-m"),
                  std::find(nothing.begin(), nothing.end(), "-m") + 2);
    expect_refused(lockstep_here(nothing), 2, "--init");
}

TEST(ModelFolderTest, ExportChoosesAGenerationAndDoesNotOverwrite) {
    const SmallWorld& world = SmallWorld::get();
    const Exported made = make_export();
    const auto run_export = [&](std::vector<std::string> more) {
        std::vector<std::string> arguments = {"checkpoint", "export", "-r", made.run};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return lockstep_here(arguments);
    };
    expect_refused(run_export({"-o", made.folder}), 73, "--force");
    EXPECT_EQ(run_export({"-o", made.folder, "--force"}).exit_code, 0);
    expect_refused(run_export({"-o", world.fresh("m"), "--step", "3"}), 66, "it has 4");
    expect_refused(run_export({"-o", world.fresh("m"), "--to", "gguf"}), 2, "gguf");
    const std::string again = world.fresh("m");
    const auto written = run_export({"-o", again, "--step", "4", "--json"});
    ASSERT_EQ(written.exit_code, 0) << written.err;
    EXPECT_EQ(nlohmann::json::parse(written.out)["step"], 4);
    for (const char* name : {"config.json", "model.safetensors", "lockstep.json"}) {
        EXPECT_EQ(read_bytes(again + "/" + name), read_bytes(made.folder + "/" + name)) << name;
        std::size_t entries = 0;
        for (const auto& entry : fs::directory_iterator(again)) entries += entry.exists() ? 1U : 0U;
        EXPECT_EQ(entries, 3U) << "and nothing else";
    }
    EXPECT_EQ(lockstep_here({"inspect", again + "/lockstep.json"}).exit_code, 0);
    const auto inspect = lockstep_here({"inspect", again + "/model.safetensors", "--json"});
    EXPECT_EQ(inspect.exit_code, 0) << inspect.err;
    EXPECT_EQ(nlohmann::json::parse(inspect.out)["tensors"][0]["name"], "transformer.wte.weight");
    expect_refused(lockstep_here({"checkpoint", "export", "-r", "/nonexistent", "-o", world.fresh("m")}), 66,
                   "run.json");
    const std::string file = world.fresh("file");
    std::ofstream(file) << "x";
    expect_refused(run_export({"-o", file, "--force"}), 73, file);

    std::fstream shard(made.run + "/checkpoints/step-00000004/shard-00000-of-00001.h5",
                       std::ios::in | std::ios::out | std::ios::binary);
    shard.seekp(100000);
    shard.put('\x55');
    shard.close();
    expect_refused(run_export({"-o", world.fresh("m"), "--step", "4"}), 65, "not valid");
    expect_refused(run_export({"-o", world.fresh("m")}), 65, "checkpoint list");
}

TEST(ModelFolderTest, ADumpHoldsThePackAndItsGradient) {
    const Exported made = make_export("llama-nano");
    const std::string dump = SmallWorld::get().fresh("dump") + ".safetensors";
    const std::vector<std::string> arguments = {"train",  "-o", made.run, "--step", "4",
                                                "--pack", "20", "--dump", dump};
    const auto result = lockstep_here(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const std::string bytes = read_bytes(dump);
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), 8);
    const auto header = nlohmann::json::parse(bytes.substr(8, length));
    for (const char* name : {"loss_sum", "scale", "token_ids", "position_ids", "targets", "cu_seqlens",
                             "token_loss", "logits", "weight.model.norm.weight", "gradient.model.norm.weight",
                             "gradient.model.layers.1.self_attn.k_proj.weight", "gradient.lm_head.weight"}) {
        EXPECT_TRUE(header.contains(name)) << name;
    }
    // The weights of the dump are those of the export: same generation.
    const std::string weights = read_bytes(made.folder + "/model.safetensors");
    std::memcpy(&length, weights.data(), 8);
    const std::string exported = weights.substr(8 + length);
    EXPECT_NE(bytes.find(exported), std::string::npos);
    expect_refused(lockstep_here(arguments), 73, dump);
    expect_refused(lockstep_here(train_arguments(SmallWorld::get().fresh("run"), 1, {"--dump", "x"})), 2,
                   "--dump");
}

}  // namespace
}  // namespace lockstep::test
