// launch/supervisor/restart_policy.h
//
// What to do when a job has ended: finish, start it again and after how long, or
// first move aside a generation nobody survives. A value machine: no clock, no
// process, no file.

#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lockstep {

struct RestartSettings {
    /// Pause before the second restart in a row without a new generation; doubled from there. The first
    /// restart comes at once. [s]
    double back_off_first_seconds = 1;
    double back_off_max_seconds = 60;
    /// Deaths in a row at the same step, or before the first, that make a crash loop.
    int same_step_max = 3;
    std::optional<std::uint64_t> restarts_max;  ///< None: as long as it takes.
};

/// How one start of the job ended.
struct AttemptEnd {
    int exit_code = 0;                               ///< Of the command; 128 + signal if killed by one.
    bool hung = false;                               ///< We ended it because it stood still.
    bool stop_requested = false;                     ///< The user, or the batch system, asked us to stop.
    std::optional<std::uint64_t> step;               ///< Last seen in its heartbeat; none: it never trained.
    std::optional<std::uint64_t> generation_before;  ///< Newest committed when it started.
    std::optional<std::uint64_t> generation_after;   ///< Newest committed now.
    bool older_generation = false;                   ///< There is one before the newest.
    bool launcher = false;      ///< The command is mpirun, which gives 1 when its ranks are killed.
    bool reported_end = false;  ///< Rank 0's last heartbeat said that it is ending by itself.
    std::string obstacle;       ///< Why it could not begin, though it may later; empty: it did.
};

struct RestartDecision {
    enum class What { finish, restart, quarantine_and_restart };
    What what = What::finish;
    int exit_code = 0;         ///< Of finish.
    double delay_seconds = 0;  ///< Before a restart.
    std::string reason;        ///< One line for people.
    friend bool operator==(const RestartDecision&, const RestartDecision&) = default;
};

/// Codes that mean a process was killed or lost, not that it was told something wrong: 76, 137, 139, 141,
/// 143, 205. mpirun's 1 does too where ranks trained, or a stop was asked for, and rank 0 did not end by
/// itself.
bool means_killed(int exit_code);

class RestartPolicy {
  public:
    explicit RestartPolicy(const RestartSettings& settings) : settings_(settings) {}
    RestartDecision after(const AttemptEnd& end);
    /// A job that we stopped ourselves, to start it anew, ended in order: deaths before it are no longer in a
    /// row.
    void after_order();

  private:
    RestartDecision after_death(const AttemptEnd& end);
    RestartDecision after_obstacle(const AttemptEnd& end);
    bool restarts_used_up() const { return settings_.restarts_max && restarts_ >= *settings_.restarts_max; }
    std::string used_up_text() const;

    RestartSettings settings_;
    std::uint64_t restarts_ = 0;
    int obstacles_ = 0;           ///< In a row.
    int fruitless_ = 0;           ///< Deaths in a row without a new generation.
    int same_ = 0;                ///< Deaths in a row at the same place.
    bool one_generation_ = true;  ///< All of them with the same newest generation.
    std::optional<std::uint64_t> last_step_, last_generation_;
};

}  // namespace lockstep
