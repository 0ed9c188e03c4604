// worker/background_task.h
//
// One thread that does one piece of work at a time beside the loop. It makes no
// MPI call and does no arithmetic the state could see; what it throws is kept for
// whoever asks.

#pragma once

#include <chrono>
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

    /// Hand over work and return at once: the thread is woken 2 ms later, by a timer. Woken from here it
    /// could take the processor before the caller has returned.
    /// @pre !busy(). What the work writes may be read once busy() was false or wait() has returned.
    void begin(std::function<void()> work);

    bool busy() const;
    void wait() const;  ///< Until it is not busy. Wakes the thread at once if it is.
    /// How the last work failed; none if it did not. @pre !busy().
    std::optional<Error> failure() const;

  private:
    /// The thread's alarm clock.
    class Alarm {
      public:
        Alarm();
        ~Alarm();
        Alarm(const Alarm&) = delete;
        Alarm& operator=(const Alarm&) = delete;
        /// Takes the place of one set before. @param from_now  in (0, 1 s).
        void set(std::chrono::nanoseconds from_now) const;
        void await() const;  ///< Until it rings; may return early.

      private:
        int timer_;
    };

    void serve();

    Alarm alarm_;
    mutable std::mutex mutex_;
    mutable std::condition_variable done_;
    std::function<void()> work_;  ///< Empty when idle.
    std::optional<Error> failure_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace lockstep
