// Self-healing: what dies or hangs under `lockstep run` is started again and ends in the bits of the run that
// was left alone; what is wrong, or asked to stop, is not.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "io/files/folder_lock.h"
#include "launch/supervisor/local_job.h"
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

std::vector<std::string> program(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), LOCKSTEP_BINARY);
    return arguments;
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

// It would remove the heartbeats by which the first one judges its job.
TEST(SupervisorTest, ARunHasOneSupervisor) {
    const std::string run = SmallWorld::get().fresh("twice");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 6)).exit_code, 0);
    const FolderLock other(run, {}, supervisor_lock_name);
    const auto before = bits_of(run);
    const auto result = run_lockstep_program(0, supervised(0, {}, train_arguments(run, steps)));
    EXPECT_EQ(result.exit_code, 78) << result.err;
    EXPECT_THAT(result.err, testing::HasSubstr("one supervisor: '" + run + "' is in use by pid "));
    EXPECT_EQ(bits_of(run), before);
}

// The job waits for whoever still has the run; then what it does is seen, not what the other one left.
TEST(SupervisorTest, AJobThatWaitedForTheRunIsWatchedFromThenOn) {
    const std::string run = SmallWorld::get().fresh("waited");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 6)).exit_code, 0);
    auto lock = std::make_unique<FolderLock>(run);
    std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::seconds(2));
        lock.reset();
    });
    const auto result = run_lockstep_program(0, supervised(2, {}, train_arguments(run, steps)));
    other.join();
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto report = report_of(run);
    ASSERT_EQ(report["attempts"].size(), 1U);
    EXPECT_TRUE(report["attempts"][0]["trained"].is_number()) << report.dump(2);
    EXPECT_GT(report["attempts"][0]["last_step"], 6);
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

// What the job prints is for people then.
TEST(SupervisorTest, JsonIsOneObject) {
    const std::string run = SmallWorld::get().fresh("json");
    const auto result = run_lockstep_program(0, supervised(0, {"--json"}, train_arguments(run, 6)));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto object = nlohmann::json::parse(result.out, nullptr, false);
    ASSERT_TRUE(object.is_object()) << result.out;
    EXPECT_EQ(object["exit_code"], 0);
    EXPECT_GT(object["productive_seconds"], 0);
    // Nothing is trained any more: no step of the first start counts for the second.
    const auto again = run_lockstep_program(0, supervised(0, {"--json"}, train_arguments(run, 6)));
    EXPECT_EQ(nlohmann::json::parse(again.out, nullptr, false)["productive_seconds"], 0) << again.out;
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

// Its bytes are sound, so nobody but the supervisor can find that no process survives it.
TEST(SupervisorTest, AGenerationThatEveryStartDiesOfIsQuarantined) {
    const std::string run = SmallWorld::get().fresh("poisoned");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 12)).exit_code, 0);
    const auto result = run_lockstep_program(
        0, supervised(2, {"--back-off", "0"}, {"resume", run, "--steps", std::to_string(steps), "--quiet"}),
        {{"LOCKSTEP_TEST_CRASH", "1:load:12"}});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const std::string aside = run + "/abandoned/quarantined-step-00000012";
    EXPECT_THAT(result.err, testing::HasSubstr("3 times in a row, always on generation 12; it is moved to '" +
                                               aside + "', the one before is used"));
    EXPECT_TRUE(std::filesystem::exists(aside + "/manifest.json"));
    const auto report = report_of(run);
    ASSERT_TRUE(report.is_object());
    std::vector<int> codes;
    for (const auto& attempt : report["attempts"]) codes.push_back(attempt["exit_code"]);
    EXPECT_THAT(codes, testing::ElementsAre(139, 139, 139, 0));
    EXPECT_EQ(report["quarantined"], nlohmann::json::array({aside}));
    EXPECT_THAT(result.err, testing::HasSubstr("steps 6 to 20"));
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 0);
}

TEST(SupervisorTest, AnErrorOfTheUserIsNotRestarted) {
    const std::string run = SmallWorld::get().fresh("wrong");
    const auto result =
        run_lockstep_program(0, supervised(2, {}, train_arguments(run, steps, {"-p", run + "-no-plan"})));
    EXPECT_TRUE(result.exit_code == 2 || result.exit_code == 66) << result.exit_code << result.err;
    EXPECT_THAT(result.err, testing::HasSubstr("a restart would not change"));
}

class StopSignalTest : public testing::TestWithParam<const char*> {};

TEST_P(StopSignalTest, CommitsEndsWith75AndTheSameCommandContinues) {
    const std::string run = SmallWorld::get().fresh("preempted");
    const std::vector<std::string> arguments = supervised(2, {}, train_arguments(run, 60));
    const auto stopped =
        run_meanwhile(std::string(soon_training) + "kill -" + GetParam() + " $p", run, program(arguments));
    ASSERT_EQ(stopped.exit_code, 75) << stopped.err;
    const auto again = run_lockstep_program(0, arguments);
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(60));
    EXPECT_EQ(survivors(run), "");
}

INSTANTIATE_TEST_SUITE_P(All, StopSignalTest, testing::Values("TERM", "INT", "USR1"),
                         [](const auto& instance) { return std::string(instance.param); });

// The first asks and is waited for without end; more than two seconds later it is another.
TEST(SupervisorTest, ASecondSignalEndsItAtOnce) {
    const std::string run = SmallWorld::get().fresh("impatient");
    const std::vector<std::string> arguments = supervised(2, {}, train_arguments(run, steps));
    const auto stopped = run_meanwhile(
        "soon 'test -L $run-once'; sleep 0.3; kill -TERM $p; sleep 2.3; kill -TERM $p", run,
        program(arguments), {{"LOCKSTEP_TEST_LINGER", "0:update:8"}, {"LOCKSTEP_TEST_ONCE", run + "-once"}});
    EXPECT_EQ(stopped.exit_code, 75) << stopped.err;
    EXPECT_THAT(stopped.err, testing::HasSubstr("asked to stop again"));
    EXPECT_EQ(survivors(run), "");
    const auto again = run_lockstep_program(0, arguments);
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

// Its ranks end without it, or wait for it; nobody but the supervisor can tell.
TEST(SupervisorTest, AHangingMpirunIsKilledInTimeAndNothingIsLeft) {
    const std::string run = SmallWorld::get().fresh("hanging");
    const auto result =
        run_meanwhile(std::string(soon_training) + "read m rest < /proc/$p/task/$p/children; kill -STOP $m",
                      run, program(supervised(2, {"--hang-timeout", "2"}, train_arguments(run, 60))));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(survivors(run), "");
    EXPECT_EQ(bits_of(run), undisturbed_bits(60));
    const auto report = report_of(run);
    ASSERT_TRUE(report.is_object());
    const auto& hung = report["attempts"][0];
    EXPECT_TRUE(hung["hung"]) << report;
    EXPECT_EQ(report["restarts"], 1);
    const double standing_still = hung["ended"].get<double>() - hung["trained"].get<double>() -
                                  report["productive_seconds"].get<double>();
    EXPECT_LE(standing_still, 2 + 15) << report;
}

TEST(SupervisorTest, AKillInsideACommitIsHealedToo) {
    const std::string run = SmallWorld::get().fresh("torn");
    const auto result = run_lockstep_program(
        0, supervised(2, {"--back-off", "0"}, train_arguments(run, steps)),
        {{"LOCKSTEP_TEST_KILL", "1:shard:written:0"}, {"LOCKSTEP_TEST_ONCE", run + "-once"}});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    EXPECT_EQ(report_of(run)["restarts"], 1);
}

/// Shared memory and session folders that the run's record of leftovers names, as far as they are there.
std::vector<std::string> leftovers_of(const nlohmann::json& record) {
    std::vector<std::string> found;
    for (const auto& entry : record.value("left", nlohmann::json::array())) {
        if (std::filesystem::exists(entry[0].get<std::string>())) found.push_back(entry[0]);
    }
    return found;
}

TEST(SupervisorTest, WhatAKilledSupervisorLeftIsSweptByTheNextOne) {
    const std::string run = SmallWorld::get().fresh("orphaned");
    const std::vector<std::string> arguments = supervised(2, {}, train_arguments(run, steps));
    const auto killed = run_meanwhile(
        "soon 'test -L $run-once'; soon 'test -s $run/leftovers.json'; kill -KILL $p", run,
        program(arguments), {{"LOCKSTEP_TEST_LINGER", "0:update:8"}, {"LOCKSTEP_TEST_ONCE", run + "-once"}});
    EXPECT_EQ(killed.exit_code, 137) << killed.err;
    // Its ranks notice by themselves that mpirun is gone.
    for (int look = 0; look < 100 && !survivors(run).empty(); ++look) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    EXPECT_EQ(survivors(run), "");
    const auto record = nlohmann::json::parse(std::ifstream(run + "/leftovers.json"), nullptr, false);
    ASSERT_TRUE(record.is_object());
    ASSERT_THAT(leftovers_of(record), testing::Not(testing::IsEmpty()));
    const auto again = run_lockstep_program(0, arguments);
    ASSERT_EQ(again.exit_code, 0) << again.err;
    EXPECT_THAT(again.err, testing::HasSubstr("that a supervisor left when it was killed"));
    EXPECT_THAT(leftovers_of(record), testing::IsEmpty());
    EXPECT_FALSE(std::filesystem::exists(run + "/leftovers.json"));
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

// The user's other job has the run for longer than a start waits for it.
TEST(SupervisorTest, ARunInUseIsARestartLater) {
    const std::string run = SmallWorld::get().fresh("taken");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 6)).exit_code, 0);
    const auto result = run_program({"sh", "-c", "flock $1/LOCK sleep 13 & shift; sleep 0.3; \"$@\"", "sh",
                                     run, LOCKSTEP_BINARY, "run", "--", LOCKSTEP_BINARY, "resume", run,
                                     "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, testing::HasSubstr("the run is in use by another process"));
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

TEST(SupervisorTest, ACommandThatTrainsNothingIsRefused) {
    EXPECT_EQ(run_lockstep_program(0, {"run", "--", "sleep", "1"}).exit_code, 2);
    EXPECT_EQ(run_lockstep_program(0, {"run", "--hosts", "a;b", "--", "mpirun", "lockstep", "resume", "x"})
                  .exit_code,
              2);
    EXPECT_EQ(run_lockstep_program(0, {"run", "--", "no-such-program", "lockstep", "resume", "x"}).exit_code,
              2);
    EXPECT_EQ(
        run_lockstep_program(0, {"run", "--hosts", "", "--", "mpirun", "lockstep", "resume", "x"}).exit_code,
        2);
    // A job script that the supervisor in it would refuse is not printed.
    EXPECT_EQ(run_lockstep_program(0, {"launch", "--print", "slurm", "--", "train", "-p", "plan"}).exit_code,
              2);
    EXPECT_EQ(run_lockstep_program(0, {"launch", "--print", "slurm", "--", "train", "-o", "run"}).exit_code,
              0);
}

// LOCKSTEP_CHAOS_KILLS makes it longer.
TEST(ChaosTest, RandomKillsLoseNothing) {
    const char* asked = std::getenv("LOCKSTEP_CHAOS_KILLS");
    const std::string kills = asked != nullptr ? asked : "100";
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

std::vector<std::string> chaos_kills(const std::string& folder, const std::vector<std::string>& options,
                                     const std::vector<std::string>& command) {
    std::vector<std::string> arguments = {"chaos", "-o", folder, "--json"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.emplace_back("--");
    arguments.insert(arguments.end(), command.begin(), command.end());
    return arguments;
}

TEST(ChaosTest, ACopyOfARunIsKilledFromItsFirstStep) {
    const std::string run = SmallWorld::get().fresh("model");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, steps)).exit_code, 0);
    const auto result =
        run_lockstep_program(0, chaos_kills(SmallWorld::get().fresh("copies"), {"--kills", "3"}, {run}));
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
    EXPECT_EQ(nlohmann::json::parse(result.out)["state_digest"], undisturbed_bits(steps).state_digest);
}

TEST(ChaosTest, ARequestToStopIsHeardInTheUndisturbedRunToo) {
    const std::string folder = SmallWorld::get().fresh("interrupted");
    const auto result = run_meanwhile(
        std::string(soon_training) + "kill -INT $p", folder + "/undisturbed",
        program(chaos_kills(folder, {"--kills", "5"}, train_arguments(SmallWorld::get().fresh("x"), 60))));
    EXPECT_EQ(result.exit_code, 75) << result.err;
    EXPECT_EQ(survivors(folder), "");
}

// A worker that changes a token on purpose makes every round a failure; verify sees it.
TEST(ChaosTest, AFailureSaysTheCommandThatMakesItsScheduleAgain) {
    const std::string folder = SmallWorld::get().fresh("failing");
    auto command = train_arguments(SmallWorld::get().fresh("x"), steps);
    command.insert(command.begin(),
                   {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", "1", LOCKSTEP_HOOKED_BINARY});
    const auto result = run_lockstep_program(
        0,
        chaos_kills(folder, {"--kills", "3", "--kills-per-run", "2", "--max-ranks", "3", "--seed", "7"},
                    command),
        {{"LOCKSTEP_TEST_MUTATION", "change-token"}});
    EXPECT_EQ(result.exit_code, 1) << result.err;
    const std::string line = "lockstep chaos --kills 2 --kills-per-run 2 --max-ranks 3 --seed 7 -o " +
                             folder + "-again -- mpirun --oversubscribe ";
    EXPECT_THAT(result.err, testing::HasSubstr(line));
}

}  // namespace
}  // namespace lockstep::test
