// launch/supervisor/supervise.h
//
// The life of a supervised run: start the job, watch it, and when it ends decide
// what comes next. The world it lives in (processes, files, hosts, time) is an
// interface, so that the same loop runs on virtual time.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/run/heartbeat.h"
#include "launch/supervisor/job_watch.h"
#include "launch/supervisor/restart_policy.h"

namespace lockstep {

/// What the loop can see and do.
class SupervisedJob {
  public:
    virtual ~SupervisedJob() = default;

    virtual double now() = 0;  ///< Monotonic [s].
    /// Returns after `seconds`, or earlier when something may have happened.
    virtual void wait(double seconds) = 0;
    virtual void say(const std::string& line) = 0;
    /// Requests to stop so far.
    virtual int stop_requests() = 0;

    /// Ranks that the hosts alive now can take; none: the command says how many.
    virtual std::optional<int> ranks_available() = 0;
    /// Ranks that could be had by starting again now, while the job runs; none: not known (yet).
    virtual std::optional<int> ranks_in_reach() = 0;
    /// Before every start. @throws Error, which ends the supervision.
    virtual void claim() {}
    /// @throws Error{environment} if it cannot be started now, which may pass.
    virtual void start(std::optional<int> ranks) = 0;
    /// None while it runs; else its code, 128 + signal if killed by one.
    virtual std::optional<int> exit_code() = 0;
    virtual std::optional<Heartbeat> heartbeat() = 0;  ///< Rank 0's, of this start.
    virtual void ask_to_stop() = 0;
    /// Nothing of the job is left when this returns, no process, no shared memory; but for processes that the
    /// kernel does not let go within ten seconds, which are said.
    virtual void end() = 0;

    /// Steps of committed generations, ascending.
    virtual std::vector<std::uint64_t> generations() = 0;
    /// Move a generation aside. @return where to.
    virtual std::string quarantine(std::uint64_t generation) = 0;
    /// Somebody else holds the run now.
    virtual bool run_in_use() { return false; }
};

struct SupervisorSettings {
    RestartSettings restart;
    WatchSettings watch;
    int ranks_min = 1;
    bool launcher = false;  ///< The command is mpirun.
    double poll_seconds = 0.05;
    /// Pause between looks for hosts while there are too few [s].
    double host_wait_seconds = 5;
};

/// One start of the job. Times in seconds since the supervisor began.
struct Attempt {
    double started = 0, ended = 0;
    std::optional<double> trained;  ///< Its first step had begun.
    std::optional<int> ranks;       ///< As far as known.
    std::optional<std::uint64_t> first_step, last_step;
    int exit_code = 0;
    bool hung = false;
    std::string verdict;
};

struct SupervisorOutcome {
    int exit_code = 0;
    double seconds = 0;
    std::vector<Attempt> attempts;
    std::vector<std::string> quarantined;
};

/// Called after every attempt, so that a report is there even if the supervisor dies.
using OnAttempt = std::function<void(const SupervisorOutcome&)>;

SupervisorOutcome supervise(SupervisedJob& job, const SupervisorSettings& settings,
                            const OnAttempt& on_attempt = {});

}  // namespace lockstep
