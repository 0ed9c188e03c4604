// `train --dry-run` says what a run would take, and leaves no trace.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

using nlohmann::json;

json dry_run(int ranks, std::vector<std::string> more = {}) {
    const std::string run = SmallWorld::get().fresh("dry");
    more.insert(more.end(), {"--dry-run", "--json"});
    const ProgramResult result = run_lockstep_program(ranks, train_arguments(run, 8, more));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_FALSE(std::filesystem::exists(run));
    return json::parse(result.out, nullptr, false);
}

TEST(DryRunTest, SaysMemoryByPurposeAndSpeed) {
    for (const int ranks : {0, 2}) {
        const json object = dry_run(ranks);
        ASSERT_TRUE(object.is_object());
        std::uint64_t sum = 0;
        for (const auto& [purpose, bytes] : object["memory_bytes"].items()) sum += bytes.get<std::uint64_t>();
        EXPECT_EQ(object["memory_total_bytes"], sum);
        EXPECT_GE(object["memory_bytes"]["weights"], 4 * object["parameters"].get<std::uint64_t>());
        for (const char* positive :
             {"tokens_per_step", "flop_per_step", "step_seconds", "tokens_per_second"}) {
            EXPECT_GT(object[positive].get<double>(), 0) << positive;
        }
        EXPECT_EQ(object["steps"], 8);
    }
}

TEST(DryRunTest, MoreRanksHoldLessOfTheMomentsEach) {
    EXPECT_LT(dry_run(2)["memory_bytes"]["optimizer moments"],
              dry_run(0)["memory_bytes"]["optimizer moments"]);
}

TEST(DryRunTest, RecomputingTakesLessForActivations) {
    EXPECT_LT(dry_run(0, {"--recompute"})["memory_bytes"]["activations"],
              dry_run(0)["memory_bytes"]["activations"]);
}

TEST(DryRunTest, DoesNotBuildAPlan) {
    const std::string run = SmallWorld::get().fresh("dry");
    const auto result = run_lockstep_program(0, train_arguments(run, 8, {"--dry-run", "--build-plan"}));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, ::testing::HasSubstr("--build-plan"));
    EXPECT_FALSE(std::filesystem::exists(run));
}

// What is announced is what is taken: the peak of a run, which adds what a checkpoint needs for a moment.
TEST(DryRunTest, ThePeakOfARunIsWhatWasAnnounced) {
    const std::string run = SmallWorld::get().fresh("run");
    const std::vector<std::string> model = {"-m", "small", "--gemm", "own", "--threads", "1"};
    const auto announced = dry_run(0, model)["memory_total_bytes"].get<double>();
    std::vector<std::string> more = model;
    more.push_back("--json");
    const ProgramResult result = run_lockstep_program(0, train_arguments(run, 2, more));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const double peak = json::parse(result.out)["peak_memory_bytes"].get<double>();
    EXPECT_LT(peak, 1.15 * announced + 64e6);
    EXPECT_GT(peak, 0.5 * announced);
}

}  // namespace
}  // namespace lockstep::test
