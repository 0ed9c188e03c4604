// worker/progress_watch.h
//
// A thread beside the training thread: it writes the rank's heartbeat and ends the
// process when the training thread stands still for too long, whatever it is
// stuck in. Deadlines of collectives come first; this is the second line.

#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include "io/heartbeat.h"

namespace lockstep {

struct ProgressWatchOptions {
    std::filesystem::path run;  ///< Heartbeats go here once the folder exists.
    Rank rank{0};
    WorldSize world_size{1};
    std::chrono::milliseconds interval{1000};  ///< Between heartbeats while nothing changes.
    /// Least time between heartbeats on progress: what a heartbeat says is at most so old.
    std::chrono::milliseconds least_interval{50};
    /// Without progress for so long after the first step has begun: on_stuck.
    std::chrono::milliseconds patience{605'000};
    /// Called by the watch's thread, once. The shipped program prints the heartbeat and ends with code 76.
    std::function<void(const Heartbeat& where)> on_stuck;
};

class ProgressWatch {
  public:
    explicit ProgressWatch(ProgressWatchOptions options);
    ~ProgressWatch();  ///< Writes a last heartbeat.
    ProgressWatch(const ProgressWatch&) = delete;
    ProgressWatch& operator=(const ProgressWatch&) = delete;

    /// The training thread is at work here. Cheap: once a pack or phase.
    void at(std::string_view phase, std::uint64_t step, std::optional<std::uint64_t> pack = std::nullopt);
    /// The rank is ending and has given its reason; written at once. The watch goes on: ending can hang too.
    void ending();

  private:
    using Clock = std::chrono::steady_clock;

    void watch();
    void write(Heartbeat beat);

    ProgressWatchOptions options_;
    std::mutex mutex_;
    std::condition_variable wake_;
    Heartbeat beat_;
    Clock::time_point last_write_{};
    bool stop_ = false;
    std::mutex file_mutex_;
    int descriptor_ = -1;
    std::thread thread_;
};

}  // namespace lockstep
