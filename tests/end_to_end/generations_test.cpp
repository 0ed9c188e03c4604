// When generations are made, which stay, and what a failure to write one does: the
// program as a user runs it.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

constexpr int steps = 20;

using nlohmann::json;

std::vector<std::uint64_t> generations_of(const std::string& run) {
    const auto list = run_lockstep_program(0, {"checkpoint", "list", run, "--json"});
    EXPECT_EQ(list.exit_code, 0) << list.err;
    std::vector<std::uint64_t> found;
    const json object = json::parse(list.out);
    for (const json& entry : object["generations"]) found.push_back(entry["step"]);
    return found;
}

TEST(GenerationsTest, WaitingForThemChangesNothingButTheTime) {
    const std::string run = SmallWorld::get().fresh("sync");
    const auto result = run_lockstep_program(2, train_arguments(run, steps, {"--sync-checkpoints"}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

TEST(GenerationsTest, EachLeavesALineOfWhatItCost) {
    const std::string run = SmallWorld::get().fresh("costs");
    const auto result = run_lockstep_program(2, train_arguments(run, steps, {"--json"}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(json::parse(result.out)["generations"], 4);
    std::vector<std::uint64_t> found;
    for (const std::string& line : lines_of(std::filesystem::path(run) / "generations.jsonl")) {
        const json cost = json::parse(line);
        found.push_back(cost["step"]);
        EXPECT_GT(cost["bytes"].get<std::uint64_t>(), 100000U);
        EXPECT_GE(cost["stall_seconds"].get<double>(), cost["copy_seconds"].get<double>());
        EXPECT_GE(cost["durable_seconds"].get<double>(), cost["write_seconds"].get<double>());
    }
    EXPECT_EQ(found, (std::vector<std::uint64_t>{6, 12, 18, 20}));
}

TEST(GenerationsTest, ByTimeTheBitsAreTheSame) {
    for (const char* every : {"0.02s", "auto", "auto:1s"}) {
        const std::string run = SmallWorld::get().fresh("by-time");
        const auto result =
            run_lockstep_program(2, train_arguments(run, steps, {"--checkpoint-every", every}));
        ASSERT_EQ(result.exit_code, 0) << result.err;
        EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
        EXPECT_EQ(json::parse(lines_of(std::filesystem::path(run) / "generations.jsonl").back())["step"],
                  steps);
        const auto verify = run_lockstep_program(0, {"verify", run});
        EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
        const auto again = run_lockstep_program(0, {"resume", run, "--steps", std::to_string(steps + 2)});
        EXPECT_EQ(again.exit_code, 0) << again.err;
    }
}

// The disk still writes generation 6 when the ranks are asked to stop: both are whole, in this order.
TEST(GenerationsTest, ACommitOnRequestDrainsTheOneInFlight) {
    const std::string run = SmallWorld::get().fresh("drained");
    const auto stopped =
        run_hooked_program(2, train_arguments(run, steps),
                           {{"LOCKSTEP_TEST_SLOW", "0:shard:written:0"}, {"LOCKSTEP_TEST_STOP", "1:7"}});
    ASSERT_EQ(stopped.exit_code, 75) << stopped.err;
    const std::vector<std::uint64_t> found = generations_of(run);
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0], 6U);
    EXPECT_GT(found[1], 6U);
    EXPECT_LT(found[1], 12U);
    const auto costs = lines_of(std::filesystem::path(run) / "generations.jsonl");
    ASSERT_EQ(costs.size(), 2U);
    EXPECT_EQ(json::parse(costs[0])["step"], 6);
    EXPECT_GE(json::parse(costs[0])["durable_seconds"].get<double>(), 1.0);
    EXPECT_EQ(json::parse(costs[1])["step"], found[1]);
    const auto verify = run_lockstep_program(0, {"verify", run});
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
    const auto resumed =
        run_lockstep_program(3, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

TEST(GenerationsTest, KeepEveryAndPrune) {
    const std::string run = SmallWorld::get().fresh("kept");
    const auto result = run_lockstep_program(
        0, train_arguments(run, steps, {"--checkpoint-every", "2", "--keep", "3", "--keep-every", "8"}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(generations_of(run), (std::vector<std::uint64_t>{8, 16, 18, 20}));
    const auto look =
        run_lockstep_program(0, {"checkpoint", "prune", run, "--keep", "2", "--dry-run", "--json"});
    EXPECT_EQ(look.exit_code, 0) << look.err;
    EXPECT_EQ(json::parse(look.out)["removed"], json::parse("[]")) << "16 is the first of its eight";
    const auto prune =
        run_lockstep_program(0, {"checkpoint", "prune", run, "--keep", "2", "--keep-every", "0", "--json"});
    EXPECT_EQ(prune.exit_code, 0) << prune.err;
    EXPECT_EQ(json::parse(prune.out)["removed"], json::parse("[8, 16]"));
    EXPECT_EQ(generations_of(run), (std::vector<std::uint64_t>{18, 20}));
    const auto verify = run_lockstep_program(0, {"verify", run});
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
    EXPECT_EQ(run_lockstep_program(0, {"checkpoint", "prune", run, "--keep", "1"}).exit_code, 2);
}

TEST(GenerationsTest, AnIntervalThatIsNoneIsRefused) {
    const auto result = run_lockstep_program(
        0, train_arguments(SmallWorld::get().fresh("refused"), steps, {"--checkpoint-every", "soon"}));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find("'soon'"), std::string::npos) << result.err;
}

TEST(GenerationsTest, ADiskFullBesideTheTrainingEndsAllRanksAlike) {
    for (const char* fail : {"1:shard:written:1", "0:manifest:before-write:1", "0:ledger:written:0"}) {
        const std::string run = SmallWorld::get().fresh("full");
        const auto result =
            run_hooked_program(3, train_arguments(run, steps), {{"LOCKSTEP_TEST_FAIL", fail}});
        EXPECT_EQ(result.exit_code, 74) << fail << ": " << result.err;
        EXPECT_NE(result.err.find("No space left on device"), std::string::npos) << result.err;
        EXPECT_NE(result.err.find(std::string("rank ") + fail[0]), std::string::npos) << result.err;
        const auto resumed =
            run_lockstep_program(2, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
        ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
        EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    }
}

}  // namespace
}  // namespace lockstep::test
