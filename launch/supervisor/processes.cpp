#include "launch/supervisor/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "io/base/error.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

constexpr double one_request_seconds = 2;
constexpr double kill_seconds_max = 10;

constexpr std::array taken_signals = {SIGCHLD, SIGUSR1, SIGTERM, SIGINT, SIGHUP};
std::array<struct sigaction, taken_signals.size()> actions_before;

/// Signals arrive on any thread (BLAS has its own), so a handler passes them on through a pipe.
int signal_pipe[2] = {-1, -1};

extern "C" void pass_signal_on(int number) {
    const int saved = errno;
    const auto byte = static_cast<unsigned char>(number);
    // A full pipe already holds a reason to wake up.
    if (write(signal_pipe[1], &byte, 1) < 0) errno = saved;
    errno = saved;
}

/// What the kernel says of a process after its name, which is in parentheses and may hold anything: its
/// state, a letter, then its parent. Empty if it is gone.
std::string state_and_parent(const std::filesystem::path& proc_entry) {
    std::ifstream file(proc_entry / "stat");
    std::string text;
    std::getline(file, text);
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos || name_end + 4 > text.size()) return {};
    return text.substr(name_end + 2);
}

std::optional<pid_t> parent_of(const std::filesystem::path& proc_entry) {
    const std::string text = state_and_parent(proc_entry);
    if (text.empty()) return std::nullopt;
    return static_cast<pid_t>(std::atoi(text.c_str() + 1));
}

/// In the child, after fork: only what is safe there.
[[noreturn]] void become(char* const* words, char* const* variables, int output, TextTo text, pid_t parent,
                         int report) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);  // The parent died before the line above.
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    if (output >= 0) {
        dup2(output, STDOUT_FILENO);
        dup2(output, STDERR_FILENO);
    } else if (text == TextTo::error) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
    }
    execvpe(words[0], words, variables);
    const int reason = errno;
    if (write(report, &reason, sizeof reason) < 0) _exit(126);
    _exit(127);
}

/// What may be otherwise in a moment is no fault of the command.
[[noreturn]] void throw_not_started(const std::string& program, int reason, bool may_pass) {
    throw Error(may_pass ? ErrorCode::environment : ErrorCode::invalid_argument,
                "cannot start '" + program + "': " + std::strerror(reason) +
                    (may_pass ? "; raise the limits of processes, files and memory (ulimit -a), or try later"
                              : "; is it installed and on PATH?"));
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (const std::string& text : texts) result.push_back(const_cast<char*>(text.c_str()));
    result.push_back(nullptr);
    return result;
}

/// This process' variables with others laid over.
std::vector<std::string> variables_with(const EnvironmentValues& values) {
    std::vector<std::string> result;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string text = *entry;
        if (!values.contains(text.substr(0, text.find('=')))) result.push_back(text);
    }
    for (const auto& [name, value] : values) result.push_back(name + "=" + value);
    return result;
}

}  // namespace

double monotonic_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool is_stopped(pid_t process) {
    return state_and_parent("/proc/" + std::to_string(process)).starts_with("T");
}

std::vector<pid_t> descendants_of(pid_t process) {
    std::multimap<pid_t, pid_t> children;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
        const pid_t id = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
        if (id <= 0) continue;
        if (const auto parent = parent_of(entry.path())) children.emplace(*parent, id);
    }
    std::vector<pid_t> found{process};
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto [begin, end] = children.equal_range(found[i]);
        for (auto child = begin; child != end; ++child) found.push_back(child->second);
    }
    found.erase(found.begin());
    return found;
}

Processes::Processes() {
    if (signal_pipe[0] >= 0) {
        throw Error(ErrorCode::bug,
                    "two supervisors of processes at once, and signals reach only one; end the "
                    "first before the second begins");
    }
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) throw_errno("make a pipe for", "signals", errno);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (std::size_t i = 0; i < taken_signals.size(); ++i) {
        struct sigaction action {};
        action.sa_handler = pass_signal_on;
        action.sa_flags = SA_RESTART;
        sigaction(taken_signals[i], &action, &actions_before[i]);
        // nohup: it is to outlive the terminal.
        if (taken_signals[i] == SIGHUP && actions_before[i].sa_handler == SIG_IGN)
            sigaction(SIGHUP, &actions_before[i], nullptr);
    }
}

Processes::~Processes() {
    kill_all();
    for (std::size_t i = 0; i < taken_signals.size(); ++i) {
        sigaction(taken_signals[i], &actions_before[i], nullptr);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    for (int& end : signal_pipe) {
        close(end);
        end = -1;
    }
}

pid_t Processes::start(const std::vector<std::string>& words, const EnvironmentValues& environment,
                       const std::string& output, TextTo text) {
    std::optional<PosixFile> file;
    if (!output.empty()) file.emplace(output, O_WRONLY | O_CREAT | O_APPEND);
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) throw_not_started(words[0], errno, true);
    const std::vector<char*> raw = pointers(words);
    const std::vector<std::string> variables = variables_with(environment);
    const std::vector<char*> raw_variables = pointers(variables);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child == 0) {
        become(raw.data(), raw_variables.data(), file ? file->descriptor() : -1, text, parent, report[1]);
    }
    close(report[1]);
    int reason = child < 0 ? errno : 0;
    if (child > 0 && read(report[0], &reason, sizeof reason) <= 0) reason = 0;
    close(report[0]);
    if (reason == 0) {
        started_[child].reset();
        return child;
    }
    if (child > 0) waitpid(child, nullptr, 0);
    throw_not_started(words[0], reason, child < 0 || reason == EAGAIN || reason == ENOMEM);
}

void Processes::reap() {
    int status = 0;
    for (pid_t child = waitpid(-1, &status, WNOHANG); child > 0; child = waitpid(-1, &status, WNOHANG)) {
        const auto found = started_.find(child);
        if (found == started_.end()) continue;
        found->second = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

std::optional<int> Processes::exit_code(pid_t process) {
    reap();
    const auto found = started_.find(process);
    return found == started_.end() ? std::nullopt : found->second;
}

void Processes::wait(double seconds) {
    pollfd readable{signal_pipe[0], POLLIN, 0};
    if (poll(&readable, 1, static_cast<int>(std::ceil(std::max(seconds, 0.0) * 1000))) <= 0) return;
    unsigned char number = 0;
    while (read(signal_pipe[0], &number, 1) == 1) {
        if (number != SIGCHLD) note_stop_request();
    }
}

void Processes::note_stop_request() {
    const double now = monotonic_seconds();
    if (stop_requests_ == 0) {
        first_stop_ = now;
        stop_requests_ = 1;
    } else if (now - first_stop_ >= one_request_seconds) {
        ++stop_requests_;
    }
}

void Processes::signal(pid_t process, int number) {
    // Not yet reaped, so its number cannot have become somebody else's.
    if (started_.contains(process) && !exit_code(process)) kill(process, number);
}

std::vector<pid_t> Processes::kill_all() {
    // A process in an uninterruptible wait outlives SIGKILL for a while; we do not wait with it for ever.
    const double give_up_at = monotonic_seconds() + kill_seconds_max;
    for (;;) {
        std::vector<pid_t> all = descendants_of(getpid());
        if (all.empty() || monotonic_seconds() >= give_up_at) return all;
        // Parents first: a launcher must not start another while its children are killed.
        for (const pid_t process : all) kill(process, SIGKILL);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        reap();
    }
}

}  // namespace lockstep
