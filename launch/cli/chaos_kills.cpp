#include "launch/cli/chaos_kills.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "coordinator/run_record.h"
#include "io/atomic_file.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/checkpoint.h"
#include "io/directory.h"
#include "launch/chaos/power_job.h"
#include "launch/cli/invocation.h"
#include "launch/launchers/launch_script.h"
#include "launch/supervisor/chaos_job.h"
#include "launch/supervisor/run_report.h"

namespace lockstep {

namespace {

/// A start that stands still for so long is a finding, not a wait.
constexpr double hang_timeout = 60;
/// Runs may end before their kill is due; more of them than this and the schedule does not fit the command.
constexpr std::uint64_t fruitless_runs_max = 20;

struct EndState {
    std::uint64_t step = 0;
    Fingerprint state_digest, ledger_root;
    friend bool operator==(const EndState&, const EndState&) = default;
};

std::string to_text(const EndState& state) {
    return "step " + std::to_string(state.step) + ", state " + state.state_digest.brief() +
           "…, ledger root " + state.ledger_root.brief() + "…";
}

/// @throws Error{check_failed} if there is no valid generation.
EndState end_state(const std::filesystem::path& run) {
    std::vector<std::string> rejected;
    const auto generation = newest_valid_generation(run, rejected);
    if (!generation || !rejected.empty()) {
        throw Error(ErrorCode::check_failed, "'" + run.string() + "' ends without a valid generation" +
                                                 (rejected.empty() ? "" : ": " + rejected.front()));
    }
    return {generation->step, generation->state_digest, generation->cursor.ledger_root};
}

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
        : invocation_(invocation),
          a_(arguments),
          self_(std::filesystem::read_symlink("/proc/self/exe").string()) {}

    int run() {
        if (!directory_entries(a_.output).empty()) {
            throw Error(ErrorCode::output_exists,
                        "'" + a_.output + "' is not empty; choose another -o for the runs");
        }
        create_directories_durably(a_.output);
        read_command();
        run_undisturbed();
        if (stopped_) return give_up();
        std::uint64_t kills = 0, fruitless = 0;
        while (kills < a_.kills && fruitless < fruitless_runs_max) {
            const Round round =
                run_round(a_.seed + rounds_.size(), std::min(a_.kills_per_run, a_.kills - kills));
            if (stopped_) return give_up();
            rounds_.push_back(round);
            kills += round.kills;
            fruitless = round.kills == 0 ? fruitless + 1 : 0;
            report(round, kills);
        }
        return give_result(kills);
    }

  private:
    int give_up() const {
        invocation_.say("stopped on request after " + std::to_string(rounds_.size()) + " whole run(s)");
        return exit_code_of(ErrorCode::stopped);
    }

    /// The command as one that mpirun starts, whatever was given.
    void read_command() {
        std::vector<std::string> words = a_.command;
        if (words.size() == 1 && path_exists(run_record_path(words[0]))) {
            model_run_ = words[0];
            words = {self_, "resume", words[0]};
            if (const auto steps = committed_steps(model_run_); !steps.empty()) {
                words.insert(words.end(), {"--steps", std::to_string(steps.back())});
            }
        } else if (words[0] == "train" || words[0] == "resume") {
            words.insert(words.begin(), self_);
        }
        command_ = parse_job_command(words, "");
        if (command_.words[command_.verb] == "resume" && model_run_.empty()) model_run_ = command_.run;
        if (!command_.launcher) {
            std::vector<std::string> launched = {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", "1"};
            launched.insert(launched.end(), command_.words.begin(), command_.words.end());
            command_ = parse_job_command(launched, "");
        }
    }

    /// A new folder for the command; where it resumes a run, with that run's record and nothing else.
    JobCommand command_in(const std::filesystem::path& run) const {
        if (!model_run_.empty()) {
            for (const char* folder : {"logs", "ledger", "checkpoints"})
                create_directories_durably(run / folder);
            // Durable, as the run that is copied had it: its disk may lose its power at once.
            write_file_atomically(run_record_path(run), read_file(run_record_path(model_run_)),
                                  Overwrite::no);
        }
        return moved_to(command_, run);
    }

    LocalJobOptions options_for(const std::filesystem::path& run, const std::filesystem::path& log) const {
        LocalJobOptions options;
        options.command = command_in(run);
        options.hang_timeout = hang_timeout;
        options.output = log.string();
        options.say = [](const std::string& line) { log_rank(LogLevel::debug, line); };
        return options;
    }

    void run_undisturbed() {
        const std::filesystem::path run = std::filesystem::path(a_.output) / "undisturbed";
        LocalJob job(options_for(run, run.string() + ".log"));
        const SupervisorOutcome outcome = supervise(job, {});
        stopped_ = job.stop_requests() > 0;
        if (stopped_) return;
        if (outcome.exit_code != 0) {
            throw Error(ErrorCode::check_failed, "the undisturbed run ended with code " +
                                                     std::to_string(outcome.exit_code) + "; see '" +
                                                     run.string() + ".log'");
        }
        wanted_ = end_state(run);
        run_seconds_ = outcome.seconds;
        training_seconds_ = productive_seconds(run, 0);
        invocation_.say("undisturbed: " + to_text(wanted_) + ", " + fixed(run_seconds_, 1) + " s");
    }

    Round run_round(std::uint64_t seed, std::uint64_t kills) {
        const std::filesystem::path folder =
            std::filesystem::path(a_.output) / ("seed-" + std::to_string(seed));
        const std::filesystem::path log = folder.string() + ".log";
        const KillSchedule schedule(seed, kills, a_.ranks_max);
        Round round;
        round.seed = seed;
        round.planned = kills;
        if (a_.power) {
            PowerDisk disk(folder.string() + ".ext4", folder, disk_bytes());
            const std::filesystem::path run = folder / "run";
            {
                PowerJob job(options_for(run, log), schedule, run_seconds_, training_seconds_, disk);
                disturb(job, round);
                if (round.failure.empty()) round.failure = job.failure();
            }
            finish(round, run, log);
            // The disk goes; what failed on it stays.
            if (!round.failure.empty()) keep(run, folder.string() + "-run");
        } else {
            {
                ChaosJob job(options_for(folder, log), schedule, run_seconds_, training_seconds_);
                disturb(job, round);
            }
            finish(round, folder, log);
        }
        if (!stopped_ && round.failure.empty()) {
            std::filesystem::remove_all(folder);
            std::filesystem::remove(log);
        }
        return round;
    }

    void disturb(ChaosJob& job, Round& round) {
        SupervisorSettings settings;
        settings.watch.patience_seconds = hang_timeout + 5;
        settings.restart.back_off_first_seconds = 0;
        settings.restart.same_step_max = 1 << 20;
        settings.poll_seconds = 0.01;
        const SupervisorOutcome outcome = supervise(job, settings);
        stopped_ = job.stop_requests() > 0;
        round.kills = job.kills();
        round.starts = outcome.attempts.size();
        if (outcome.exit_code != 0 && !stopped_) {
            round.failure = "the run ended with code " + std::to_string(outcome.exit_code);
        }
    }

    /// The job has ended, and what held its processes: the check starts some of its own.
    void finish(Round& round, const std::filesystem::path& run, const std::filesystem::path& log) {
        if (!stopped_ && round.failure.empty()) round.failure = check(run, log);
    }

    static void keep(const std::filesystem::path& run, const std::filesystem::path& where) {
        std::error_code ignored;
        std::filesystem::copy(run, where, std::filesystem::copy_options::recursive, ignored);
    }

    /// Room for what a run keeps and what it has on its way.
    std::uint64_t disk_bytes() const {
        std::uint64_t bytes = 0;
        const std::filesystem::path run = std::filesystem::path(a_.output) / "undisturbed";
        for (const auto& entry : std::filesystem::recursive_directory_iterator(run)) {
            if (entry.is_regular_file()) bytes += entry.file_size();
        }
        return 4 * bytes + (std::uint64_t{64} << 20U);
    }

    std::string check(const std::filesystem::path& run, const std::filesystem::path& log) {
        try {
            const EndState found = end_state(run);
            if (found != wanted_) return "expected " + to_text(wanted_) + "; found " + to_text(found);
        } catch (const Error& error) {
            return error.what();
        }
        Processes processes;
        const pid_t verify = processes.start({self_, "verify", run.string()}, {}, log.string());
        while (!processes.exit_code(verify)) {
            processes.wait(1);
            stopped_ = processes.stop_requests() > 0;
            if (stopped_) return "";
        }
        const int code = *processes.exit_code(verify);
        return code == 0 ? "" : "verify ended with code " + std::to_string(code);
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
        std::string text = "lockstep chaos " + std::string(a_.power ? "--power " : "--kills ") + planned +
                           " --kills-per-run " + planned + " --max-ranks " + std::to_string(a_.ranks_max) +
                           " --seed " + std::to_string(round.seed) + " -o " +
                           shell_quoted(a_.output + "-again") + " --";
        for (const std::string& word : a_.command) text += " " + shell_quoted(word);
        return text;
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
        invocation_.give({{a_.power ? "power_cuts" : "kills", kills},
                          {"runs", rounds_.size()},
                          {"starts", starts},
                          {"failures", failures},
                          {"step", wanted_.step},
                          {"state_digest", wanted_.state_digest.hex()},
                          {"ledger_root", wanted_.ledger_root.hex()}});
        return sound ? 0 : exit_code_of(ErrorCode::check_failed);
    }

    const Invocation& invocation_;
    ChaosKillsArguments a_;
    std::string self_;
    std::filesystem::path model_run_;  ///< A run whose record is copied; empty: the command starts its own.
    JobCommand command_;
    EndState wanted_;
    double run_seconds_ = 0, training_seconds_ = 0;
    bool stopped_ = false;
    std::vector<Round> rounds_;
};

}  // namespace

int chaos_kills(const Invocation& invocation, const ChaosKillsArguments& arguments) {
    require_one_rank("chaos");
    return ChaosKills(invocation, arguments).run();
}

}  // namespace lockstep
