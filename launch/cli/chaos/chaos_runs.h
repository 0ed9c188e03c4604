// launch/cli/chaos/chaos_runs.h
//
// What every harm to a running job has in common: the command as the user gave it,
// trained once undisturbed, and runs of it that must end in the same bits.

#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/base/fingerprint.h"
#include "launch/chaos/chaos_job.h"
#include "launch/cli/invocation.h"

namespace lockstep {

struct EndState {
    std::uint64_t step = 0;
    Fingerprint state_digest, ledger_root;
    friend bool operator==(const EndState&, const EndState&) = default;
};

class ChaosRuns {
  public:
    /// Makes the folder of the runs. @throws Error{output_exists} if something is in it;
    /// Error{invalid_argument} if the command is none that trains.
    ChaosRuns(const Invocation& invocation, const std::vector<std::string>& command,
              const std::string& output);

    const std::filesystem::path& output() const { return output_; }
    /// For a new run folder, which is made; what the command prints goes to `log`.
    LocalJobOptions options_for(const std::filesystem::path& run, const std::filesystem::path& log) const;

    /// @return false when asked to stop. @throws Error{check_failed} if it fails.
    bool run_undisturbed(const EnvironmentValues& environment);
    std::filesystem::path undisturbed() const { return output_ / "undisturbed"; }
    std::uint64_t undisturbed_generations() const;
    const UndisturbedTimes& times() const { return times_; }

    /// Start, and start again, until it ends as no restart would change. @return as supervise.
    SupervisorOutcome train(SupervisedJob& job, const OnAttempt& on_attempt = {});
    /// Once its job is gone: what is wrong with a run that has ended; empty: it is the undisturbed one.
    std::string problem_of(const std::filesystem::path& run, const std::filesystem::path& log);
    /// A request to stop came.
    bool stopped() const { return stopped_; }
    /// What to return then.
    int give_up(std::size_t whole_runs) const;

    /// "--seed 7 -o folder-again -- mpirun …": the end of a command that does one run again.
    std::string again(std::uint64_t seed) const;
    /// Adds the end state, which all of them share.
    void give(nlohmann::ordered_json result) const;

  private:
    void read_command();
    JobCommand command_in(const std::filesystem::path& run) const;

    const Invocation& invocation_;
    std::vector<std::string> typed_;
    std::filesystem::path output_;
    std::string self_;
    std::filesystem::path model_run_;  ///< A run whose record is copied; empty: the command starts its own.
    JobCommand command_;
    EndState wanted_;
    UndisturbedTimes times_;
    bool stopped_ = false;
};

}  // namespace lockstep
