#include "launch/supervisor/local_job.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include <unistd.h>

#include "io/base/error.h"
#include "io/base/host_name.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"
#include "io/run/checkpoint.h"
#include "io/run/generation_files.h"
#include "io/run/heartbeat.h"
#include "launch/launchers/open_mpi_keepalive.h"

namespace lockstep {

namespace {

/// What a job maps changes while it starts, hardly afterwards.
constexpr double note_interval_starting = 0.2;
constexpr double note_interval_training = 10;

/// mpirun's own slowness, where the user has not decided otherwise: it gives ranks of a job that failed a
/// second to end, twice, and notices a host that is gone only after minutes.
EnvironmentValues launcher_settings() {
    EnvironmentValues values = {{"OMPI_MCA_odls_base_sigkill_timeout", "0"}};
    for (const auto& [name, value] : open_mpi_keepalive) values.emplace(name, value);
    std::erase_if(values, [](const auto& value) { return std::getenv(value.first.c_str()) != nullptr; });
    return values;
}

/// Where rank 0 of a job reports before the run is its own: beside the run, which a new one's job makes
/// itself, in the nearest folder that is there.
std::filesystem::path start_heartbeat_of(const std::filesystem::path& run) {
    std::filesystem::path folder = std::filesystem::absolute(run).lexically_normal();
    if (!folder.has_filename()) folder = folder.parent_path();
    std::string name;
    do {
        name = "." + folder.filename().string() + name;
        folder = folder.parent_path();
    } while (!path_exists(folder) && folder.has_relative_path());
    return folder / (name + ".starting-" + own_host_name() + "-" + std::to_string(getpid()) + ".json");
}

}  // namespace

std::vector<std::uint64_t> committed_steps(const std::filesystem::path& run) {
    std::vector<std::uint64_t> steps;
    for (const std::uint64_t step : generation_steps(run)) {
        if (path_exists(manifest_path(run, step))) steps.push_back(step);
    }
    return steps;
}

std::filesystem::path quarantine_generation(const std::filesystem::path& run, std::uint64_t step) {
    const FolderLock lock(run, restart_lock_patience);
    const std::filesystem::path from = generation_directory(run, step);
    const std::filesystem::path folder = run / "abandoned";
    create_directories_durably(folder);
    std::filesystem::path to = folder / ("quarantined-" + from.filename().string());
    for (int copy = 1; path_exists(to); ++copy) {
        to = folder / ("quarantined-" + from.filename().string() + "-" + std::to_string(copy));
    }
    rename_path(from, to);
    sync_directory(folder);
    sync_directory(from.parent_path());
    return to;
}

LocalJob::LocalJob(LocalJobOptions options) : options_(std::move(options)), leftovers_(options_.command.run) {
    LocalJob::claim();  // What is swept might be the other supervisor's.
    if (const std::size_t swept = leftovers_.sweep(); swept > 0) {
        say("removed " + std::to_string(swept) +
            " shared-memory segment(s) and session folder(s) that a supervisor left when it was killed");
    }
    if (options_.hosts.empty()) return;
    if (!options_.command.launcher) {
        throw Error(ErrorCode::invalid_argument,
                    "--hosts needs a command that begins with mpirun; write lockstep run --hosts … -- mpirun "
                    "lockstep train …");
    }
    hosts_ = std::make_unique<HostPool>(processes_, options_.hosts, options_.probe,
                                        options_.probe_deadline_seconds);
}

double LocalJob::now() {
    return monotonic_seconds();
}

std::optional<int> LocalJob::ranks_available() {
    if (!hosts_) return std::nullopt;
    const int slots = total_slots(hosts_->ask());
    // More slots than the command asks for stay spare.
    return options_.command.ranks ? std::min(slots, *options_.command.ranks) : slots;
}

std::optional<int> LocalJob::ranks_in_reach() {
    if (!hosts_ || now() < next_probe_) return std::nullopt;
    const auto slots = hosts_->slots_in_reach();
    if (!slots) return std::nullopt;
    next_probe_ = now() + options_.probe_interval_seconds;
    return options_.command.ranks ? std::min(*slots, *options_.command.ranks) : *slots;
}

void LocalJob::claim() {
    const std::filesystem::path& run = options_.command.run;
    if (supervision_ || !path_exists(run)) return;
    try {
        supervision_.emplace(run, std::chrono::milliseconds{0}, supervisor_lock_name);
    } catch (const Error& error) {
        if (!FolderLock::is_held(run, supervisor_lock_name)) throw;
        throw Error(error.code(),
                    std::string("a supervisor has one run, and a run one supervisor: ") + error.what());
    }
}

void LocalJob::start(std::optional<int> ranks) {
    foreign_.reset();
    if (run_in_use()) {
        foreign_ = read_heartbeat(options_.command.run, Rank{0});
    } else {
        remove_heartbeats(options_.command.run);
    }
    JobStart start;
    start.ranks = ranks;
    if (hosts_) start.hosts = to_text(hosts_->alive());
    start.hang_timeout = options_.hang_timeout;
    start_heartbeat_ = start_heartbeat_of(options_.command.run);
    forget_start();
    EnvironmentValues environment = launcher_settings();
    environment.emplace(start_heartbeat_variable, start_heartbeat_.string());
    for (const auto& [name, value] : options_.environment) {
        start.handed_on.push_back(name);
        environment.insert_or_assign(name, value);
    }
    child_ = processes_.start(words_of(options_.command, start), environment, options_.output,
                              options_.prints_to_error ? TextTo::error : TextTo::both);
    next_note_ = now() + note_interval_starting;
    next_probe_ = now() + options_.probe_interval_seconds;
}

std::optional<int> LocalJob::exit_code() {
    return processes_.exit_code(child_);
}

/// Who has the run while our job waits for it goes on writing, and leaves his last one.
bool LocalJob::is_ours(const Heartbeat& beat) const {
    return !foreign_ || beat.pid != foreign_->pid || beat.host != foreign_->host;
}

std::optional<Heartbeat> LocalJob::heartbeat() {
    auto beat = read_heartbeat(options_.command.run, Rank{0});
    if (beat && !is_ours(*beat)) beat.reset();
    if (now() >= next_note_) {
        const std::vector<pid_t> own = descendants_of(getpid());
        leftovers_.note(own);
        // The job makes the folder of a new run. Another supervisor's may have been faster: only ours counts.
        if (beat && beat->host == own_host_name() &&
            std::ranges::find(own, static_cast<pid_t>(beat->pid)) != own.end())
            claim();
        next_note_ = now() + (beat && beat->training ? note_interval_training : note_interval_starting);
    }
    if (beat) return beat;
    beat = read_heartbeat_file(start_heartbeat_, Rank{0});
    // A script may have more to do than its first program, which has ended.
    if (beat) beat->ended = false;
    return beat;
}

void LocalJob::forget_start() {
    std::error_code ignored;
    if (!start_heartbeat_.empty()) std::filesystem::remove(start_heartbeat_, ignored);
}

void LocalJob::ask_to_stop() {
    processes_.signal(child_, SIGUSR1);
    // One that somebody suspended passes it on only when continued.
    if (is_stopped(child_)) processes_.signal(child_, SIGCONT);
}

void LocalJob::end() {
    leftovers_.note(descendants_of(getpid()));
    const std::vector<pid_t> left = processes_.kill_all();
    leftovers_.sweep();
    forget_start();
    if (left.empty()) return;
    std::string ids;
    for (const pid_t process : left) ids += (ids.empty() ? "" : ", ") + std::to_string(process);
    say("processes " + ids +
        " of the job outlive SIGKILL (an uninterruptible wait, as on a dead network file "
        "system); the shared memory they have mapped is left alone until they are gone");
}

bool LocalJob::run_in_use() {
    return FolderLock::is_held(options_.command.run);
}

std::vector<std::uint64_t> LocalJob::generations() {
    return committed_steps(options_.command.run);
}

std::string LocalJob::quarantine(std::uint64_t generation) {
    return quarantine_generation(options_.command.run, generation).string();
}

}  // namespace lockstep
