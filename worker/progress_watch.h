// worker/progress_watch.h
//
// Two threads beside the training thread. One ends the process when the training
// thread stands still for too long, whatever it is stuck in, from the start of the
// program on; it touches no file, since a file system may be what all the others are
// stuck in. The other writes the rank's heartbeat. Deadlines of collectives come
// first; this is the second line.

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

#include "io/run/heartbeat.h"

namespace lockstep {

/// Where heartbeats go, and how often.
struct HeartbeatOptions {
    std::filesystem::path run;  ///< Written once its logs/ exists.
    Rank rank{0};
    WorldSize world_size{1};
    std::chrono::milliseconds interval{1000};  ///< Between heartbeats while nothing changes.
    /// Least time between heartbeats on progress: what a heartbeat says is at most so old.
    std::chrono::milliseconds least_interval{50};
};

struct ProgressWatchOptions {
    Rank rank{0};  ///< As far as it is known before the world is joined.
    /// Without progress for so long: on_stuck.
    std::chrono::milliseconds patience{605'000};
    /// Where heartbeats go until they go to the run, which may be another process' still. Empty: nowhere.
    /// Removed when they go to the run.
    std::filesystem::path start_file;
    /// Called once, by a thread that waits for nothing else. The shipped program prints the heartbeat and
    /// ends with code 76.
    std::function<void(const Heartbeat& where)> on_stuck;
    /// Before a heartbeat is written, in the writing thread; a test may let it stand still here.
    std::function<void(const Heartbeat& beat)> before_write;
};

enum class Patience {
    limited,
    unlimited,  ///< What is begun may rightly take any time: while the process lives, its heartbeat
                ///< progresses.
};

class ProgressWatch {
  public:
    /// Waits for the first word, and writes no heartbeat but to the start file.
    explicit ProgressWatch(ProgressWatchOptions options);
    /// Writes a last heartbeat, and waits for it; the watch goes on meanwhile.
    ~ProgressWatch();
    ProgressWatch(const ProgressWatch&) = delete;
    ProgressWatch& operator=(const ProgressWatch&) = delete;

    /// From now on heartbeats go to the run. Called once, by whoever holds it.
    void write_heartbeats_to(HeartbeatOptions options);
    /// Before the first step: what is done now ("loading the plan"). Each is progress.
    void starting(std::string_view phase, Patience patience = Patience::limited);
    /// The training thread is at work here. Cheap, and waits for no file: once a pack or phase. The heartbeat
    /// follows.
    void at(std::string_view phase, std::uint64_t step, std::optional<std::uint64_t> pack = std::nullopt);
    /// The rank is ending and has given its reason; returns when that is written, or after a second. The
    /// watch goes on: ending can hang too.
    void ending();

  private:
    using Clock = std::chrono::steady_clock;

    void watch();
    void write_heartbeats();
    void write(Heartbeat beat, const HeartbeatOptions& options);
    /// The file to write to, opened when it can be; -1: none.
    int open_file(const HeartbeatOptions& options);

    ProgressWatchOptions options_;
    std::mutex mutex_;  ///< Never held while a file is touched.
    std::condition_variable news_, written_, watch_ends_;
    HeartbeatOptions heartbeats_;  ///< The run is empty until it is ours.
    Heartbeat beat_;
    Patience patience_ = Patience::unlimited;  ///< Until the first word.
    bool writing_ = false;
    std::uint64_t written_progress_ = 0;  ///< Of the newest heartbeat written, or given up.
    bool last_words_ = false;             ///< Write what there is, at once.
    bool stop_writing_ = false;
    bool stop_watching_ = false;
    int descriptor_ = -1;        ///< Of the run's file; the writing thread's, as the next.
    int start_descriptor_ = -1;  ///< Of the start file.
    std::thread writer_, watcher_;
};

}  // namespace lockstep
