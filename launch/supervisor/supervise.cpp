#include "launch/supervisor/supervise.h"

#include <algorithm>
#include <csignal>

#include "io/base/error.h"

namespace lockstep {

namespace {

class Supervision {
  public:
    Supervision(SupervisedJob& job, const SupervisorSettings& settings)
        : job_(job), settings_(settings), policy_(settings.restart), began_(job.now()) {}

    SupervisorOutcome run(const OnAttempt& on_attempt) {
        for (;;) {
            std::optional<int> ranks;
            if (!find_ranks(ranks)) return finish(exit_code_of(ErrorCode::stopped));
            const AttemptEnd end = attempt(ranks);
            outcome_.seconds = elapsed();
            if (grow_) {
                policy_.after_order();
                outcome_.attempts.back().verdict = "stopped to start again with more ranks";
                job_.say(outcome_.attempts.back().verdict);
                if (on_attempt) on_attempt(outcome_);
                continue;
            }
            const RestartDecision decision = policy_.after(end);
            outcome_.attempts.back().verdict = decision.reason;
            outcome_.exit_code = decision.exit_code;
            if (decision.what == RestartDecision::What::quarantine_and_restart) {
                const std::string where = job_.quarantine(*end.generation_after);
                outcome_.quarantined.push_back(where);
                job_.say(decision.reason + "; it is moved to '" + where + "', the one before is used");
            } else {
                job_.say(decision.reason);
            }
            if (on_attempt) on_attempt(outcome_);
            if (decision.what == RestartDecision::What::finish) return finish(decision.exit_code);
            if (!pause(decision.delay_seconds)) return finish(exit_code_of(ErrorCode::stopped));
        }
    }

  private:
    double elapsed() { return job_.now() - began_; }

    SupervisorOutcome finish(int exit_code) {
        outcome_.exit_code = exit_code;
        outcome_.seconds = elapsed();
        return outcome_;
    }

    /// @return false when asked to stop meanwhile.
    bool pause(double seconds) {
        if (seconds > 0) job_.say("restart in " + std::to_string(static_cast<int>(seconds + 0.5)) + " s");
        const double until = job_.now() + seconds;
        while (job_.now() < until && job_.stop_requests() == 0) {
            job_.wait(std::min(settings_.poll_seconds, until - job_.now()));
        }
        return job_.stop_requests() == 0;
    }

    /// Wait until the hosts alive can take enough ranks. @return false when asked to stop meanwhile.
    bool find_ranks(std::optional<int>& ranks) {
        bool said = false;
        for (;;) {
            ranks = job_.ranks_available();
            if (job_.stop_requests() > 0) return false;
            if (!ranks || *ranks >= settings_.ranks_min) return true;
            if (!said) {
                job_.say("hosts for " + std::to_string(*ranks) + " rank(s) are alive, at least " +
                         std::to_string(settings_.ranks_min) + " are wanted; waiting for more");
            }
            said = true;
            const double until = job_.now() + settings_.host_wait_seconds;
            while (job_.now() < until && job_.stop_requests() == 0) job_.wait(settings_.poll_seconds);
        }
    }

    void note(Attempt& attempt, const std::optional<Heartbeat>& beat) {
        if (!beat || !beat->training) return;
        if (!attempt.trained) attempt.trained = elapsed();
        if (!attempt.first_step) attempt.first_step = beat->step;
        attempt.last_step = beat->step;
        attempt.ranks = beat->world_size;
    }

    /// A host is back: the ranks commit and stop, and we start with more.
    bool should_grow(const std::optional<int>& ranks, const std::optional<Heartbeat>& beat) {
        if (!ranks || grow_ || !beat || !beat->training || job_.stop_requests() > 0) return false;
        const std::optional<int> reach = job_.ranks_in_reach();
        return reach && *reach > *ranks;
    }

    AttemptEnd attempt(std::optional<int> ranks) {
        AttemptEnd end;
        grow_ = false;
        job_.claim();
        const std::vector<std::uint64_t> before = job_.generations();
        if (!before.empty()) end.generation_before = before.back();
        Attempt attempt;
        attempt.started = elapsed();
        attempt.ranks = ranks;
        std::optional<int> code;
        try {
            job_.start(ranks);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::environment) throw;
            code = exit_code_of(error.code());
            end.obstacle = error.what();
        }
        JobWatch watch(settings_.watch, job_.now());
        std::optional<Heartbeat> beat;
        while (!code && !(code = job_.exit_code())) {
            beat = job_.heartbeat();
            note(attempt, beat);
            const WatchAction action = watch.at(job_.now(), beat, job_.stop_requests());
            if (action != WatchAction::none) job_.say(watch.reason());
            if (action == WatchAction::end) break;
            // Ranks that stop for a host already would take a second request for the end at once.
            if (action == WatchAction::ask_to_stop && !grow_) job_.ask_to_stop();
            if (action == WatchAction::none && should_grow(ranks, beat)) {
                grow_ = true;
                job_.ask_to_stop();
            }
            job_.wait(settings_.poll_seconds);
        }
        if (end.obstacle.empty()) {
            beat = job_.heartbeat();
            note(attempt, beat);
        }
        job_.end();
        attempt.ended = elapsed();
        end.exit_code = code.value_or(128 + SIGKILL);
        end.hung = watch.hung();
        if (end.exit_code == exit_code_of(ErrorCode::environment) && end.obstacle.empty() &&
            job_.run_in_use()) {
            end.obstacle = "the run is in use by another process";
        }
        end.stop_requested = job_.stop_requests() > 0;
        end.launcher = settings_.launcher;
        end.reported_end = beat && beat->ended;
        end.step = attempt.last_step;
        const std::vector<std::uint64_t> after = job_.generations();
        if (!after.empty()) end.generation_after = after.back();
        end.older_generation = after.size() > 1;
        // A stop that was ours, in order or by a launcher script that SIGUSR1 ends; had the job died on the
        // way, the policy would speak.
        const bool as_asked =
            end.exit_code == exit_code_of(ErrorCode::stopped) || end.exit_code == 128 + SIGUSR1;
        grow_ = grow_ && as_asked && !end.stop_requested;
        attempt.exit_code = end.exit_code;
        attempt.hung = end.hung;
        outcome_.attempts.push_back(attempt);
        return end;
    }

    SupervisedJob& job_;
    SupervisorSettings settings_;
    RestartPolicy policy_;
    double began_;
    bool grow_ = false;
    SupervisorOutcome outcome_;
};

}  // namespace

SupervisorOutcome supervise(SupervisedJob& job, const SupervisorSettings& settings,
                            const OnAttempt& on_attempt) {
    return Supervision(job, settings).run(on_attempt);
}

}  // namespace lockstep
