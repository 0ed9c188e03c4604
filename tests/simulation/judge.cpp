#include "tests/simulation/judge.h"

#include <algorithm>

#include "coordinator/verify.h"
#include "io/base/error.h"
#include "io/run/checkpoint.h"

namespace lockstep::simulation {

void Judge::find(const std::string& problem) {
    if (problem_.empty()) problem_ = problem;
}

void Judge::recovered(const std::optional<Manifest>& generation, const std::vector<std::string>& rejected) {
    if (!rejected.empty()) find("a third state: " + rejected.front());
    const std::uint64_t step = generation ? generation->step : 0;
    const std::string found = "generation " + std::to_string(step);
    if (step < newest_) find(found + " is the newest, but " + std::to_string(newest_) + " was committed");
    if (!generation) return;
    if (!begun_.contains(step)) find(found + " was never begun");
    if (generation->state_digest != subject_.state_digest[step]) find(found + " has another state digest");
    if (generation->cursor.ledger_root != subject_.ledger_root[step]) {
        find(found + " has another ledger root");
    }
}

void Judge::settled(std::optional<std::uint64_t> step) {
    newest_ = std::max(newest_, step.value_or(0));
}

void Judge::reported_durable(std::uint64_t step, const Fingerprint& state_digest) {
    if (state_digest != subject_.state_digest[step]) {
        find("generation " + std::to_string(step) + " was committed with another state digest");
    }
    newest_ = std::max(newest_, step);
    ++reported_;
}

void Judge::quarantined(const std::vector<std::uint64_t>& left) {
    newest_ = std::min(newest_, left.empty() ? 0 : left.back());
    quarantine_ = true;
}

void Judge::removed(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    if (!path.substr(slash + 1).starts_with("shard-") || !path.ends_with(".h5")) return;
    if (disk_.find(std::string(path.substr(0, slash)) + "/manifest.json")) {
        find("'" + std::string(path) + "' is removed while its manifest is there");
    }
}

void Judge::look_at_disk() {
    std::uint64_t valid = 0;
    for (const GenerationStatus& status : list_generations(run_)) {
        if (status.committed && !status.valid) {
            find("generation " + std::to_string(status.step) + " after a power cut: " + status.problem);
        }
        valid += status.valid ? 1 : 0;
    }
    if (!quarantine_ && valid < std::min<std::uint64_t>(reported_, 2)) {
        find("of " + std::to_string(reported_) + " committed generations " + std::to_string(valid) +
             " is left");
    }
}

void Judge::look_at(const SupervisorOutcome& outcome, int stop_requests, std::uint64_t refusals) {
    if (outcome.attempts.empty()) return;
    const auto ended = [](const Attempt& attempt) { return "code " + std::to_string(attempt.exit_code); };
    for (std::size_t i = 0; i + 1 < outcome.attempts.size(); ++i) {
        const Attempt& attempt = outcome.attempts[i];
        const bool grown = attempt.verdict.find("more ranks") != std::string::npos;
        if (!attempt.hung && !means_killed(attempt.exit_code) && !grown)
            find(ended(attempt) + " was restarted");
    }
    const auto same_place = [&](std::size_t count) {
        if (outcome.attempts.size() < count) return false;
        const Attempt& last = outcome.attempts.back();
        return std::all_of(outcome.attempts.end() - static_cast<std::ptrdiff_t>(count),
                           outcome.attempts.end(),
                           [&](const Attempt& a) { return a.last_step == last.last_step; });
    };
    switch (outcome.exit_code) {
        case 0:
            if (newest_ != subject_.num_steps()) find("the supervisor says the run is done");
            break;
        case 74:
            if (refusals == 0) find("a rank could not write, though every call succeeded");
            break;
        case 75:
            if (stop_requests == 0) find("stopped, though nobody asked");
            break;
        case 76:
            if (!same_place(3)) find("given up without a crash loop");
            break;
        default:
            find("the supervisor ended with " + std::to_string(outcome.exit_code));
    }
}

void Judge::look_at_end() {
    try {
        const VerifyReport report = verify_run(run_, subject_.plan(), subject_.small.inputs);
        if (!report.proven()) find("verify: " + report.problems.front());
        if (report.steps != subject_.num_steps())
            find("the run ends at step " + std::to_string(report.steps));
        if (report.state_digest != subject_.state_digest.back()) find("the state differs at the end");
        if (report.ledger_root != subject_.ledger_root.back()) find("the ledger differs at the end");
    } catch (const Error& error) {
        find(std::string("verify: ") + error.what());
    }
}

}  // namespace lockstep::simulation
