// Silent corruption: one bit of a gradient computed wrongly by one rank is found,
// the rank named, and the run's bits are those of the run without the fault.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/end_to_end/small_world.h"

namespace lockstep::test {
namespace {

constexpr int steps = 9;

/// At step 4 of every second: owner is rank (4 / 2) mod W, the next one checks.
std::vector<std::string> checked_arguments(const std::string& run) {
    return train_arguments(run, steps, {"--cross-check", "2", "--json"});
}

std::string metrics_line(const std::string& run, std::size_t step) {
    const auto lines = lines_of(std::filesystem::path(run) / "metrics.jsonl");
    return step < lines.size() ? lines[step] : "";
}

TEST(CrossCheckTest, ASoundMachineAgreesAndTheBitsStay) {
    for (const int ranks : {0, 2, 3}) {
        const std::string run = SmallWorld::get().fresh("checked");
        const auto result = run_lockstep_program(ranks, checked_arguments(run));
        ASSERT_EQ(result.exit_code, 0) << result.err;
        EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
        const auto object = nlohmann::json::parse(result.out);
        EXPECT_EQ(object["cross_checks"], 5) << "steps 0, 2, 4, 6, 8";
        EXPECT_EQ(object["cross_check_repeats"], 0);
        EXPECT_NE(metrics_line(run, 4).find("\"cross_check\":\"agreed\""), std::string::npos);
        EXPECT_EQ(metrics_line(run, 5).find("cross_check"), std::string::npos);
    }
}

TEST(CrossCheckTest, APassingFaultIsFoundNamedAndRepeated) {
    // Of three ranks, rank 2 owns the pack of step 4 and rank 0 checks it.
    for (const int faulty : {0, 2}) {
        const std::string run = SmallWorld::get().fresh("faulty");
        const auto result = run_hooked_program(3, checked_arguments(run),
                                               {{"LOCKSTEP_TEST_FAULT", std::to_string(faulty) + ":4:1"}});
        ASSERT_EQ(result.exit_code, 0) << result.err;
        EXPECT_NE(result.err.find("rank " + std::to_string(faulty) + " (host "), std::string::npos)
            << result.err;
        EXPECT_NE(result.err.find("is the odd one out"), std::string::npos) << result.err;
        EXPECT_EQ(nlohmann::json::parse(result.out)["cross_check_repeats"], 1);
        EXPECT_NE(metrics_line(run, 4).find("\"cross_check\":\"repeated\""), std::string::npos);
        EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
    }
}

TEST(CrossCheckTest, AFaultThatStaysEndsTheRunBeforeTheUpdate) {
    const std::string run = SmallWorld::get().fresh("broken");
    const auto result = run_hooked_program(3, checked_arguments(run), {{"LOCKSTEP_TEST_FAULT", "2:4:100"}});
    EXPECT_EQ(result.exit_code, 78) << result.err;
    EXPECT_NE(result.err.find("rank 2 (host "), std::string::npos) << result.err;
    const auto resumed =
        run_lockstep_program(2, {"resume", run, "--steps", std::to_string(steps), "--quiet"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_EQ(bits_of(run), undisturbed_bits(steps));
}

TEST(CrossCheckTest, TwoRanksThatRepeatTheirOwnAreBothNamed) {
    const std::string run = SmallWorld::get().fresh("two");
    const auto result = run_hooked_program(2, checked_arguments(run), {{"LOCKSTEP_TEST_FAULT", "1:4:100"}});
    EXPECT_EQ(result.exit_code, 78) << result.err;
    EXPECT_NE(result.err.find("three ranks could tell which"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace lockstep::test
