// tests/simulation/schedule.h
//
// A whole run under one seed: a user who starts the supervisor again and again, the
// job it supervises, and faults at times and at calls on files. Everything that
// happens, and everything that is lost, follows from the seed.

#pragma once

#include <cstdint>
#include <string>

#include "tests/simulation/subject.h"
#include "tests/simulation/training.h"

namespace lockstep::simulation {

struct ScheduleResult {
    std::string problem;  ///< What must not be; empty: nothing.
    std::uint64_t starts = 0, faults = 0, power_cuts = 0, quarantined = 0, events = 0;
    double seconds = 0;  ///< Of virtual time.
};

ScheduleResult run_schedule(const Subject& subject, std::uint64_t seed, Mistake mistake = Mistake::none);

/// Fill in what every step must leave behind.
void record_undisturbed(Subject& subject);

}  // namespace lockstep::simulation
