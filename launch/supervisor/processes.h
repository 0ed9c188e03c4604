// launch/supervisor/processes.h
//
// Child processes and everything that descends from them. This process adopts
// orphans of its children (it is their subreaper), so that nothing a job started
// can hide from its end.

#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lockstep {

using EnvironmentValues = std::map<std::string, std::string>;

/// Of the steady clock.
double monotonic_seconds();

/// All descendants of a process, parents before children.
std::vector<pid_t> descendants_of(pid_t process);

/// A signal suspended the process.
bool is_stopped(pid_t process);

/// What a command prints goes to our two streams as it is, or all of it to standard error.
enum class TextTo { both, error };

class Processes {
  public:
    /// Becomes the subreaper, and takes SIGCHLD, SIGUSR1, SIGTERM, SIGINT and SIGHUP for `wait`.
    /// @throws Error{bug} while there is another one in this process.
    Processes();
    ~Processes();  ///< Kills what is left and gives the signals back.
    Processes(const Processes&) = delete;
    Processes& operator=(const Processes&) = delete;

    /// Start a command in a process group of its own, with empty standard input. It is killed if this process
    /// dies. @throws Error{invalid_argument} naming the program if it cannot be started; Error{environment}
    /// if there can be no process now, which may pass; Error{io_failure, not_found} for the output.
    /// @param output  file that both output streams are appended to; empty: ours.
    /// @param text    where its standard output goes without such a file.
    pid_t start(const std::vector<std::string>& words, const EnvironmentValues& environment,
                const std::string& output = {}, TextTo text = TextTo::both);

    /// Exit code of a process started here: 128 + signal if killed by one; none while it runs, and for any
    /// other process.
    std::optional<int> exit_code(pid_t process);

    /// Until a child ended, a stop signal came, or `seconds` have passed.
    void wait(double seconds);

    /// Stop signals taken by `wait`. Those within two seconds of the first are one request that came by
    /// several ways.
    int stop_requests() const { return stop_requests_; }

    /// To a process started here, while it runs.
    void signal(pid_t process, int number);
    /// SIGKILL every descendant of this process, as often as needed, and reap them, for ten seconds at most.
    /// @return those that are still there then: the kernel holds them in an uninterruptible wait.
    std::vector<pid_t> kill_all();

  private:
    void reap();
    void note_stop_request();

    /// Started here, with their codes once they have ended. Numbers are used again, and orphans adopted.
    std::map<pid_t, std::optional<int>> started_;
    int stop_requests_ = 0;
    double first_stop_ = 0;
};

}  // namespace lockstep
