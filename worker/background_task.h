// worker/background_task.h
//
// One thread that does one piece of work at a time beside the loop. It makes no
// MPI call and does no arithmetic the state could see; what it throws is kept for
// whoever asks.

#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "io/base/error.h"

namespace lockstep {

class BackgroundTask {
  public:
    /// Starts the thread. It takes no signals: those are for the loop.
    BackgroundTask();
    /// Waits for the work at hand.
    ~BackgroundTask();
    BackgroundTask(const BackgroundTask&) = delete;
    BackgroundTask& operator=(const BackgroundTask&) = delete;

    /// Hand over work and return at once. @pre !busy(). What the work writes may be read once busy() was
    /// false or wait() has returned.
    void begin(std::function<void()> work);

    bool busy() const;
    void wait() const;  ///< Until it is not busy.
    /// How the last work failed; none if it did not. @pre !busy().
    std::optional<Error> failure() const;

  private:
    void serve();

    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    std::function<void()> work_;  ///< Empty when idle.
    std::optional<Error> failure_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace lockstep
