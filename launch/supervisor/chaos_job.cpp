#include "launch/supervisor/chaos_job.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <vector>

namespace lockstep {

namespace {

/// How often it is asked whether a kill is due.
constexpr double aim_seconds = 0.001;

}  // namespace

ChaosJob::ChaosJob(LocalJobOptions options, const KillSchedule& schedule, double run_seconds,
                   double training_seconds)
    : LocalJob(std::move(options)),
      schedule_(schedule),
      run_seconds_(run_seconds),
      training_seconds_(training_seconds) {}

std::optional<int> ChaosJob::ranks_available() {
    return schedule_.ranks(starts_);
}

void ChaosJob::start(std::optional<int> ranks) {
    armed_ = schedule_.kill(starts_);
    ++starts_;
    training_since_.reset();
    observer_ = std::make_unique<CommitObserver>(run());
    changes_before_ = observer_->changes();
    LocalJob::start(ranks);
    started_ = now();
}

bool ChaosJob::is_due() {
    const auto beat = read_heartbeat(run(), Rank{0});
    if (!training_since_ && beat && beat->training) training_since_ = now();
    switch (armed_->moment) {
        case KillMoment::any_time:
            return now() - started_ >= armed_->share * run_seconds_;
        case KillMoment::while_training:
            return training_since_ && now() - *training_since_ >= armed_->share * training_seconds_;
        case KillMoment::at_commit:
            return observer_->changes() - changes_before_ > armed_->changes;
    }
    return false;
}

void ChaosJob::strike() {
    std::vector<pid_t> victims = descendants_of(getpid());
    if (victims.empty()) return;
    if (armed_->target == KillTarget::launcher) {
        victims = {child()};
    } else if (armed_->target == KillTarget::one_rank) {
        const std::vector<pid_t> ranks = descendants_of(child());
        victims = {ranks.empty() ? child() : ranks[armed_->victim % ranks.size()]};
    }
    for (const pid_t victim : victims) kill(victim, SIGKILL);
    struck();
}

void ChaosJob::struck() {
    ++kills_;
    armed_.reset();
}

void ChaosJob::wait(double seconds) {
    const double until = now() + seconds;
    while (armed_ && now() < until && !exit_code()) {
        if (is_due()) return strike();
        LocalJob::wait(std::min(aim_seconds, until - now()));
    }
    if (!armed_) LocalJob::wait(seconds);
}

}  // namespace lockstep
