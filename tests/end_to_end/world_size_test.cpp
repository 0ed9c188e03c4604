// P2: the bits do not depend on the machine room.

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

constexpr int steps = 20;

TEST(WorldSizeTest, RanksAndThreadsDoNotChangeABit) {
    for (const int ranks : {0, 1, 2, 3, 4, 8}) {
        for (const char* threads : {"1", "2"}) {
            EXPECT_EQ(train_bits(ranks, steps, {"--threads", threads}), undisturbed_bits(steps))
                << ranks << " ranks, " << threads << " threads";
        }
    }
}

TEST(WorldSizeTest, BackendsAndInstructionSetsDoNotChangeABit) {
    EXPECT_EQ(train_bits(0, steps, {"--gemm", "own"}), undisturbed_bits(steps));
    EXPECT_EQ(train_bits(0, steps, {"--gemm", "reference"}), undisturbed_bits(steps));
    if (__builtin_cpu_supports("avx512f")) {
        EXPECT_EQ(train_bits(0, steps, {"--gemm", "openblas"}), undisturbed_bits(steps));
    }
    EXPECT_EQ(train_bits(2, steps, {}, {{"OPENBLAS_CORETYPE", "Haswell"}}), undisturbed_bits(steps));
    EXPECT_EQ(train_bits(0, steps, {}, {{"LOCKSTEP_ISA", "avx2"}}), undisturbed_bits(steps));
    EXPECT_EQ(train_bits(0, steps, {"--gemm", "reference"}, {{"LOCKSTEP_ISA", "scalar"}}),
              undisturbed_bits(steps));
}

TEST(WorldSizeTest, RecomputedActivationsDoNotChangeABit) {
    EXPECT_EQ(train_bits(0, steps, {"--recompute"}), undisturbed_bits(steps));
    EXPECT_EQ(train_bits(2, steps, {"--recompute", "--threads", "2"}), undisturbed_bits(steps));
}

TEST(WorldSizeTest, LlamaIsAsIndifferent) {
    const auto alone = train_bits(0, 6, {"-m", "llama-nano"});
    EXPECT_EQ(train_bits(3, 6, {"-m", "llama-nano"}), alone);
    EXPECT_EQ(train_bits(0, 6, {"-m", "llama-nano", "--gemm", "reference"}, {{"LOCKSTEP_ISA", "scalar"}}),
              alone);
}

// One constant for every compiler and preset: gcc and clang, dev and release must print it.
TEST(WorldSizeTest, TheStateIsTheGoldenOne) {
    std::ifstream file(std::string(LOCKSTEP_TEST_DATA) + "/golden_state_digest.txt");
    std::string golden;
    ASSERT_TRUE(file >> golden);
    EXPECT_EQ(undisturbed_bits(steps).state_digest, golden)
        << "the state after " << steps
        << " steps has changed: a change of the numerical contract or of a format";
}

TEST(WorldSizeTest, OnlyRankZeroTouchesThePlan) {
    const SmallWorld& world = SmallWorld::get();
    const std::string run = world.fresh("run");
    const auto rank = [&](const std::string& plan) {
        return std::vector<std::string>{"-n",
                                        "1",
                                        LOCKSTEP_BINARY,
                                        "train",
                                        "-p",
                                        plan,
                                        "-d",
                                        world.corpus(),
                                        "-m",
                                        "nano",
                                        "-o",
                                        run,
                                        "--steps",
                                        std::to_string(steps),
                                        "--checkpoint-every",
                                        "6",
                                        "--quiet"};
    };
    std::vector<std::string> arguments = {"mpirun", "--oversubscribe", "--bind-to", "none"};
    for (const std::string& a : rank(world.plan())) arguments.push_back(a);
    arguments.push_back(":");
    for (const std::string& a : rank("/nonexistent")) arguments.push_back(a);
    const auto result = run_program(arguments, {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                                                {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                                                {"ASAN_OPTIONS", "detect_leaks=0"}});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

TEST(WorldSizeTest, TogetherTheRanksComputeEachPackOnce) {
    const SmallWorld& world = SmallWorld::get();
    for (const int ranks : {3, 8}) {
        const std::string count = world.fresh("count");
        const std::string run = world.fresh("run");
        const auto result =
            run_hooked_program(ranks, train_arguments(run, 8), {{"LOCKSTEP_TEST_COUNT", count}});
        ASSERT_EQ(result.exit_code, 0) << result.err;
        std::map<std::uint64_t, std::multiset<std::uint64_t>> packs_of_step;
        std::size_t working_ranks = 0;
        for (int r = 0; r < ranks; ++r) {
            const auto lines = lines_of(count + "." + std::to_string(r));
            if (!lines.empty()) ++working_ranks;
            for (const std::string& line : lines) {
                std::uint64_t step = 0, pack = 0;
                ASSERT_EQ(std::sscanf(line.c_str(), "%lu %lu", &step, &pack), 2);
                packs_of_step[step].insert(pack);
            }
        }
        EXPECT_EQ(working_ranks, static_cast<std::size_t>(std::min(ranks, 5)))
            << "of " << ranks << ", at 5 packs a step";
        ASSERT_EQ(packs_of_step.size(), 8U);
        for (const auto& [step, packs] : packs_of_step) {
            std::uint64_t expected = step * 5;
            ASSERT_EQ(packs.size(), 5U) << "step " << step;
            for (const std::uint64_t pack : packs) EXPECT_EQ(pack, expected++) << "step " << step;
        }
    }
}

TEST(WorldSizeTest, ForcedOverflowFollowsTheRuleWithEqualBits) {
    const SmallWorld& world = SmallWorld::get();
    std::vector<RunBits> bits;
    for (const int ranks : {1, 3}) {
        const std::string run = world.fresh("run");
        const auto result = run_hooked_program(ranks, train_arguments(run, 8, {"--scale-exponent", "50"}),
                                               {{"LOCKSTEP_TEST_FORCE", "overflow:4"}});
        ASSERT_EQ(result.exit_code, 0) << result.err;
        EXPECT_NE(result.err.find("too large for scale 2^50"), std::string::npos) << result.err;
        bits.push_back(bits_of(run));
        const auto verify = run_lockstep_program(0, {"verify", run});
        EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
    }
    EXPECT_EQ(bits[0], bits[1]);
    EXPECT_NE(bits[0].state_digest, undisturbed_bits(8).state_digest) << "the scale is part of the state";
}

TEST(WorldSizeTest, ForcedNanSkipsTheStepWithEqualBits) {
    const SmallWorld& world = SmallWorld::get();
    std::vector<RunBits> bits;
    for (const int ranks : {1, 3}) {
        const std::string run = world.fresh("run");
        const auto result =
            run_hooked_program(ranks, train_arguments(run, 8), {{"LOCKSTEP_TEST_FORCE", "nan:4"}});
        ASSERT_EQ(result.exit_code, 0) << result.err;
        bits.push_back(bits_of(run));
        const auto verify = run_lockstep_program(0, {"verify", run, "--json"});
        EXPECT_EQ(verify.exit_code, 0) << verify.err;
        EXPECT_NE(verify.out.find("\"packs_skipped\":5"), std::string::npos) << verify.out;
    }
    EXPECT_EQ(bits[0], bits[1]);
    EXPECT_NE(bits[0].state_digest, undisturbed_bits(8).state_digest);
}

}  // namespace
}  // namespace lockstep::test
