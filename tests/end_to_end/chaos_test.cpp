// `chaos --power` and `--corrupt`, as a user starts them.

#include <gtest/gtest.h>

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

#ifdef LOCKSTEP_TEST_POWER
std::string number_from(const char* variable, const char* otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr ? text : otherwise;
}

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
}

}  // namespace
}  // namespace lockstep::test
