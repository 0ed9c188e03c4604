// Ten thousand runs under as many seeds; a million with LOCKSTEP_SIMULATIONS=1000000.
// A failure names its seed: LOCKSTEP_SIMULATION_SEED=N runs that one alone, and tells.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "io/base/log.h"
#include "tests/simulation/schedule.h"

namespace lockstep::simulation {
namespace {

constexpr std::uint64_t schedules_in_ci = 10'000;

const Subject& subject() {
    static const Subject made;
    return made;
}

std::optional<std::uint64_t> number_from(const char* name) {
    const char* const text = std::getenv(name);
    return text == nullptr ? std::nullopt : std::optional(std::strtoull(text, nullptr, 10));
}

class SimulationTest : public testing::Test {
  protected:
    // Generations that are given up warn, by the thousand.
    SimulationTest() { log_set_level(LogLevel::error); }
    ~SimulationTest() override { log_set_level(LogLevel::info); }
};

TEST_F(SimulationTest, WhateverHappensNothingIsLost) {
    const auto single = number_from("LOCKSTEP_SIMULATION_SEED");
    const std::uint64_t begin = single.value_or(number_from("LOCKSTEP_SIMULATION_BEGIN").value_or(0));
    const std::uint64_t count = single ? 1 : number_from("LOCKSTEP_SIMULATIONS").value_or(schedules_in_ci);
    ScheduleResult sum;
    for (std::uint64_t seed = begin; seed < begin + count; ++seed) {
        const ScheduleResult result =
            run_schedule(subject(), seed, Mistake::none, single ? &std::cout : nullptr);
        ASSERT_EQ(result.problem, "") << "LOCKSTEP_SIMULATION_SEED=" << seed;
        sum.starts += result.starts;
        sum.faults += result.faults;
        sum.power_cuts += result.power_cuts;
        sum.quarantined += result.quarantined;
        sum.seconds += result.seconds;
    }
    std::cout << count << " schedules: " << sum.starts << " starts, " << sum.faults << " faults, "
              << sum.power_cuts << " power cuts, " << sum.quarantined << " quarantined generations, "
              << static_cast<std::uint64_t>(sum.seconds) << " virtual seconds\n";
    if (single) return;
    EXPECT_GT(sum.faults, count);
    EXPECT_GT(sum.power_cuts, count / 4);
}

TEST_F(SimulationTest, ASeedIsASchedule) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        const ScheduleResult a = run_schedule(subject(), seed), b = run_schedule(subject(), seed);
        EXPECT_EQ(a.events, b.events) << seed;
        EXPECT_EQ(a.seconds, b.seconds) << seed;
    }
}

struct MistakeCase {
    Mistake mistake;
    const char* name;
};

class MistakeTest : public SimulationTest, public testing::WithParamInterface<MistakeCase> {};

/// What would it be worth if it found nothing?
TEST_P(MistakeTest, IsFoundWithinAThousandSchedules) {
    for (std::uint64_t seed = 0; seed < 1000; ++seed) {
        const ScheduleResult result = run_schedule(subject(), seed, GetParam().mistake);
        if (result.problem.empty()) continue;
        std::cout << "seed " << seed << ": " << result.problem << "\n";
        return;
    }
    FAIL() << "nothing was found";
}

INSTANTIATE_TEST_SUITE_P(All, MistakeTest,
                         testing::Values(MistakeCase{Mistake::shards_not_synced, "ShardsNotSynced"},
                                         MistakeCase{Mistake::names_not_synced, "NamesNotSynced"},
                                         MistakeCase{Mistake::manifest_not_synced, "ManifestNotSynced"},
                                         MistakeCase{Mistake::pruned_not_synced, "PrunedNotSynced"},
                                         MistakeCase{Mistake::ledger_not_synced, "LedgerNotSynced"},
                                         MistakeCase{Mistake::ledger_cut_late, "LedgerCutLate"},
                                         MistakeCase{Mistake::never_settled, "NeverSettled"},
                                         MistakeCase{Mistake::snapshot_of_next_step, "SnapshotOfNextStep"}),
                         [](const testing::TestParamInfo<MistakeCase>& one) { return one.param.name; });

}  // namespace
}  // namespace lockstep::simulation
