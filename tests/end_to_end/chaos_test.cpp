// `chaos --power`, `--syscalls` and `--corrupt`, as a user starts them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

std::vector<std::string> chaos(const std::string& what, const std::string& count, const std::string& folder,
                               const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"chaos", what, count, "--seed", "1", "--json", "-o", folder, "--"};
    arguments.insert(arguments.end(), command.begin(), command.end());
    return arguments;
}

#if defined(LOCKSTEP_TEST_POWER) || defined(LOCKSTEP_TEST_SYSCALLS)
std::string number_from(const char* variable, const char* otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr ? text : otherwise;
}
#endif

#ifdef LOCKSTEP_TEST_SYSCALLS
std::vector<std::string> on_two_ranks(const std::string& binary, std::vector<std::string> command) {
    command.insert(command.begin(), {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2", binary});
    return command;
}

// LOCKSTEP_SYSCALL_FAULTS=100000000 is the long form: every fault there can be.
TEST(ChaosTest, FailingSystemCallsOfASaveLoseNothing) {
    const std::string faults = number_from("LOCKSTEP_SYSCALL_FAULTS", "12");
    const auto command = on_two_ranks(LOCKSTEP_BINARY, train_arguments("x", 4, {"--checkpoint-every", "2"}));
    const auto result =
        run_lockstep_program(0, chaos("--syscalls", faults, SmallWorld::get().fresh("syscalls"), command));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto object = nlohmann::json::parse(result.out, nullptr, false);
    ASSERT_TRUE(object.is_object()) << result.out;
    EXPECT_TRUE(object["failures"].empty()) << result.out;
    EXPECT_GT(object["possible"], 200) << "two ranks, two generations, some six faults a call";
    EXPECT_EQ(object["faults"], std::min<std::uint64_t>(std::stoull(faults), object["possible"]));
    EXPECT_GE(object["outcomes"].size(), 3U) << "continued, refused and killed at least: " << result.out;
    EXPECT_EQ(object["state_digest"], undisturbed_bits(4).state_digest);
}

// A worker that changes a token on purpose makes it a failure; verify sees it.
TEST(ChaosTest, AFailureSaysTheCommandThatMakesItsFaultAgain) {
    const std::string folder = SmallWorld::get().fresh("failing");
    auto arguments =
        chaos("--syscalls", "1", folder, on_two_ranks(LOCKSTEP_HOOKED_BINARY, train_arguments("x", 4)));
    arguments[4] = "7";
    const auto result = run_lockstep_program(0, arguments, {{"LOCKSTEP_TEST_MUTATION", "change-token"}});
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_THAT(result.err, testing::HasSubstr("lockstep chaos --syscalls 1 --seed 7 -o " + folder +
                                               "-again -- mpirun --oversubscribe "));
    EXPECT_TRUE(std::filesystem::exists(folder + "/seed-7/run.json")) << "what failed stays";
}
#endif

#ifdef LOCKSTEP_TEST_POWER
// LOCKSTEP_POWER_CUTS=200 is the long form.
TEST(ChaosTest, NothingDurableIsLostWithThePower) {
    const std::string folder = SmallWorld::get().fresh("power");
    const std::string cuts = number_from("LOCKSTEP_POWER_CUTS", "20");
    const auto result = run_lockstep_program(
        0, chaos("--power", cuts, folder, train_arguments("x", 12, {"--checkpoint-every", "2"})));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto object = nlohmann::json::parse(result.out, nullptr, false);
    ASSERT_TRUE(object.is_object()) << result.out;
    EXPECT_EQ(object["power_cuts"], std::stoull(cuts));
    EXPECT_TRUE(object["failures"].empty()) << result.out;
}

// Of a run, its record is copied onto a disk that may lose its power before the first generation.
TEST(ChaosTest, ACopyOfARunLosesNothingWithThePower) {
    const std::string run = SmallWorld::get().fresh("run");
    ASSERT_EQ(run_lockstep_program(2, train_arguments(run, 12, {"--checkpoint-every", "2"})).exit_code, 0);
    const auto result =
        run_lockstep_program(0, chaos("--power", "6", SmallWorld::get().fresh("power"), {run}));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto object = nlohmann::json::parse(result.out, nullptr, false);
    ASSERT_TRUE(object.is_object()) << result.out;
    EXPECT_TRUE(object["failures"].empty()) << result.out;
    EXPECT_EQ(object["state_digest"], bits_of(run).state_digest);
}
#endif

TEST(ChaosTest, DamageToACopyOfARunIsSeen) {
    const SmallWorld& world = SmallWorld::get();
    const std::string run = world.fresh("run");
    ASSERT_EQ(run_lockstep_program(2, train_arguments(run, 4, {"--checkpoint-every", "2"})).exit_code, 0);
    const RunBits before = bits_of(run);
    const auto result = run_lockstep_program(0, chaos("--corrupt", "60", world.fresh("corrupt"), {run}));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    const auto object = nlohmann::json::parse(result.out, nullptr, false);
    ASSERT_TRUE(object.is_object()) << result.out;
    EXPECT_TRUE(object["failures"].empty()) << result.out;
    EXPECT_GT(object["outcomes"].value("refused", 0), 10) << result.out;
    EXPECT_EQ(bits_of(run), before) << "the originals are only read";
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 0);
}

TEST(ChaosTest, TheLargestSeedsAreSeedsToo) {
    const SmallWorld& world = SmallWorld::get();
    const std::string run = world.fresh("run");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 4, {"--checkpoint-every", "2"})).exit_code, 0);
    const auto result = run_lockstep_program(0, {"chaos", "--corrupt", "3", "--seed", "18446744073709551614",
                                                 "--json", "-o", world.fresh("c"), "--", run});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    int cases = 0;
    const auto object = nlohmann::json::parse(result.out, nullptr, false);
    ASSERT_TRUE(object.is_object()) << result.out;
    for (const auto& count : object["outcomes"]) cases += count.get<int>();
    EXPECT_EQ(cases, 3) << result.out;
}

TEST(ChaosTest, RefusesWhatItCannotHarm) {
    const SmallWorld& world = SmallWorld::get();
    EXPECT_EQ(run_lockstep_program(0, chaos("--corrupt", "1", world.fresh("c"), {"/nonexistent"})).exit_code,
              66);
    EXPECT_EQ(
        run_lockstep_program(0, chaos("--corrupt", "1", world.fresh("c"), {"train", "-p", "x"})).exit_code,
        2);
    EXPECT_EQ(run_lockstep_program(0, chaos("--corrupt", "1", world.folder().string(), {"x"})).exit_code, 73);
    const std::string run = world.fresh("run");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 2)).exit_code, 0);
    EXPECT_EQ(run_lockstep_program(0, chaos("--corrupt", "1", run + "/copies", {run})).exit_code, 2);
    EXPECT_EQ(run_lockstep_program(0, chaos("--corrupt", "1", world.plan() + "/copies", {run})).exit_code, 2);
    EXPECT_FALSE(std::filesystem::exists(run + "/copies"));
    EXPECT_EQ(run_lockstep_program(0, chaos("--kills", "1", world.fresh("c"), {"sleep", "1"})).exit_code, 2);
    auto two_harms = chaos("--kills", "1", world.fresh("c"), {run});
    two_harms.insert(two_harms.begin() + 1, {"--syscalls", "1"});
    EXPECT_EQ(run_lockstep_program(0, two_harms).exit_code, 2);
}

}  // namespace
}  // namespace lockstep::test
