// Bad input gets one clear error, the documented code, and nothing lost.

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

/// One line of error, the code, and the noun that matters.
void expect_refused(const ProgramResult& result, int code, const std::string& noun) {
    EXPECT_EQ(result.exit_code, code) << result.out << result.err;
    EXPECT_NE(result.err.find(noun), std::string::npos) << "expected '" << noun << "' in: " << result.err;
    const auto errors = [&] {
        std::size_t count = 0;
        for (std::size_t at = result.err.find("error: "); at != std::string::npos;
             at = result.err.find("error: ", at + 1))
            ++count;
        return count;
    }();
    EXPECT_EQ(errors, 1U) << result.err;
}

ProgramResult lockstep_here(const std::vector<std::string>& arguments) {
    return run_lockstep_program(0, arguments);
}

std::string write_text(const std::string& name, const std::string& bytes) {
    const std::string path = SmallWorld::get().fresh(name);
    const std::string with_ending = path + (name.ends_with("jsonl") ? ".jsonl" : ".txt");
    std::ofstream(with_ending, std::ios::binary) << bytes;
    return with_ending;
}

void flip_byte(const std::string& path, std::streamoff at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    ASSERT_TRUE(file);
    file.seekg(at);
    const int byte = file.get();
    file.seekp(at);
    file.put(static_cast<char>(byte ^ 0x10));
}

std::vector<std::string> ingest(const std::string& source, const std::string& output) {
    return {"ingest", "-d", source, "-t", "bytes", "-o", output};
}

TEST(BadInputTest, JsonAsksForTheErrorAsAnObjectToo) {
    const auto expect_object = [](const ProgramResult& result, int code, const std::string& noun) {
        expect_refused(result, code, noun);
        const auto object = nlohmann::json::parse(result.out, nullptr, false);
        ASSERT_TRUE(object.is_object()) << result.out;
        EXPECT_EQ(object.value("code", -1), code);
        EXPECT_NE(object.value("error", "").find(noun), std::string::npos) << result.out;
    };
    const std::vector<std::string> absent = {"batchplan", "info", "-p", "/nonexistent", "--json"};
    expect_object(lockstep_here(absent), 66, "/nonexistent");
    expect_object(lockstep_here({"batchplan", "info", "--json", "--no-such"}), 2, "--no-such");
    expect_object(lockstep_here({"batchplan", "build", "-b", "-5", "--json"}), 2, "-5");
    EXPECT_EQ(lockstep_here({"batchplan", "info", "-p", "/nonexistent"}).out, "");
}

TEST(BadInputTest, MissingFile) {
    expect_refused(lockstep_here(ingest("/nonexistent.txt", SmallWorld::get().fresh("c"))), 66,
                   "/nonexistent.txt");
    expect_refused(
        lockstep_here({"batchplan", "build", "-l", "/nonexistent.h5", "-o", SmallWorld::get().fresh("p")}),
        66, "/nonexistent.h5");
    expect_refused(lockstep_here({"batchplan", "info", "-p", "/nonexistent"}), 66, "/nonexistent");
    expect_refused(lockstep_here({"resume", "/nonexistent"}), 66, "run.json");
    expect_refused(lockstep_here({"verify", "/nonexistent"}), 66, "run.json");
    expect_refused(lockstep_here({"inspect", "/nonexistent"}), 66, "/nonexistent");
}

TEST(BadInputTest, EmptyCorpus) {
    const std::string output = SmallWorld::get().fresh("c");
    expect_refused(lockstep_here(ingest(write_text("empty", ""), output)), 2, "no documents");
    EXPECT_NE(access(output.c_str(), F_OK), 0) << "nothing may be left behind";
}

TEST(BadInputTest, BadJsonLineIsNamedAndMayBeSkipped) {
    const std::string file =
        write_text("bad-jsonl", "{\"text\":\"one\"}\n{\"text\":\n{\"text\":\"three\"}\n");
    expect_refused(lockstep_here(ingest(file, SmallWorld::get().fresh("c"))), 65, ":2");
    auto arguments = ingest(file, SmallWorld::get().fresh("c"));
    arguments.insert(arguments.end(), {"--skip-bad", "1", "--json"});
    const auto skipped = lockstep_here(arguments);
    EXPECT_EQ(skipped.exit_code, 0) << skipped.err;
    EXPECT_NE(skipped.out.find("\"bad_lines\":1"), std::string::npos) << skipped.out;
    EXPECT_NE(skipped.out.find("\"documents\":2"), std::string::npos) << skipped.out;
}

TEST(BadInputTest, InvalidUtf8) {
    expect_refused(lockstep_here(ingest(write_text("latin1", "caf\xe9\n"), SmallWorld::get().fresh("c"))), 65,
                   "UTF-8");
}

TEST(BadInputTest, FlippedBitInCorpusPlanAndShard) {
    const SmallWorld& world = SmallWorld::get();
    const std::string corpus = world.fresh("corpus") + ".h5";
    std::filesystem::copy_file(world.corpus(), corpus);
    flip_byte(corpus, 9000);
    expect_refused(lockstep_here({"inspect", corpus}), 65, corpus);
    expect_refused(
        lockstep_here({"train", "-p", world.plan(), "-d", corpus, "-m", "nano", "-o", world.fresh("r")}), 65,
        corpus);

    const std::string plan = world.fresh("plan");
    std::filesystem::copy(world.plan(), plan, std::filesystem::copy_options::recursive);
    flip_byte(plan + "/plan.h5", 5000);
    expect_refused(lockstep_here({"batchplan", "validate", "-p", plan}), 65, "plan.h5");
    expect_refused(
        lockstep_here({"train", "-p", plan, "-d", world.corpus(), "-m", "nano", "-o", world.fresh("r")}), 65,
        "plan.h5");

    const std::string run = world.fresh("run");
    ASSERT_EQ(lockstep_here(train_arguments(run, 2)).exit_code, 0);
    const std::string shard = run + "/checkpoints/step-00000002/shard-00000-of-00001.h5";
    flip_byte(shard, 100000);
    expect_refused(lockstep_here({"inspect", shard}), 65, shard);
    expect_refused(lockstep_here({"verify", run}), 65, "shard-00000-of-00001.h5");
    const auto list = lockstep_here({"checkpoint", "list", run, "--json"});
    EXPECT_EQ(list.exit_code, 65);
    EXPECT_NE(list.out.find("\"valid\":false"), std::string::npos) << list.out;
}

TEST(BadInputTest, FilesCutShort) {
    const SmallWorld& world = SmallWorld::get();
    const std::string corpus = world.fresh("corpus") + ".h5";
    std::filesystem::copy_file(world.corpus(), corpus);
    std::filesystem::resize_file(corpus, 7777);
    expect_refused(lockstep_here({"lengths", "stats", "-l", corpus}), 65, corpus);
    const std::string plan = world.fresh("plan");
    std::filesystem::copy(world.plan(), plan, std::filesystem::copy_options::recursive);
    std::filesystem::resize_file(plan + "/plan.jsonl", 100);
    expect_refused(lockstep_here({"batchplan", "validate", "-p", plan, "--strict"}), 65, "plan.jsonl");
    std::filesystem::resize_file(plan + "/fingerprints.json", 10);
    expect_refused(lockstep_here({"batchplan", "validate", "-p", plan}), 65, "fingerprints.json");
}

TEST(BadInputTest, CorpusOfAnotherTokenizerOrContent) {
    const SmallWorld& world = SmallWorld::get();
    const std::string chars = world.fresh("chars") + ".h5";
    ASSERT_EQ(lockstep_here({"ingest", "-d", (world.folder() / "texts").string(), "-t", "chars", "--document",
                             "separator:%", "-o", chars})
                  .exit_code,
              0);
    expect_refused(
        lockstep_here({"train", "-p", world.plan(), "-d", chars, "-m", "nano", "-o", world.fresh("r")}), 65,
        "tokenizer");
    const std::string other = world.fresh("other") + ".h5";
    ASSERT_EQ(lockstep_here(ingest(write_text("other", "other text"), other)).exit_code, 0);
    const std::string run = world.fresh("r");
    expect_refused(lockstep_here({"train", "-p", world.plan(), "-d", other, "-m", "nano", "-o", run}), 65,
                   "sample lengths");
    EXPECT_NE(access(run.c_str(), F_OK), 0) << "a refused start leaves no run behind";
}

TEST(BadInputTest, SampleOverTheBudget) {
    expect_refused(lockstep_here({"batchplan", "build", "-l", SmallWorld::get().corpus(), "-b", "64",
                                  "--long", "error", "-o", SmallWorld::get().fresh("p")}),
                   2, "64");
}

TEST(BadInputTest, TokenIdsAndSegmentsBeyondTheModel) {
    const SmallWorld& world = SmallWorld::get();
    const std::string config = world.fresh("config") + ".json";
    std::ofstream(config)
        << R"({"model_type":"gpt2","n_layer":1,"n_embd":32,"n_head":2,"n_positions":512,"vocab_size":100})";
    expect_refused(lockstep_here({"train", "-p", world.plan(), "-d", world.corpus(), "-m", config, "-o",
                                  world.fresh("r")}),
                   2, "vocabulary");
    std::ofstream(config)
        << R"({"model_type":"gpt2","n_layer":1,"n_embd":32,"n_head":2,"n_positions":100,"vocab_size":257})";
    expect_refused(lockstep_here({"train", "-p", world.plan(), "-d", world.corpus(), "-m", config, "-o",
                                  world.fresh("r")}),
                   2, "positions");
}

TEST(BadInputTest, ExistingOutputs) {
    const SmallWorld& world = SmallWorld::get();
    expect_refused(lockstep_here(ingest((world.folder() / "texts").string(), world.corpus())), 73, "--force");
    expect_refused(lockstep_here({"batchplan", "build", "-l", world.corpus(), "-o", world.plan()}), 73,
                   "--force");
    const std::string run = world.fresh("run");
    ASSERT_EQ(lockstep_here(train_arguments(run, 2)).exit_code, 0);
    const RunBits before = bits_of(run);
    expect_refused(lockstep_here(train_arguments(run, 2)), 73, "resume");
    EXPECT_EQ(bits_of(run), before);
}

TEST(BadInputTest, ResumeWithOtherPlanModelOrOptimizer) {
    const SmallWorld& world = SmallWorld::get();
    const std::string run = world.fresh("run");
    ASSERT_EQ(lockstep_here(train_arguments(run, 2)).exit_code, 0);
    const std::string other = world.fresh("plan");
    ASSERT_EQ(
        lockstep_here({"batchplan", "build", "-l", world.corpus(), "-b", "256", "--seed", "43", "-o", other})
            .exit_code,
        0);
    expect_refused(lockstep_here({"resume", run, "-p", other}), 65, "plan");
    expect_refused(lockstep_here({"resume", run, "-m", "tiny"}), 2, "model");
    expect_refused(lockstep_here({"resume", run, "--lr", "0.5"}), 2, "learning_rate");
    expect_refused(run_lockstep_program(2, {"resume", run, "--lr", "0.5"}), 2, "learning_rate");
    EXPECT_EQ(lockstep_here({"verify", run}).exit_code, 0);
}

// A start that is refused, for whatever reason, leaves nothing that stops the corrected one.
TEST(BadInputTest, ARefusedStartLeavesNoRun) {
    const SmallWorld& world = SmallWorld::get();
    const std::string run = world.fresh("run");
    expect_refused(lockstep_here(train_arguments(run, 2, {"--gemm", "foo"})), 2, "foo");
    expect_refused(lockstep_here(train_arguments(run, 2, {"--keep", "1"})), 2, "--keep");
    expect_refused(lockstep_here(train_arguments(run, 2, {"--schedule-steps", "0"})), 2, "--schedule-steps");
    expect_refused(lockstep_here(train_arguments(run, 2, {"--seed", "7"})), 2, "--build-plan");
    EXPECT_EQ(lockstep_here(train_arguments(run, 2)).exit_code, 0);
    EXPECT_EQ(lockstep_here({"verify", run}).exit_code, 0);
    std::filesystem::remove(run + "/run.json");
    expect_refused(lockstep_here(train_arguments(run, 2)), 73, "without a run.json");
}

TEST(BadInputTest, NoValidGenerationIsAnErrorNotAFreshStart) {
    const std::string run = SmallWorld::get().fresh("run");
    ASSERT_EQ(lockstep_here(train_arguments(run, 2)).exit_code, 0);
    flip_byte(run + "/checkpoints/step-00000002/manifest.json", 30);
    expect_refused(lockstep_here({"resume", run, "--steps", "4"}), 65, "none of the 1 committed generations");
    flip_byte(run + "/checkpoints/step-00000002/manifest.json", 30);
    EXPECT_EQ(lockstep_here({"verify", run}).exit_code, 0) << "nothing was moved or lost";
}

TEST(BadInputTest, CorporaAreMatchedByName) {
    const SmallWorld& world = SmallWorld::get();
    auto arguments = train_arguments(world.fresh("run"), 1);
    *std::find(arguments.begin(), arguments.end(), world.corpus()) = "foo=" + world.corpus();
    expect_refused(lockstep_here(arguments), 2, "no source 'foo'");
    *std::find(arguments.begin(), arguments.end(), "foo=" + world.corpus()) = "corpus=" + world.corpus();
    EXPECT_EQ(lockstep_here(arguments).exit_code, 0);
}

TEST(BadInputTest, UnknownOptionsGetASuggestion) {
    expect_refused(lockstep_here({"train", "--chekpoint-every", "5", "-o", "x"}), 2,
                   "did you mean '--checkpoint-every'");
    expect_refused(lockstep_here({"batchplan", "biuld"}), 2, "did you mean 'build'");
    expect_refused(lockstep_here({"inget"}), 2, "did you mean 'ingest'");
    expect_refused(lockstep_here({"train", "-m", "nanno", "-p", SmallWorld::get().plan(), "-d",
                                  SmallWorld::get().corpus(), "-o", SmallWorld::get().fresh("r")}),
                   66, "nano");
}

TEST(BadInputTest, RankZerosFailureReachesEveryRank) {
    const SmallWorld& world = SmallWorld::get();
    expect_refused(run_lockstep_program(3, {"train", "-p", "/nonexistent", "-d", world.corpus(), "-m", "nano",
                                            "-o", world.fresh("r")}),
                   66, "/nonexistent");
}

TEST(BadInputTest, TwoRunsOnOneDirectory) {
    const std::string run = SmallWorld::get().fresh("run");
    ASSERT_EQ(lockstep_here(train_arguments(run, 2)).exit_code, 0);
    // The shell holds the kernel lock while the second one tries.
    const auto result = run_program({"flock", run + "/LOCK", LOCKSTEP_BINARY, "resume", run, "--steps", "4"});
    expect_refused(result, 78, "is in use");
}

TEST(BadInputTest, AFullDiskEndsWith74AndKeepsTheGenerationBefore) {
    const SmallWorld& world = SmallWorld::get();
    const std::string disk = world.fresh("disk");
    std::filesystem::create_directories(disk);
    // nano's state takes 1.8 MB a generation: two fit, with their temporaries, a third does not.
    ASSERT_EQ(mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=4500k"), 0) << "this test needs to be root";
    const std::string run = disk + "/run";
    auto arguments = train_arguments(run, 20);
    arguments.insert(arguments.end(), {"--keep", "100"});
    const auto result = run_lockstep_program(2, arguments);
    expect_refused(result, 74, "No space left");
    const auto list = lockstep_here({"checkpoint", "list", run, "--json"});
    EXPECT_NE(list.out.find("\"valid\":true"), std::string::npos) << list.out;
    // With room again the run goes on to the same bits.
    ASSERT_EQ(mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=100m"), 0);
    const auto resumed = lockstep_here({"resume", run, "--steps", "20", "--quiet"});
    EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(20));
    umount2(disk.c_str(), MNT_DETACH);
}

TEST(BadInputTest, AReadOnlyRunDirectory) {
    const SmallWorld& world = SmallWorld::get();
    const std::string disk = world.fresh("disk");
    std::filesystem::create_directories(disk);
    ASSERT_EQ(mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=100m"), 0) << "this test needs to be root";
    const std::string run = disk + "/run";
    ASSERT_EQ(lockstep_here(train_arguments(run, 2)).exit_code, 0);
    ASSERT_EQ(mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, ""), 0);
    expect_refused(lockstep_here({"resume", run, "--steps", "4"}), 74, run);
    expect_refused(lockstep_here(train_arguments(disk + "/other", 2)), 74, disk);
    EXPECT_EQ(lockstep_here({"verify", run}).exit_code, 0) << "proving needs no writing";
    umount2(disk.c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace lockstep::test
