#include "launch/cli/progress.h"

#include <unistd.h>

#include <cstdio>

namespace lockstep {

namespace {

constexpr std::chrono::milliseconds terminal_interval{200};
constexpr std::chrono::milliseconds plain_interval{2000};

}  // namespace

ProgressLine::ProgressLine()
    : terminal_(isatty(STDERR_FILENO) != 0), last_(std::chrono::steady_clock::now()) {}

ProgressLine::~ProgressLine() {
    if (terminal_ && shown_) std::fputs("\n", stderr);
}

bool ProgressLine::due() const {
    return std::chrono::steady_clock::now() - last_ >= (terminal_ ? terminal_interval : plain_interval);
}

void ProgressLine::show(const std::string& text) {
    last_ = std::chrono::steady_clock::now();
    std::fputs(terminal_ ? ("\r\x1b[K" + text).c_str() : (text + "\n").c_str(), stderr);
    std::fflush(stderr);
    shown_ = true;
}

}  // namespace lockstep
