// launch/cli/progress.h
//
// One line that says how far and how fast: rewritten in place on a terminal, a
// plain line now and then elsewhere.

#pragma once

#include <chrono>
#include <string>

namespace lockstep {

class ProgressLine {
  public:
    ProgressLine();
    ~ProgressLine();  ///< Ends the line.

    /// True when it is time to show a new state: cheap to ask.
    bool due() const;
    void show(const std::string& text);

  private:
    bool terminal_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point last_;
};

}  // namespace lockstep
