#include "launch/cli/chaos/chaos_syscalls.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/base/log.h"
#include "io/base/philox.h"
#include "launch/chaos/power_job.h"
#include "launch/chaos/syscall_fault.h"
#include "launch/cli/chaos/chaos_runs.h"

namespace lockstep {

namespace {

/// Every fault of the undisturbed run: the effects in turn, each on ranks and calls at random, so that a few
/// faults are of all kinds.
std::vector<SyscallFault> spread_faults(const SyscallShim& shim) {
    std::vector<SyscallFault> faults;
    for (int rank = 0; !shim.counted_calls(rank).empty(); ++rank) {
        const auto more = possible_faults(rank, shim.counted_calls(rank));
        faults.insert(faults.end(), more.begin(), more.end());
    }
    const Philox random(0, "chaos-syscalls");
    for (std::size_t i = faults.size(); i > 1; --i) std::swap(faults[i - 1], faults[random.below(i, i)]);
    std::map<SyscallEffect, std::size_t> turns;
    std::vector<std::pair<std::size_t, SyscallFault>> in_turn;
    for (SyscallFault& fault : faults) {
        const std::size_t turn = turns[fault.effect]++;
        in_turn.emplace_back(turn, std::move(fault));
    }
    std::ranges::stable_sort(in_turn, {}, [](const auto& entry) { return entry.first; });
    std::ranges::transform(in_turn, faults.begin(), [](auto& entry) { return std::move(entry.second); });
    return faults;
}

class ChaosSyscalls {
  public:
    ChaosSyscalls(const Invocation& invocation, const ChaosSyscallsArguments& arguments)
        : invocation_(invocation),
          a_(arguments),
          runs_(invocation, arguments.command, arguments.output),
          shim_(runs_.output()) {}

    int run() {
        if (!runs_.run_undisturbed(shim_.counting(runs_.undisturbed()))) return runs_.give_up(0);
        faults_ = spread_faults(shim_);
        if (faults_.empty()) {
            throw Error(ErrorCode::check_failed,
                        "the undisturbed run made no system call on its checkpoints that could be counted; "
                        "its ranks must be started by mpirun, with the C library as a shared one");
        }
        const std::uint64_t cases = std::min<std::uint64_t>(a_.faults, faults_.size());
        invocation_.say(std::to_string(faults_.size()) + " faults are possible, " + std::to_string(cases) +
                        " will happen");
        for (std::uint64_t i = 0; i < cases; ++i) {
            run_case(a_.seed + i);
            if (runs_.stopped()) return runs_.give_up(i);
        }
        return give_result(cases);
    }

  private:
    static constexpr int tries_max = 5;
    static constexpr const char* not_made =
        "that call was not made, often as it was tried; generations must be made by steps, not by time";

    void run_case(std::uint64_t seed) {
        const SyscallFault& fault = faults_[seed % faults_.size()];
        const std::filesystem::path run = runs_.output() / ("seed-" + std::to_string(seed));
        const std::filesystem::path log = run.string() + ".log";
        std::string outcome, failure = not_made;
        // Which rank makes a folder is decided by who comes first, and with it how many calls a rank makes.
        for (int i = 0; i < tries_max && failure == not_made; ++i) {
            std::filesystem::remove_all(run);
            LocalJobOptions options = runs_.options_for(run, log);
            options.environment = shim_.with(fault, run);
            failure = disturb(fault, std::move(options), outcome);
            if (runs_.stopped()) return;
        }
        if (failure.empty()) failure = runs_.problem_of(run, log);
        if (runs_.stopped()) return;
        const std::string what = "seed " + std::to_string(seed) + ": " + to_text(fault) + ": ";
        if (failure.empty()) {
            invocation_.say(what + outcome);
            ++outcomes_[outcome];
            std::filesystem::remove_all(run);
            std::filesystem::remove(log);
            return;
        }
        failures_.push_back({{"seed", seed}, {"fault", to_text(fault)}, {"what", failure}});
        log_rank(LogLevel::error, what + failure + "; the same again: lockstep chaos --syscalls 1 " +
                                      runs_.again(seed) + "; the run is in '" + run.string() + "'");
    }

    /// @return what went wrong; empty: the run has ended as it should.
    std::string disturb(const SyscallFault& fault, LocalJobOptions options, std::string& outcome) {
        const std::filesystem::path run = options.command.run;
        std::string problem;
        const auto look = [&](const SupervisorOutcome&) {
            if (problem.empty()) problem = problem_after_cut(run, {});
        };
        LocalJob job(std::move(options));
        SupervisorOutcome first = runs_.train(job, look);
        if (runs_.stopped()) return "";
        if (!problem.empty()) return problem;
        if (!shim_.happened()) return not_made;
        const std::size_t starts = first.attempts.size();
        if (fault.effect == SyscallEffect::kill) {
            outcome = "killed, and continued by a restart";
            return code_problem(first.exit_code, starts > 1);
        }
        if (first.exit_code == 0) {
            outcome = is_continued(fault.effect) ? "continued" : "survived";
            return code_problem(first.exit_code, starts == 1);
        }
        if (is_continued(fault.effect) || first.exit_code != exit_code_of(ErrorCode::io_failure))
            return code_problem(first.exit_code, false);
        outcome = "refused, and continued by the next start";
        return code_problem(runs_.train(job, look).exit_code, true);
    }

    static std::string code_problem(int code, bool as_expected) {
        if (code == 0 && as_expected) return "";
        return "the run ended with code " + std::to_string(code) +
               (as_expected ? "" : ", otherwise than it may");
    }

    int give_result(std::uint64_t cases) const {
        const bool sound = failures_.empty();
        invocation_.say((sound ? "nothing lost: " : "FAILED: ") + std::to_string(cases) + " of " +
                        std::to_string(faults_.size()) + " fault(s), " + std::to_string(failures_.size()) +
                        " failure(s)");
        runs_.give({{"faults", cases},
                    {"possible", faults_.size()},
                    {"outcomes", outcomes_},
                    {"failures", failures_}});
        return sound ? 0 : exit_code_of(ErrorCode::check_failed);
    }

    const Invocation& invocation_;
    ChaosSyscallsArguments a_;
    ChaosRuns runs_;
    SyscallShim shim_;
    std::vector<SyscallFault> faults_;
    std::map<std::string, std::uint64_t> outcomes_;
    nlohmann::ordered_json failures_ = nlohmann::ordered_json::array();
};

}  // namespace

int chaos_syscalls(const Invocation& invocation, const ChaosSyscallsArguments& arguments) {
    require_one_rank("chaos");
    return ChaosSyscalls(invocation, arguments).run();
}

}  // namespace lockstep
