// P4: kill it anywhere. Twenty SIGKILLs, stratified over the phases of a step and the points of a save, each
// resumed with another world size, end in the bits of the run that never failed.

#include <gtest/gtest.h>

#include <cstdlib>

#include "io/base/philox.h"
#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

constexpr int steps = 20;

struct Kill {
    const char* phase;
    int at;  ///< Step of a phase of the loop; count of a point of the commit path.
};

// Saves happen after steps 6, 12, 18 and 20.
constexpr Kill kills[] = {
    {"forward", 0},
    {"forward", 7},
    {"forward", 19},
    {"exchange", 3},
    {"exchange", 12},
    {"update", 5},
    {"all-gather", 2},
    {"all-gather", 13},
    {"save", 6},
    {"shard:before-write", 0},
    {"shard:before-write", 2},
    {"shard:written", 1},
    {"shard:renamed", 0},
    {"shard:published", 2},
    {"ledger:written", 1},
    {"ledger:renamed", 0},
    {"manifest:before-write", 1},
    {"manifest:written", 0},
    {"manifest:renamed", 1},
    {"manifest:published", 2},
};

/// Points that only rank 0 passes.
bool only_root(const std::string& phase) {
    return phase.starts_with("ledger:") || phase.starts_with("manifest:");
}

class KillTest : public testing::TestWithParam<std::size_t> {};

TEST_P(KillTest, ResumedWithAnyWorldSizeEndsInTheSameBits) {
    const Kill& kill = kills[GetParam()];
    const Philox random(11, "kill-test", GetParam());
    const int ranks = 2 + static_cast<int>(random.below(0, 3));
    const int victim =
        only_root(kill.phase) ? 0 : static_cast<int>(random.below(1, static_cast<std::uint64_t>(ranks)));
    const std::string run = SmallWorld::get().fresh("killed");
    const std::string spec = std::to_string(victim) + ":" + kill.phase + ":" + std::to_string(kill.at);
    SCOPED_TRACE(spec + " of " + std::to_string(ranks) + " ranks");

    const auto killed =
        run_hooked_program(ranks, train_arguments(run, steps), {{"LOCKSTEP_TEST_KILL", spec}});
    ASSERT_EQ(killed.exit_code, 137) << "the kill must have happened: " << killed.err;

    const int others = static_cast<int>(random.below(2, 5));  // 0: without mpirun.
    const auto resumed =
        run_lockstep_program(others, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    const auto verify = run_lockstep_program(0, {"verify", run});
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

INSTANTIATE_TEST_SUITE_P(Stratified, KillTest, testing::Range(std::size_t{0}, std::size(kills)));

// One run killed again and again, at random places and world sizes. LOCKSTEP_KILLS (6) and LOCKSTEP_KILL_SEED
// (1) make it longer, or another one.
TEST(ManyKillsTest, ARunKilledAgainAndAgainEndsInTheSameBits) {
    const auto number = [](const char* variable, std::uint64_t otherwise) {
        const char* text = std::getenv(variable);
        return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
    };
    const std::uint64_t seed = number("LOCKSTEP_KILL_SEED", 1);
    const Philox random(seed, "many-kills");
    std::uint64_t draw = 0;
    std::string run;
    std::uint64_t killed = 0;
    const std::uint64_t wanted = number("LOCKSTEP_KILLS", 6);
    for (std::uint64_t trial = 0; killed < wanted && trial < 10 * wanted; ++trial) {
        const Kill& kill = kills[random.below(draw++, std::size(kills))];
        const int ranks = 1 + static_cast<int>(random.below(draw++, 4));
        const bool first = run.empty();
        const int victim = only_root(kill.phase)
                               ? 0
                               : static_cast<int>(random.below(draw++, static_cast<std::uint64_t>(ranks)));
        const std::string spec = std::to_string(victim) + ":" + kill.phase + ":" + std::to_string(kill.at);
        SCOPED_TRACE("LOCKSTEP_KILL_SEED=" + std::to_string(seed) + ", trial " + std::to_string(trial) +
                     ": " + spec + " of " + std::to_string(ranks) + " ranks");
        if (first) run = SmallWorld::get().fresh("killed-often");
        // A run killed before its first generation is resumed like any other.
        const auto result = run_hooked_program(
            ranks,
            first ? train_arguments(run, steps)
                  : std::vector<std::string>{"resume", run, "--steps", std::to_string(steps), "--quiet"},
            {{"LOCKSTEP_TEST_KILL", spec}});
        if (result.exit_code == 137) {
            ++killed;
            continue;
        }
        ASSERT_EQ(result.exit_code, 0) << result.err;  // The place of the kill is behind it.
        EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
        run.clear();
    }
    EXPECT_EQ(killed, wanted);
    if (run.empty()) return;
    ASSERT_EQ(run_lockstep_program(2, {"resume", run, "--steps", std::to_string(steps), "--quiet"}).exit_code,
              0);
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    const auto verify = run_lockstep_program(0, {"verify", run});
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
}

TEST(StopTest, Usr1CommitsAndExits75) {
    const std::string run = SmallWorld::get().fresh("stopped");
    // Rank 1 is killed softly at step 4: all ranks must agree, commit and stop.
    const auto stopped = run_hooked_program(2, train_arguments(run, steps), {{"LOCKSTEP_TEST_STOP", "1:4"}});
    ASSERT_EQ(stopped.exit_code, 75) << stopped.err;
    const auto resumed =
        run_lockstep_program(3, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

// It asks, and is waited for without end; another one, more than two seconds later, does not ask.
TEST(StopTest, ASecondSignalEndsARankAtOnce) {
    const std::string run = SmallWorld::get().fresh("impatient");
    std::vector<std::string> command = train_arguments(run, steps);
    command.insert(command.begin(), LOCKSTEP_HOOKED_BINARY);
    const auto stopped =
        run_meanwhile("soon 'test -L $run-once'; kill -USR1 $p; sleep 2.3; kill -USR1 $p", run, command,
                      {{"LOCKSTEP_TEST_LINGER", "0:update:8"}, {"LOCKSTEP_TEST_ONCE", run + "-once"}});
    EXPECT_EQ(stopped.exit_code, 75) << stopped.err;
    const auto resumed =
        run_lockstep_program(2, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

TEST(StopTest, TermToABareMpirunLeavesTheGenerationBefore) {
    const std::string run = SmallWorld::get().fresh("terminated");
    std::vector<std::string> command = train_arguments(run, 60);
    command.insert(command.begin(),
                   {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2", LOCKSTEP_BINARY});
    const std::string first = run + "/checkpoints/step-00000006/manifest.json";
    const auto stopped = run_meanwhile("soon 'test -e " + first + "'; kill -TERM $p", run, command);
    EXPECT_NE(stopped.exit_code, 0) << stopped.err;
    EXPECT_EQ(run_lockstep_program(0, {"verify", run}).exit_code, 0);
    const auto resumed = run_lockstep_program(3, {"resume", run, "--steps", "60", "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(60));
}

TEST(ResumeTest, ARunHeldForAMomentIsWaitedFor) {
    const std::string run = SmallWorld::get().fresh("held");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 6)).exit_code, 0);
    const auto resumed = run_program(
        {"sh", "-c", "flock $1/LOCK sleep 2 & sleep 0.3; \"$0\" resume $1 --steps 8", LOCKSTEP_BINARY, run});
    EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
}

TEST(ResumeTest, AFinishedRunStaysAsItIs) {
    const std::string run = SmallWorld::get().fresh("finished");
    ASSERT_EQ(run_lockstep_program(2, train_arguments(run, steps)).exit_code, 0);
    const RunBits before = bits_of(run);
    const auto again = run_lockstep_program(3, {"resume", run, "--steps", std::to_string(steps)});
    EXPECT_EQ(again.exit_code, 0) << again.err;
    EXPECT_NE(again.out.find("finished"), std::string::npos) << again.out;
    EXPECT_EQ(bits_of(run), before);
}

TEST(ResumeTest, ADamagedGenerationFallsBackToTheOneBefore) {
    const std::string run = SmallWorld::get().fresh("damaged");
    ASSERT_EQ(run_lockstep_program(2, train_arguments(run, steps)).exit_code, 0);
    const std::string shard = run + "/checkpoints/step-00000020/shard-00001-of-00002.h5";
    ASSERT_EQ(
        run_program({"sh", "-c", "printf X | dd of='" + shard + "' bs=1 seek=5000 conv=notrunc"}).exit_code,
        0);
    const auto resumed =
        run_lockstep_program(1, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_NE(resumed.err.find("falling back to generation 18"), std::string::npos) << resumed.err;
    EXPECT_EQ(resumed.err.find("shard-00001-of-00002.h5"), resumed.err.rfind("shard-00001-of-00002.h5"))
        << "one line says all";
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

}  // namespace
}  // namespace lockstep::test
