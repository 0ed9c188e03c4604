// launch/supervisor/local_job.h
//
// The world of a supervised run as it is: a command on this host, heartbeats and
// generations in the run's folder, hosts that answer or do not.

#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/files/folder_lock.h"
#include "launch/supervisor/host_pool.h"
#include "launch/supervisor/job_command.h"
#include "launch/supervisor/leftovers.h"
#include "launch/supervisor/processes.h"
#include "launch/supervisor/supervise.h"

namespace lockstep {

struct LocalJobOptions {
    JobCommand command;
    double hang_timeout = 600;     ///< Handed to train unless it has one [s].
    std::vector<HostSlots> hosts;  ///< Empty: the command decides.
    std::string probe;             ///< See HostPool.
    double probe_deadline_seconds = 10;
    double probe_interval_seconds = 60;  ///< Between looks for hosts that came back.
    std::string output;                  ///< File for what the command prints; empty: our own streams.
    bool prints_to_error = false;        ///< All of what goes to our streams to standard error.
    /// For the job besides ours; mpirun is told to hand them to every rank.
    EnvironmentValues environment;
    std::function<void(const std::string&)> say;
};

/// Of the run's folder; held as long as a supervisor lives.
inline constexpr const char* supervisor_lock_name = "SUPERVISOR.LOCK";

class LocalJob : public SupervisedJob {
  public:
    /// @throws Error{environment} if another supervisor has the run.
    explicit LocalJob(LocalJobOptions options);

    double now() override;
    void wait(double seconds) override { processes_.wait(seconds); }
    void say(const std::string& line) override { options_.say(line); }
    int stop_requests() override { return processes_.stop_requests(); }
    std::optional<int> ranks_available() override;
    std::optional<int> ranks_in_reach() override;
    /// Take the run's supervision, once the run is there. @throws Error{environment} if another has it.
    void claim() override;
    void start(std::optional<int> ranks) override;
    std::optional<int> exit_code() override;
    std::optional<Heartbeat> heartbeat() override;
    void ask_to_stop() override;
    void end() override;
    std::vector<std::uint64_t> generations() override;
    std::string quarantine(std::uint64_t generation) override;
    bool run_in_use() override;

  protected:
    pid_t child() const { return child_; }  ///< Of the last start.
    const std::filesystem::path& run() const { return options_.command.run; }
    /// Nothing of the folder stays open; the next start holds the run again.
    void let_go_of_run() { supervision_.reset(); }
    /// From the next start on.
    void set_environment(EnvironmentValues values) { options_.environment = std::move(values); }

  private:
    bool is_ours(const Heartbeat& beat) const;
    /// Remove what a start reported before it had the run.
    void forget_start();

    LocalJobOptions options_;
    Processes processes_;
    std::unique_ptr<HostPool> hosts_;
    Leftovers leftovers_;
    /// One supervisor a run: it removes heartbeats and shared memory, which a second would take for its own.
    std::optional<FolderLock> supervision_;
    std::optional<Heartbeat> foreign_;       ///< Of somebody else, who had the run when the job was started.
    std::filesystem::path start_heartbeat_;  ///< Of the last start.
    pid_t child_ = 0;
    double next_note_ = 0;  ///< When to look again at what the job has mapped.
    double next_probe_ = 0;
};

/// Steps of the committed generations of a run, ascending: those with a manifest, unread.
std::vector<std::uint64_t> committed_steps(const std::filesystem::path& run);

/// Move a generation to run/abandoned/quarantined-step-…; nothing is deleted. @return where it is now.
/// @throws Error{io_failure}; Error{environment} while somebody holds the run.
std::filesystem::path quarantine_generation(const std::filesystem::path& run, std::uint64_t step);

}  // namespace lockstep
