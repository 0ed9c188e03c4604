#include "launch/cli/chaos/chaos_kills.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "io/base/error.h"
#include "io/base/log.h"
#include "launch/chaos/power_job.h"
#include "launch/cli/chaos/chaos_runs.h"

namespace lockstep {

namespace {

/// Runs may end before their kill is due; more of them than this and the schedule does not fit the command.
constexpr std::uint64_t fruitless_runs_max = 20;
/// A kill aimed at a call comes within so many saves of rank 0; another rank's save has fewer calls.
constexpr std::uint64_t saves_aimed_at = 2;

struct Round {
    std::uint64_t seed = 0;
    std::uint64_t planned = 0;  ///< Most kills; with the seed, the whole schedule.
    std::uint64_t kills = 0;
    std::uint64_t starts = 0;
    std::string failure;  ///< Empty: as it should be.
};

class ChaosKills {
  public:
    ChaosKills(const Invocation& invocation, const ChaosKillsArguments& arguments)
        : invocation_(invocation), a_(arguments), runs_(invocation, arguments.command, arguments.output) {
        if (find_syscall_shim()) shim_.emplace(runs_.output());
    }

    int run() {
        if (!runs_.run_undisturbed(shim_ ? shim_->counting(runs_.undisturbed()) : EnvironmentValues()))
            return runs_.give_up(0);
        if (shim_) {
            calls_max_ = saves_aimed_at * shim_->counted_calls(0).size() /
                         std::max<std::uint64_t>(1, runs_.undisturbed_generations());
        }
        std::uint64_t kills = 0, fruitless = 0;
        while (kills < a_.kills && fruitless < fruitless_runs_max) {
            const Round round =
                run_round(a_.seed + rounds_.size(), std::min(a_.kills_per_run, a_.kills - kills));
            if (runs_.stopped()) return runs_.give_up(rounds_.size());
            rounds_.push_back(round);
            kills += round.kills;
            fruitless = round.kills == 0 ? fruitless + 1 : 0;
            report(round, kills);
        }
        return give_result(kills);
    }

  private:
    Round run_round(std::uint64_t seed, std::uint64_t kills) {
        const std::filesystem::path folder = runs_.output() / ("seed-" + std::to_string(seed));
        const std::filesystem::path log = folder.string() + ".log";
        const KillSchedule schedule(seed, kills, a_.ranks_max, calls_max_);
        SyscallShim* const shim = shim_ ? &*shim_ : nullptr;
        Round round;
        round.seed = seed;
        round.planned = kills;
        if (a_.power) {
            PowerDisk disk(folder.string() + ".ext4", folder, disk_bytes());
            const std::filesystem::path run = folder / "run";
            {
                PowerJob job(runs_.options_for(run, log), schedule, runs_.times(), shim, disk);
                disturb(job, round);
                if (round.failure.empty()) round.failure = job.failure();
            }
            finish(round, run, log);
            // The disk goes; what failed on it stays.
            if (!round.failure.empty()) keep(run, folder.string() + "-run");
        } else {
            {
                ChaosJob job(runs_.options_for(folder, log), schedule, runs_.times(), shim);
                disturb(job, round);
            }
            finish(round, folder, log);
        }
        if (!runs_.stopped() && round.failure.empty()) {
            std::filesystem::remove_all(folder);
            std::filesystem::remove(log);
        }
        return round;
    }

    void disturb(ChaosJob& job, Round& round) {
        const SupervisorOutcome outcome = runs_.train(job);
        round.kills = job.kills();
        round.starts = outcome.attempts.size();
        if (outcome.exit_code != 0 && !runs_.stopped()) {
            round.failure = "the run ended with code " + std::to_string(outcome.exit_code);
        }
    }

    /// The job has ended, and what held its processes: the check starts some of its own.
    void finish(Round& round, const std::filesystem::path& run, const std::filesystem::path& log) {
        if (!runs_.stopped() && round.failure.empty()) round.failure = runs_.problem_of(run, log);
    }

    static void keep(const std::filesystem::path& run, const std::filesystem::path& where) {
        std::error_code ignored;
        std::filesystem::copy(run, where, std::filesystem::copy_options::recursive, ignored);
    }

    /// Room for what a run keeps and what it has on its way.
    std::uint64_t disk_bytes() const {
        std::uint64_t bytes = 0;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(runs_.undisturbed())) {
            if (entry.is_regular_file()) bytes += entry.file_size();
        }
        return 4 * bytes + (std::uint64_t{64} << 20U);
    }

    void report(const Round& round, std::uint64_t kills) const {
        const std::string what = "seed " + std::to_string(round.seed) + ": " + std::to_string(round.kills) +
                                 (a_.power ? " power cut(s), " : " kill(s), ") +
                                 std::to_string(round.starts) + " start(s); " + std::to_string(kills) +
                                 " of " + std::to_string(a_.kills);
        if (round.failure.empty()) {
            invocation_.say(what);
            return;
        }
        log_rank(LogLevel::error, what + ": " + round.failure + "; its schedule again: " + again(round) +
                                      "; the run is in '" + a_.output + "/seed-" +
                                      std::to_string(round.seed) + (a_.power ? "-run'" : "'"));
    }

    /// The command whose first run has this round's schedule.
    std::string again(const Round& round) const {
        const std::string planned = std::to_string(round.planned);
        return "lockstep chaos " + std::string(a_.power ? "--power " : "--kills ") + planned +
               " --kills-per-run " + planned + " --max-ranks " + std::to_string(a_.ranks_max) + " " +
               runs_.again(round.seed);
    }

    int give_result(std::uint64_t kills) const {
        auto failures = nlohmann::ordered_json::array();
        std::uint64_t starts = 0;
        for (const Round& round : rounds_) {
            starts += round.starts;
            if (!round.failure.empty()) failures.push_back({{"seed", round.seed}, {"what", round.failure}});
        }
        const bool sound = failures.empty() && kills >= a_.kills;
        invocation_.say((sound ? "nothing lost: " : "FAILED: ") + std::to_string(kills) +
                        (a_.power ? " power cut(s) in " : " kill(s) in ") + std::to_string(rounds_.size()) +
                        " run(s) of " + std::to_string(starts) + " start(s), " +
                        std::to_string(failures.size()) + " failure(s)");
        if (kills < a_.kills) {
            log_rank(LogLevel::error,
                     "the runs end before they can be killed; give the command more --steps");
        }
        runs_.give({{a_.power ? "power_cuts" : "kills", kills},
                    {"runs", rounds_.size()},
                    {"starts", starts},
                    {"failures", failures}});
        return sound ? 0 : exit_code_of(ErrorCode::check_failed);
    }

    const Invocation& invocation_;
    ChaosKillsArguments a_;
    ChaosRuns runs_;
    std::optional<SyscallShim> shim_;  ///< None in a build with sanitizers: then no kill is aimed at a call.
    std::uint64_t calls_max_ = 0;
    std::vector<Round> rounds_;
};

}  // namespace

int chaos_kills(const Invocation& invocation, const ChaosKillsArguments& arguments) {
    require_one_rank("chaos");
    return ChaosKills(invocation, arguments).run();
}

}  // namespace lockstep
