#include "launch/supervisor/restart_policy.h"

#include <algorithm>
#include <cmath>
#include <csignal>

#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr int signal_base = 128;

std::string place(const AttemptEnd& end) {
    return end.step ? "in step " + std::to_string(*end.step) : std::string("before its first step");
}

std::string how(const AttemptEnd& end) {
    return end.hung ? std::string("stood still") : "ended with code " + std::to_string(end.exit_code);
}

/// The first pause, doubled from there.
double back_off(const RestartSettings& settings, double first_seconds, int doublings) {
    return std::min(settings.back_off_max_seconds, first_seconds * std::exp2(std::min(doublings, 60)));
}

/// Its state alone can be to blame: nothing was trained on it, and nobody outside killed the process.
bool blames_generation(const AttemptEnd& end) {
    const bool from_outside =
        !end.hung && (end.exit_code == signal_base + SIGKILL || end.exit_code == signal_base + SIGTERM ||
                      end.exit_code == signal_base + SIGPIPE);
    return end.generation_after && end.older_generation && !from_outside &&
           (!end.step || *end.step <= *end.generation_after);
}

}  // namespace

bool means_killed(int exit_code) {
    // 141 is what mpirun itself was seen to end with when ranks were killed while they started; 205 is its
    // own for a lost daemon.
    return exit_code == exit_code_of(ErrorCode::peer_lost) || exit_code == signal_base + SIGKILL ||
           exit_code == signal_base + SIGSEGV || exit_code == signal_base + SIGPIPE ||
           exit_code == signal_base + SIGTERM || exit_code == 205;
}

RestartDecision RestartPolicy::after(const AttemptEnd& end) {
    using What = RestartDecision::What;
    const int stopped = exit_code_of(ErrorCode::stopped);
    if (end.exit_code == 0 && !end.hung) return {What::finish, 0, 0, "the run is done"};
    if (end.exit_code == stopped && !end.hung) {
        return {What::finish, stopped, 0, "stopped on request; the same command continues the run"};
    }
    const bool cut_off = end.launcher && end.exit_code == 1 && !end.reported_end &&
                         (end.step.has_value() || end.stop_requested);
    const bool killed = end.hung || cut_off || means_killed(end.exit_code) || !end.obstacle.empty();
    // SIGUSR1 asks; a process that it ends was asked before it listened.
    if ((end.stop_requested && killed) || end.exit_code == signal_base + SIGUSR1) {
        // It did not get as far as a new generation; the one before stands.
        return {What::finish, stopped, 0,
                "stopped on request; the newest generation stands, the same command continues the run"};
    }
    if (!killed) {
        return {What::finish, end.exit_code, 0,
                "the command " + how(end) + ", which a restart would not change"};
    }
    if (!end.obstacle.empty()) return after_obstacle(end);
    obstacles_ = 0;
    return after_death(end);
}

void RestartPolicy::after_order() {
    obstacles_ = 0;
    fruitless_ = 0;
    same_ = 0;
}

std::string RestartPolicy::used_up_text() const {
    return "; it was restarted " + std::to_string(restarts_) + " times, as often as allowed";
}

/// Nothing died, so there is no loop to see; but never at once, since what is in the way needs time to go.
RestartDecision RestartPolicy::after_obstacle(const AttemptEnd& end) {
    using What = RestartDecision::What;
    if (restarts_used_up()) return {What::finish, end.exit_code, 0, end.obstacle + used_up_text()};
    ++restarts_;
    const double first = std::max(1.0, settings_.back_off_first_seconds);
    return {What::restart, 0, back_off(settings_, first, obstacles_++), end.obstacle};
}

RestartDecision RestartPolicy::after_death(const AttemptEnd& end) {
    using What = RestartDecision::What;
    const std::string death = "the job " + how(end) + " " + place(end);
    const int lost = exit_code_of(ErrorCode::peer_lost);
    fruitless_ = end.generation_after != end.generation_before ? 1 : fruitless_ + 1;
    const bool same = same_ > 0 && end.step == last_step_;
    same_ = same ? same_ + 1 : 1;
    // A generation is written beside the steps: when the loop begins, the newest may not yet be.
    one_generation_ = !same || (one_generation_ && end.generation_after == last_generation_);
    last_step_ = end.step;
    last_generation_ = end.generation_after;

    if (same_ >= settings_.same_step_max) {
        const std::string loop = death + " " + std::to_string(same_) + " times in a row";
        same_ = 0;
        if (!one_generation_ || !blames_generation(end)) {
            return {What::finish, lost, 0, loop + "; a crash loop is not restarted: look at its logs"};
        }
        if (restarts_used_up()) return {What::finish, lost, 0, loop + used_up_text()};
        ++restarts_;
        fruitless_ = 0;
        return {What::quarantine_and_restart, 0, 0,
                loop + ", always on generation " + std::to_string(*end.generation_after)};
    }
    if (restarts_used_up()) return {What::finish, lost, 0, death + used_up_text()};
    ++restarts_;
    const double delay =
        fruitless_ > 1 ? back_off(settings_, settings_.back_off_first_seconds, fruitless_ - 2) : 0;
    return {What::restart, 0, delay, death};
}

}  // namespace lockstep
