#include "launch/supervisor/job_watch.h"

#include <cmath>
#include <utility>

namespace lockstep {

WatchAction JobWatch::at(double now, const std::optional<Heartbeat>& beat, int stop_requests) {
    if (beat) {
        const std::pair progress{beat->pid, beat->progress};
        if (last_ != progress) moved_ = now;
        last_ = progress;
    }
    if (stop_requests > 1) {
        reason_ = "asked to stop again; ending the job at once";
        return WatchAction::end;
    }
    if (stop_requests == 1 && !asked_) {
        asked_ = true;
        if (!beat || !beat->training) {
            reason_ = "asked to stop before its first step; ending the job, nothing is lost";
            return WatchAction::end;
        }
        reason_ = "asked to stop; the ranks agree on a step, commit and end";
        return WatchAction::ask_to_stop;
    }
    const bool ended = beat && beat->ended;
    const double patience = ended ? settings_.ending_patience_seconds : settings_.patience_seconds;
    if (now - moved_ < patience) return WatchAction::none;
    hung_ = true;
    const std::string seconds = std::to_string(static_cast<long>(std::lround(now - moved_)));
    reason_ = "no progress for " + seconds + " s (" +
              (beat ? describe(Rank{beat->rank}, beat) : std::string("it never reported")) +
              (ended ? ", which has ended" : "") + "); killing the job";
    return WatchAction::end;
}

}  // namespace lockstep
