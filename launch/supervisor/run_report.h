// launch/supervisor/run_report.h
//
// What a supervised run cost: how much of the time went into steps that count, and
// where the rest went. supervisor.json is without authority.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launch/supervisor/supervise.h"

namespace lockstep {

struct RunReport {
    std::vector<std::string> command;
    SupervisorOutcome outcome;
    /// Seconds inside steps that are part of the run's history now, each counted once.
    double productive_seconds = 0;

    double lost_seconds() const { return outcome.seconds - productive_seconds; }
    /// Effective training time over all time, in [0, 1].
    double effective_share() const;
    std::size_t restarts() const { return outcome.attempts.empty() ? 0 : outcome.attempts.size() - 1; }
    double starting_seconds() const;  ///< From a start to its first step, over all starts.
    double waiting_seconds() const;   ///< Between an end and the next start.
    /// Steps trained and lost with their process, generations written, ends noticed.
    double other_lost_seconds() const;
};

/// Sum of "seconds" in run/metrics.jsonl over steps from `first_step` on; what is torn does not count.
double productive_seconds(const std::filesystem::path& run, std::uint64_t first_step);

std::string to_json(const RunReport& report);
/// A few lines for people.
std::string to_text(const RunReport& report);

/// Replace run/supervisor.json. Failure is not an error: the run matters more.
void write_run_report(const std::filesystem::path& run, const RunReport& report);

}  // namespace lockstep
