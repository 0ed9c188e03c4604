#include "launch/chaos/judged_apart.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>

#include "io/base/error.h"

namespace lockstep {

namespace {

[[noreturn]] void judge_and_leave(const ArtifactWatch& watch, const std::filesystem::path& file, bool changed,
                                  int pipe) {
    const DamageVerdict verdict = watch.judge(file, changed);
    const std::string message = static_cast<char>(verdict.outcome) + verdict.text.substr(0, 4000);
    // One write of a pipe's capacity at most: whole or not at all.
    const bool told = write(pipe, message.data(), message.size()) == static_cast<ssize_t>(message.size());
    _exit(told ? 0 : 1);
}

/// All that comes before the end or the deadline. @return false at the deadline.
bool read_until(int pipe, int seconds_max, std::string& text) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + std::chrono::seconds(seconds_max);
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd waiting{pipe, POLLIN, 0};
        const int ready = left.count() <= 0 ? 0 : poll(&waiting, 1, static_cast<int>(left.count()));
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return false;
        char piece[4096];
        const ssize_t count = read(pipe, piece, sizeof piece);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return true;
        text.append(piece, static_cast<std::size_t>(count));
    }
}

}  // namespace

DamageVerdict judge_apart(const ArtifactWatch& watch, const std::filesystem::path& file, bool changed,
                          int seconds_max) {
    int pipe[2];
    if (::pipe(pipe) != 0)
        throw Error(ErrorCode::environment, std::string("no pipe: ") + std::strerror(errno));
    const pid_t child = fork();
    if (child < 0) throw Error(ErrorCode::environment, std::string("cannot fork: ") + std::strerror(errno));
    if (child == 0) {
        close(pipe[0]);
        judge_and_leave(watch, file, changed, pipe[1]);
    }
    close(pipe[1]);
    std::string message;
    const bool in_time = read_until(pipe[0], seconds_max, message);
    close(pipe[0]);
    if (!in_time) kill(child, SIGKILL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!in_time) return {DamageOutcome::wrong, "no end after " + std::to_string(seconds_max) + " s"};
    if (WIFSIGNALED(status))
        return {DamageOutcome::wrong, "the reader crashed with signal " + std::to_string(WTERMSIG(status))};
    if (message.empty())
        return {DamageOutcome::wrong, "the reader ended with code " + std::to_string(WEXITSTATUS(status))};
    return {static_cast<DamageOutcome>(message.front()), message.substr(1)};
}

}  // namespace lockstep
