// launch/supervisor/job_watch.h
//
// Whether a job that is running may go on: it must make progress, and it must end
// when it was asked to. Decides on values; time is an argument.

#pragma once

#include <optional>
#include <string>

#include "io/run/heartbeat.h"

namespace lockstep {

struct WatchSettings {
    /// Without progress for so long: it hangs [s]. Later than the job's own --hang-timeout, which names the
    /// guilty rank.
    double patience_seconds = 605;
    /// Ranks have said they end, but the command goes on for so long: it hangs [s].
    double ending_patience_seconds = 10;
};

enum class WatchAction {
    none,
    ask_to_stop,  ///< Send SIGUSR1.
    end,          ///< Kill everything.
};

class JobWatch {
  public:
    JobWatch(const WatchSettings& settings, double now) : settings_(settings), moved_(now) {}

    /// @param beat           rank 0's newest heartbeat of this start.
    /// @param stop_requests  how often we were asked to stop so far, over the life of the supervisor.
    WatchAction at(double now, const std::optional<Heartbeat>& beat, int stop_requests);

    bool hung() const { return hung_; }
    const std::string& reason() const { return reason_; }  ///< Of the last action.

  private:
    WatchSettings settings_;
    double moved_;
    std::optional<std::pair<std::int64_t, std::uint64_t>> last_;  ///< Process and its progress.
    bool asked_ = false;
    bool hung_ = false;
    std::string reason_;
};

}  // namespace lockstep
