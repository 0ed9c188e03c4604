#include "launch/chaos/chaos_job.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <vector>

namespace lockstep {

namespace {

/// How often it is asked whether a kill is due.
constexpr double aim_seconds = 0.001;

}  // namespace

ChaosJob::ChaosJob(LocalJobOptions options, const KillSchedule& schedule, const UndisturbedTimes& times,
                   SyscallShim* shim)
    : LocalJob(std::move(options)), schedule_(schedule), times_(times), shim_(shim) {}

std::optional<int> ChaosJob::ranks_available() {
    return schedule_.ranks(starts_);
}

void ChaosJob::start(std::optional<int> ranks) {
    armed_ = schedule_.kill(starts_);
    set_environment({});
    if (armed_ && armed_->moment == KillMoment::at_call) {
        const auto world = static_cast<std::uint64_t>(schedule_.ranks(starts_));
        const int rank = static_cast<int>(armed_->victim % world);
        const SyscallEffect effect =
            armed_->target == KillTarget::one_rank ? SyscallEffect::kill : SyscallEffect::hold;
        set_environment(shim_->with({rank, armed_->calls, effect, ""}, run()));
    }
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
            return now() - started_ >= armed_->share * times_.run;
        case KillMoment::while_training:
            return training_since_ && now() - *training_since_ >= armed_->share * times_.training;
        case KillMoment::at_commit:
            return observer_->changes() - changes_before_ > armed_->changes;
        case KillMoment::at_call:
            return shim_->happened();
    }
    return false;
}

std::vector<pid_t> ChaosJob::victims() const {
    if (armed_->target == KillTarget::everything) return descendants_of(getpid());
    if (armed_->target == KillTarget::launcher) return {child()};
    if (armed_->moment == KillMoment::at_call) return {};  // It has ended itself, on whatever host it was.
    const std::vector<pid_t> ranks = descendants_of(child());
    return {ranks.empty() ? child() : ranks[armed_->victim % ranks.size()]};
}

void ChaosJob::strike() {
    for (const pid_t victim : victims()) kill(victim, SIGKILL);
    struck();
}

void ChaosJob::struck() {
    ++kills_;
    armed_.reset();
}

std::optional<int> ChaosJob::exit_code() {
    const std::optional<int> code = LocalJob::exit_code();
    // A rank that ended itself at its call may have taken the job with it before anybody looked.
    if (code && armed_ && armed_->moment == KillMoment::at_call && is_due()) strike();
    return code;
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
