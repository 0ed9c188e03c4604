#include "launch/cli/chaos/chaos_runs.h"

#include <algorithm>

#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"
#include "io/run/checkpoint.h"
#include "launch/launchers/launch_script.h"
#include "launch/supervisor/run_report.h"

namespace lockstep {

namespace {

/// A start that stands still for so long is a finding, not a wait.
constexpr double hang_timeout = 60;

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

}  // namespace

ChaosRuns::ChaosRuns(const Invocation& invocation, const std::vector<std::string>& command,
                     const std::string& output)
    : invocation_(invocation),
      typed_(command),
      output_(output),
      self_(std::filesystem::read_symlink("/proc/self/exe").string()) {
    if (!directory_entries(output_).empty()) {
        throw Error(ErrorCode::output_exists,
                    "'" + output + "' is not empty; choose another -o for the runs");
    }
    create_directories_durably(output_);
    read_command();
}

/// The command as one that mpirun starts, whatever was given.
void ChaosRuns::read_command() {
    std::vector<std::string> words = typed_;
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
JobCommand ChaosRuns::command_in(const std::filesystem::path& run) const {
    if (!model_run_.empty()) {
        for (const char* folder : {"logs", "ledger", "checkpoints"}) create_directories_durably(run / folder);
        // Durable, as the run that is copied had it: its disk may lose its power at once.
        write_file_atomically(run_record_path(run), read_file(run_record_path(model_run_)), Overwrite::no);
    }
    return moved_to(command_, run);
}

LocalJobOptions ChaosRuns::options_for(const std::filesystem::path& run,
                                       const std::filesystem::path& log) const {
    LocalJobOptions options;
    options.command = command_in(run);
    options.hang_timeout = hang_timeout;
    options.output = log.string();
    options.say = [](const std::string& line) { log_rank(LogLevel::debug, line); };
    return options;
}

bool ChaosRuns::run_undisturbed(const EnvironmentValues& environment) {
    const std::filesystem::path run = undisturbed();
    LocalJobOptions options = options_for(run, run.string() + ".log");
    options.environment = environment;
    LocalJob job(std::move(options));
    const SupervisorOutcome outcome = supervise(job, {});
    stopped_ = job.stop_requests() > 0;
    if (stopped_) return false;
    if (outcome.exit_code != 0) {
        throw Error(ErrorCode::check_failed, "the undisturbed run ended with code " +
                                                 std::to_string(outcome.exit_code) + "; see '" +
                                                 run.string() + ".log'");
    }
    wanted_ = end_state(run);
    times_.run = outcome.seconds;
    times_.training = productive_seconds(run, 0);
    invocation_.say("undisturbed: " + to_text(wanted_) + ", " + fixed(times_.run, 1) + " s");
    return true;
}

std::uint64_t ChaosRuns::undisturbed_generations() const {
    const std::string lines = read_file(undisturbed() / "generations.jsonl");
    return static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
}

SupervisorOutcome ChaosRuns::train(SupervisedJob& job, const OnAttempt& on_attempt) {
    SupervisorSettings settings;
    settings.watch.patience_seconds = hang_timeout + 5;
    settings.restart.back_off_first_seconds = 0;
    settings.restart.same_step_max = 1 << 20;
    settings.poll_seconds = 0.01;
    SupervisorOutcome outcome = supervise(job, settings, on_attempt);
    stopped_ = job.stop_requests() > 0;
    return outcome;
}

std::string ChaosRuns::problem_of(const std::filesystem::path& run, const std::filesystem::path& log) {
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

int ChaosRuns::give_up(std::size_t whole_runs) const {
    invocation_.say("stopped on request after " + std::to_string(whole_runs) + " whole run(s)");
    return exit_code_of(ErrorCode::stopped);
}

std::string ChaosRuns::again(std::uint64_t seed) const {
    std::string text =
        "--seed " + std::to_string(seed) + " -o " + shell_quoted(output_.string() + "-again") + " --";
    for (const std::string& word : typed_) text += " " + shell_quoted(word);
    return text;
}

void ChaosRuns::give(nlohmann::ordered_json result) const {
    result["step"] = wanted_.step;
    result["state_digest"] = wanted_.state_digest.hex();
    result["ledger_root"] = wanted_.ledger_root.hex();
    invocation_.give(result);
}

}  // namespace lockstep
