// Self-healing: what dies or hangs under `lockstep run` is started again and ends in the bits of the run that
// was left alone; what is wrong, or asked to stop, is not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

constexpr int steps = 20;

std::vector<std::string> supervised(int ranks, const std::vector<std::string>& options,
                                    const std::vector<std::string>& train) {
    std::vector<std::string> all = {"run"};
    all.insert(all.end(), options.begin(), options.end());
    all.push_back("--");
    if (ranks > 0) {
        all.insert(all.end(),
                   {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", std::to_string(ranks)});
    }
    all.emplace_back(LOCKSTEP_HOOKED_BINARY);
    all.insert(all.end(), train.begin(), train.end());
    return all;
}

nlohmann::json report_of(const std::string& run) {
    std::ifstream file(run + "/supervisor.json");
    return nlohmann::json::parse(file, nullptr, false);
}

/// Processes that have the run's folder on their command line.
std::string survivors(const std::string& run) {
    std::string found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        std::ostringstream line;
        line << std::ifstream(entry.path() / "cmdline").rdbuf();
        if (line.str().find(run) != std::string::npos) found += entry.path().string() + " ";
    }
    return found;
}

TEST(SupervisorTest, AKilledRankIsRestartedAndTheBitsAreTheSame) {
    const std::string run = SmallWorld::get().fresh("healed");
    const auto result =
        run_lockstep_program(0, supervised(3, {}, train_arguments(run, steps)),
                             {{"LOCKSTEP_TEST_KILL", "1:update:9"}, {"LOCKSTEP_TEST_ONCE", run + "-once"}});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    const auto report = report_of(run);
    ASSERT_TRUE(report.is_object());
    EXPECT_EQ(report["restarts"], 1);
    EXPECT_EQ(report["attempts"][0]["exit_code"], 137);
    EXPECT_GT(report["effective_share"], 0);
    EXPECT_THAT(result.out, testing::HasSubstr("effective training time"));
}

TEST(SupervisorTest, AFrozenRankIsNamedAndTheRunGoesOn) {
    const std::string run = SmallWorld::get().fresh("thawed");
    const auto result = run_lockstep_program(
        0, supervised(2, {"--hang-timeout", "2"}, train_arguments(run, steps)),
        {{"LOCKSTEP_TEST_FREEZE", "1:exchange:8"}, {"LOCKSTEP_TEST_ONCE", run + "-once"}});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, testing::HasSubstr("not heard from rank 1 on host "));
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    EXPECT_EQ(report_of(run)["restarts"], 1);
    EXPECT_EQ(survivors(run), "");
}

// Nobody but the supervisor can notice this one: the only process is stopped.
TEST(SupervisorTest, AFrozenWorldOfOneIsKilledAndStartedAgain) {
    const std::string run = SmallWorld::get().fresh("alone");
    const auto result = run_lockstep_program(
        0, supervised(0, {"--hang-timeout", "1"}, train_arguments(run, steps)),
        {{"LOCKSTEP_TEST_FREEZE", "0:exchange:8"}, {"LOCKSTEP_TEST_ONCE", run + "-once"}});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, testing::HasSubstr("no progress for 6 s (rank 0 on host "));
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    EXPECT_TRUE(report_of(run)["attempts"][0]["hung"]);
    EXPECT_EQ(survivors(run), "");
}

TEST(SupervisorTest, ACrashLoopEnds) {
    const std::string run = SmallWorld::get().fresh("looping");
    const auto result =
        run_lockstep_program(0, supervised(2, {"--back-off", "0"}, train_arguments(run, steps)),
                             {{"LOCKSTEP_TEST_KILL", "1:update:9"}});
    EXPECT_EQ(result.exit_code, 76) << result.err;
    EXPECT_THAT(result.err, testing::HasSubstr("in step 9 3 times in a row"));
    EXPECT_EQ(report_of(run)["attempts"].size(), 3U);
}

TEST(SupervisorTest, AnErrorOfTheUserIsNotRestarted) {
    const std::string run = SmallWorld::get().fresh("wrong");
    const auto result =
        run_lockstep_program(0, supervised(2, {}, train_arguments(run, steps, {"-p", run + "-no-plan"})));
    EXPECT_TRUE(result.exit_code == 2 || result.exit_code == 66) << result.exit_code << result.err;
    EXPECT_THAT(result.err, testing::HasSubstr("a restart would not change"));
}

TEST(SupervisorTest, TermCommitsEndsWith75AndTheSameCommandContinues) {
    const std::string run = SmallWorld::get().fresh("preempted");
    std::vector<std::string> arguments = supervised(2, {}, train_arguments(run, 60));
    std::vector<std::string> script = {"sh",
                                       "-c",
                                       "run=$1; shift; \"$@\" & p=$!; "
                                       "until grep -qs '\"training\":true' \"$run/heartbeat.json\"; do sleep "
                                       "0.02; done; kill -TERM $p; wait $p",
                                       "sh",
                                       run,
                                       LOCKSTEP_BINARY};
    script.insert(script.end(), arguments.begin(), arguments.end());
    const Environment environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                                     {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                                     {"OMPI_MCA_mpi_yield_when_idle", "1"},
                                     {"ASAN_OPTIONS", "detect_leaks=0"}};
    const auto stopped = run_program(script, environment);
    ASSERT_EQ(stopped.exit_code, 75) << stopped.err;
    const auto again = run_lockstep_program(0, arguments);
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(60));
    EXPECT_EQ(survivors(run), "");
}

TEST(SupervisorTest, ACommandThatTrainsNothingIsRefused) {
    EXPECT_EQ(run_lockstep_program(0, {"run", "--", "sleep", "1"}).exit_code, 2);
    EXPECT_EQ(run_lockstep_program(0, {"run", "--hosts", "a;b", "--", "mpirun", "lockstep", "resume", "x"})
                  .exit_code,
              2);
    EXPECT_EQ(run_lockstep_program(0, {"run", "--", "no-such-program", "lockstep", "resume", "x"}).exit_code,
              2);
}

// LOCKSTEP_CHAOS_KILLS makes it longer.
TEST(ChaosTest, RandomKillsLoseNothing) {
    const char* asked = std::getenv("LOCKSTEP_CHAOS_KILLS");
    const std::string kills = asked != nullptr ? asked : "20";
    const std::string folder = SmallWorld::get().fresh("chaos");
    std::vector<std::string> arguments = {"chaos", "--kills", kills,    "--seed", "1",
                                          "-o",    folder,    "--json", "--"};
    for (const std::string& word : train_arguments(SmallWorld::get().fresh("unused"), steps)) {
        arguments.push_back(word);
    }
    const auto result = run_lockstep_program(0, arguments);
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
    const auto object = nlohmann::json::parse(result.out);
    EXPECT_GE(object["kills"], std::stoi(kills));
    EXPECT_EQ(object["failures"].size(), 0U);
    EXPECT_EQ(object["state_digest"], undisturbed_bits(steps).state_digest);
    EXPECT_EQ(survivors(folder), "");
}

}  // namespace
}  // namespace lockstep::test
