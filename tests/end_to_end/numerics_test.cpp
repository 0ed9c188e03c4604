// P2 for the numerics bf16: one run, the same bits on any machine room, and never mixed with another's.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/sealed_json.h"
#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

constexpr int steps = 12;

std::vector<std::string> bf16(std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--numerics", "bf16"});
    return more;
}

const RunBits& undisturbed_bf16_bits() {
    static const RunBits bits = train_bits(0, steps, bf16());
    return bits;
}

TEST(NumericsTest, RanksAndThreadsDoNotChangeABitOfBf16) {
    for (const int ranks : {1, 2, 3}) {
        for (const char* threads : {"1", "2"}) {
            EXPECT_EQ(train_bits(ranks, steps, bf16({"--threads", threads})), undisturbed_bf16_bits())
                << ranks << " ranks, " << threads << " threads";
        }
    }
}

TEST(NumericsTest, BackendsAndInstructionSetsDoNotChangeABitOfBf16) {
    EXPECT_EQ(train_bits(0, steps, bf16({"--gemm", "own"})), undisturbed_bf16_bits());
    EXPECT_EQ(train_bits(2, steps, bf16({"--gemm", "reference"})), undisturbed_bf16_bits());
    EXPECT_EQ(train_bits(0, steps, bf16(), {{"LOCKSTEP_ISA", "avx2"}}), undisturbed_bf16_bits());
    EXPECT_EQ(train_bits(0, steps, bf16(), {{"LOCKSTEP_ISA", "scalar"}}), undisturbed_bf16_bits());
}

TEST(NumericsTest, LlamaIsAsIndifferent) {
    const auto alone = train_bits(0, 6, bf16({"-m", "llama-nano"}));
    EXPECT_EQ(train_bits(3, 6, bf16({"-m", "llama-nano", "--gemm", "reference"})), alone);
}

// One constant for every compiler, preset and CPU.
TEST(NumericsTest, TheStateOfBf16IsTheGoldenOne) {
    std::ifstream file(std::string(LOCKSTEP_TEST_DATA) + "/golden_state_digest_bf16.txt");
    std::string golden;
    ASSERT_TRUE(file >> golden);
    EXPECT_EQ(undisturbed_bf16_bits().state_digest, golden)
        << "the state after " << steps
        << " steps has changed: a change of the numerical contract bf16 or of a format";
}

TEST(NumericsTest, Bf16IsAnotherRunThanFma256) {
    EXPECT_NE(undisturbed_bf16_bits().state_digest, undisturbed_bits(steps).state_digest);
    EXPECT_NE(undisturbed_bf16_bits().loss_hex, undisturbed_bits(steps).loss_hex);
    EXPECT_EQ(train_bits(0, steps, {"--numerics", "fma256"}), undisturbed_bits(steps));
}

TEST(NumericsTest, AKilledBf16RunGoesOnWithItsNumerics) {
    const std::string run = SmallWorld::get().fresh("killed");
    const auto killed =
        run_hooked_program(2, train_arguments(run, steps, bf16()), {{"LOCKSTEP_TEST_KILL", "1:forward:8"}});
    ASSERT_EQ(killed.exit_code, 137) << "the kill must have happened: " << killed.err;
    const auto resumed =
        run_lockstep_program(3, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bf16_bits());
    const auto verify = run_lockstep_program(0, {"verify", run});
    EXPECT_EQ(verify.exit_code, 0) << verify.out << verify.err;
    const auto looked = run_lockstep_program(0, {"train", "-o", run, "--step", "7", "--pack", "36"});
    EXPECT_EQ(looked.exit_code, 0) << looked.out << looked.err;
    EXPECT_NE(looked.out.find("to the bit"), std::string::npos) << looked.out;
}

TEST(NumericsTest, ARunKeepsItsNumerics) {
    for (const auto& [of_run, other] : {std::pair("bf16", "fma256"), std::pair("fma256", "bf16")}) {
        const std::string run = SmallWorld::get().fresh("run");
        ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 2, {"--numerics", of_run})).exit_code, 0);
        const RunBits before = bits_of(run);
        for (const int ranks : {0, 2}) {
            const auto refused =
                run_lockstep_program(ranks, {"resume", run, "--steps", "4", "--numerics", other});
            EXPECT_EQ(refused.exit_code, 2) << refused.err;
            EXPECT_NE(refused.err.find("numerics"), std::string::npos) << refused.err;
            EXPECT_NE(refused.err.find(other), std::string::npos) << refused.err;
        }
        EXPECT_EQ(bits_of(run), before);
        EXPECT_EQ(run_lockstep_program(0, {"resume", run, "--steps", "4", "--numerics", of_run}).exit_code,
                  0);
    }
}

TEST(NumericsTest, ARunOfAnotherRevisionIsRefused) {
    const std::string run = SmallWorld::get().fresh("run");
    ASSERT_EQ(run_lockstep_program(0, train_arguments(run, 2)).exit_code, 0);
    const std::string path = run + "/run.json";
    auto record = nlohmann::ordered_json::parse(unseal_json(read_file(path), path));
    ASSERT_EQ(record["numerics"], "fma256-2");
    record["numerics"] = "fma256";
    std::ofstream(path) << seal_json(record.dump(2));
    const auto refused = run_lockstep_program(0, {"resume", run, "--steps", "4"});
    EXPECT_EQ(refused.exit_code, exit_code_of(ErrorCode::incompatible_version)) << refused.err;
    EXPECT_NE(refused.err.find("'fma256'"), std::string::npos) << refused.err;
    EXPECT_NE(refused.err.find("'fma256-2'"), std::string::npos) << refused.err;
}

TEST(NumericsTest, WhatDoesNotExistIsRefused) {
    const SmallWorld& world = SmallWorld::get();
    const auto openblas =
        run_lockstep_program(0, train_arguments(world.fresh("run"), 2, bf16({"--gemm", "openblas"})));
    EXPECT_EQ(openblas.exit_code, 2) << openblas.err;
    EXPECT_NE(openblas.err.find("openblas"), std::string::npos) << openblas.err;
    const auto unknown =
        run_lockstep_program(0, train_arguments(world.fresh("run"), 2, {"--numerics", "fp16"}));
    EXPECT_EQ(unknown.exit_code, 2) << unknown.err;
    EXPECT_NE(unknown.err.find("fp16"), std::string::npos) << unknown.err;
}

TEST(NumericsTest, TheDoctorNamesThem) {
    const auto doctor = run_lockstep_program(
        0, {"doctor", "-m", "nano", "--tokens", "64", "--seconds", "0.1", "--numerics", "bf16", "--json"});
    EXPECT_EQ(doctor.exit_code, 0) << doctor.err;
    EXPECT_NE(doctor.out.find("\"numerics\":\"bf16\""), std::string::npos) << doctor.out;
}

}  // namespace
}  // namespace lockstep::test
