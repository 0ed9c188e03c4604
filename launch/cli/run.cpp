#include "io/base/error.h"
#include "io/base/log.h"
#include "io/files/directory.h"
#include "launch/cli/supervisor_verbs.h"
#include "launch/supervisor/local_job.h"
#include "launch/supervisor/run_report.h"

namespace lockstep {

namespace {

/// The job names the guilty rank and ends itself first; then it is our turn.
constexpr double patience_beyond_timeout = 5;
constexpr double default_hang_timeout = 600;

struct RunArguments {
    std::vector<std::string> command;
    std::string run;
    std::string hosts;
    std::string probe = "ssh -o BatchMode=yes -o ConnectTimeout=5 {} true";
    double host_check = 60;
    int ranks_min = 1;
    double hang_timeout = 0;
    RestartSettings restart;
};

SupervisorSettings settings_from(const RunArguments& a, double hang_timeout, bool launcher) {
    SupervisorSettings settings;
    settings.restart = a.restart;
    settings.watch.patience_seconds = hang_timeout + patience_beyond_timeout;
    settings.ranks_min = a.ranks_min;
    settings.launcher = launcher;
    return settings;
}

int run_supervised(const Invocation& invocation, const RunArguments& a) {
    require_one_rank("run");
    LocalJobOptions options;
    options.command = parse_job_command(a.command, a.run);
    const JobCommand& command = options.command;
    if (a.hang_timeout > 0 && command.hang_timeout && *command.hang_timeout != a.hang_timeout) {
        throw Error(ErrorCode::invalid_argument,
                    "--hang-timeout is given twice, to run and to the command; one meaning needs one");
    }
    options.hang_timeout =
        a.hang_timeout > 0 ? a.hang_timeout : command.hang_timeout.value_or(default_hang_timeout);
    if (!a.hosts.empty()) options.hosts = parse_hosts(a.hosts);
    options.probe = a.probe;
    options.probe_interval_seconds = a.host_check;
    options.prints_to_error = invocation.json;
    options.say = [](const std::string& line) { log_root(LogLevel::info, "run: " + line); };

    RunReport report;
    report.command = command.words;
    const auto steps = committed_steps(command.run);
    const std::uint64_t first_step = steps.empty() ? 0 : steps.back();
    const auto publish = [&](const SupervisorOutcome& outcome) {
        report.outcome = outcome;
        // Steps of an earlier start are none of ours, also where no generation stands behind them.
        const bool trained = std::ranges::any_of(
            outcome.attempts, [](const Attempt& attempt) { return attempt.trained.has_value(); });
        report.productive_seconds = trained ? productive_seconds(command.run, first_step) : 0;
        if (path_exists(command.run)) write_run_report(command.run, report);
    };
    const SupervisorSettings settings = settings_from(a, options.hang_timeout, command.launcher.has_value());
    LocalJob job(options);
    publish(supervise(job, settings, publish));
    invocation.say(to_text(report));
    if (invocation.json) invocation.give(nlohmann::ordered_json::parse(to_json(report)));
    return report.outcome.exit_code;
}

}  // namespace

void add_run(CLI::App& app, Invocation& invocation) {
    auto a = std::make_shared<RunArguments>();
    CLI::App* verb = add_verb(
        app, invocation, "run", "Keep a training command alive: watch it, restart it, stop it in order",
        "  lockstep run -- mpirun -n 4 lockstep train -p plan/ -d corpus.h5 -m tiny -o run/\n"
        "  lockstep run --hosts n1:8,n2:8,n3:8 --min-ranks 8 -- mpirun lockstep train …\n"
        "  lockstep run --hang-timeout 120 -- mpirun -n 4 lockstep resume run/\n"
        "  kill -USR1 PID        (or TERM, or Ctrl-C: the ranks commit and end, code 75; again: at once)\n"
        "Restarts on codes 76, 137, 139, 141, 143 and 205, and on 1 of an mpirun whose ranks were killed; "
        "train is given --continue. A report is in "
        "run/supervisor.json.",
        [&invocation, a] { return run_supervised(invocation, *a); });
    verb->add_option("command", a->command, "The command, after --")->required();
    verb->add_option("--run", a->run, "Run folder, where the command does not name it");
    verb->add_option("--hang-timeout", a->hang_timeout,
                     "Seconds without progress after which a rank is given up (600); handed to the command")
        ->check(CLI::Range(1.0, 1e7));
    CLI::Option* const hosts =
        verb->add_option("--hosts", a->hosts,
                         "HOST[:SLOTS],…: start on those alive, with as many ranks as they take, at most -n");
    hosts->check(CLI::Validator(
        [](const std::string& text) { return text.empty() ? std::string("names no host") : std::string(); },
        ""));
    verb->add_option("--min-ranks", a->ranks_min, "Wait for hosts while they take fewer ranks (1)")
        ->check(CLI::Range(1, 1 << 20))
        ->needs(hosts);
    verb->add_option("--probe", a->probe, "Command that succeeds when host {} is alive (ssh {} true)");
    verb->add_option("--host-check", a->host_check, "Seconds between looks for hosts that came back (60)")
        ->check(CLI::Range(1.0, 1e6));
    verb->add_option("--max-restarts", a->restart.restarts_max, "Give up after so many (never)");
    verb->add_option("--same-step-max", a->restart.same_step_max,
                     "Deaths in a row at the same step that make a crash loop (3)")
        ->check(CLI::Range(1, 1000000));
    verb->add_option("--back-off", a->restart.back_off_first_seconds,
                     "Seconds before the second fruitless restart, doubled from there (1)")
        ->check(CLI::Range(0.0, 3600.0));
    verb->add_option("--back-off-max", a->restart.back_off_max_seconds, "Longest pause in seconds (60)")
        ->check(CLI::Range(0.0, 86400.0));
}

}  // namespace lockstep
