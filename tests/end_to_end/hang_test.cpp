// P5: it never hangs silently. A rank that is stopped in the middle of a step is named, with where it was,
// and the job ends with code 76; what was committed goes on to the same bits.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "io/run/heartbeat.h"
#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

constexpr int steps = 20;

double seconds_since_made(const std::string& link) {
    struct stat status {};
    EXPECT_EQ(lstat(link.c_str(), &status), 0);
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<double>(now.tv_sec - status.st_mtim.tv_sec) +
           static_cast<double>(now.tv_nsec - status.st_mtim.tv_nsec) / 1e9;
}

TEST(HangTest, AStoppedRankIsNamedWithHostStepPhaseAndPack) {
    const std::string run = SmallWorld::get().fresh("frozen");
    const std::string once = run + "-once";
    const auto frozen =
        run_hooked_program(3, train_arguments(run, steps, {"--hang-timeout", "2"}),
                           {{"LOCKSTEP_TEST_FREEZE", "2:pack:13"}, {"LOCKSTEP_TEST_ONCE", once}});
    // The link was made at the rank's last progress.
    EXPECT_LE(seconds_since_made(once), 2 + 3);
    EXPECT_EQ(frozen.exit_code, 76) << frozen.err;
    EXPECT_THAT(frozen.err, testing::ContainsRegex("step 13: [a-z_]+ was not complete after 2 s; "
                                                   "not heard from rank 2 on host [^ ]+, last in step 13, "
                                                   "forward, pack [0-9]+"));
    const auto resumed =
        run_lockstep_program(2, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

// It is alive and its heartbeat goes on; only its progress does not.
TEST(HangTest, ARankThatLoopsIsNamedWithStepAndPhase) {
    const std::string run = SmallWorld::get().fresh("looping");
    const auto looping = run_hooked_program(3, train_arguments(run, steps, {"--hang-timeout", "2"}),
                                            {{"LOCKSTEP_TEST_LINGER", "1:update:8"}});
    EXPECT_EQ(looping.exit_code, 76) << looping.err;
    EXPECT_THAT(looping.err, testing::ContainsRegex("not complete after 2 s; not heard from rank 1 on host "
                                                    "[^ ]+, last in step 8, update"));
    const auto resumed =
        run_lockstep_program(2, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

// Nobody waits for it but its own watch.
TEST(HangTest, ALoopInAWorldOfOneIsNamedToo) {
    const auto looping = run_hooked_program(
        0, train_arguments(SmallWorld::get().fresh("looping"), steps, {"--hang-timeout", "2"}),
        {{"LOCKSTEP_TEST_LINGER", "0:update:8"}});
    EXPECT_EQ(looping.exit_code, 76) << looping.err;
    EXPECT_THAT(looping.err,
                testing::ContainsRegex("rank 0 on host [^ ]+, last in step 8, update: no progress "
                                       "within --hang-timeout"));
}

/// A plan folder of which a file never ends: whoever reads it waits for a writer that does not come.
std::string plan_that_hangs() {
    const std::string plan = SmallWorld::get().fresh("plan");
    std::filesystem::copy(SmallWorld::get().plan(), plan, std::filesystem::copy_options::recursive);
    std::filesystem::remove(plan + "/fingerprints.json");
    EXPECT_EQ(mkfifo((plan + "/fingerprints.json").c_str(), 0666), 0);
    return plan;
}

// No collective has a deadline for a rank that is alone, and the heartbeats have not begun.
TEST(HangTest, AStartThatNeverEndsIsEndedAndItsPhaseNamed) {
    auto arguments = train_arguments(SmallWorld::get().fresh("r"), steps, {"--hang-timeout", "1"});
    *std::find(arguments.begin(), arguments.end(), SmallWorld::get().plan()) = plan_that_hangs();
    for (const int ranks : {0, 1}) {
        // A supervisor sees it too, though the run is not there yet.
        const std::string start_file = SmallWorld::get().fresh("starting.json");
        const auto hanging = run_lockstep_program(ranks, arguments, {{start_heartbeat_variable, start_file}});
        EXPECT_EQ(hanging.exit_code, 76) << hanging.err;
        const auto beat = read_heartbeat_file(start_file, Rank{0});
        EXPECT_EQ(beat ? beat->phase : "none was written", "loading the plan");
        EXPECT_THAT(hanging.err, testing::ContainsRegex("rank 0 on host [^ ]+, last in loading the plan: "
                                                        "no progress within --hang-timeout"));
    }
}

TEST(HangTest, ARankThatNeverJoinsEndsTheJob) {
    std::vector<std::string> command = {"mpirun",
                                        "--oversubscribe",
                                        "--bind-to",
                                        "none",
                                        "-n",
                                        "2",
                                        "sh",
                                        "-c",
                                        "[ $OMPI_COMM_WORLD_RANK = 1 ] && exec sleep 600; exec \"$0\" \"$@\"",
                                        LOCKSTEP_BINARY};
    for (const std::string& word :
         train_arguments(SmallWorld::get().fresh("r"), steps, {"--hang-timeout", "1"})) {
        command.push_back(word);
    }
    const auto lonely =
        run_program(command, {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}});
    EXPECT_EQ(lonely.exit_code, 76) << lonely.err;
    EXPECT_THAT(lonely.err, testing::ContainsRegex("rank 0 on host [^ ]+, last in joining the other ranks: "
                                                   "no progress within --hang-timeout"));
}

TEST(ContinueTest, TheSameTrainCommandStartsAndContinuesARun) {
    const std::string run = SmallWorld::get().fresh("continued");
    // Steps that wait for generation 6: else step 9 may be there first.
    const auto first =
        run_hooked_program(2, train_arguments(run, steps, {"--continue", "--sync-checkpoints"}),
                           {{"LOCKSTEP_TEST_KILL", "1:update:9"}});
    ASSERT_EQ(first.exit_code, 137) << first.err;
    const auto second = run_lockstep_program(3, train_arguments(run, steps, {"--continue"}));
    ASSERT_EQ(second.exit_code, 0) << second.err;
    EXPECT_THAT(second.err, testing::HasSubstr("steps 6 to 20"));
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    const auto third = run_lockstep_program(0, train_arguments(run, steps, {"--continue"}));
    EXPECT_EQ(third.exit_code, 0) << third.err;
    EXPECT_THAT(third.out, testing::HasSubstr("finished"));
}

TEST(ContinueTest, OtherSettingsAreRefusedAsInResume) {
    const std::string run = SmallWorld::get().fresh("other");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 2)).exit_code, 0);
    const auto other = run_lockstep_program(0, train_arguments(run, 4, {"--continue", "--lr", "0.5"}));
    EXPECT_EQ(other.exit_code, 2) << other.err;
    EXPECT_THAT(other.err, testing::HasSubstr("a run keeps its settings"));
}

}  // namespace
}  // namespace lockstep::test
