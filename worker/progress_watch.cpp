#include "worker/progress_watch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "io/base/host_name.h"
#include "worker/signal_free_thread.h"

namespace lockstep {

namespace {

/// How often the watch looks, so that patience is kept to this.
constexpr std::chrono::milliseconds look_interval{250};

}  // namespace

ProgressWatch::ProgressWatch(ProgressWatchOptions options) : options_(std::move(options)) {
    beat_.rank = options_.rank.value;
    beat_.world_size = options_.world_size.value;
    beat_.host = own_host_name();
    beat_.pid = getpid();
    thread_ = start_signal_free([this] { watch(); });
}

ProgressWatch::~ProgressWatch() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
        beat_.ended = true;
    }
    wake_.notify_all();
    thread_.join();
    write(beat_);
    if (descriptor_ >= 0) close(descriptor_);
}

void ProgressWatch::at(std::string_view phase, std::uint64_t step, std::optional<std::uint64_t> pack) {
    std::unique_lock lock(mutex_);
    beat_.phase = phase;
    beat_.step = step;
    beat_.pack = pack;
    beat_.training = true;
    ++beat_.progress;
    // A process that is stopped cannot write any more, so news is written while there is time.
    const Clock::time_point now = Clock::now();
    if (now - last_write_ < options_.least_interval) return;
    last_write_ = now;
    const Heartbeat beat = beat_;
    lock.unlock();
    write(beat);
}

void ProgressWatch::ending() {
    Heartbeat beat;
    {
        const std::lock_guard lock(mutex_);
        beat_.ended = true;
        ++beat_.progress;
        beat = beat_;
    }
    write(beat);
}

void ProgressWatch::watch() {
    const auto look = std::min(look_interval, options_.interval);
    Clock::time_point moved = Clock::now();
    std::uint64_t progress = 0;
    std::unique_lock lock(mutex_);
    while (!stop_) {
        const Clock::time_point now = Clock::now();
        if (beat_.progress != progress) moved = now;
        progress = beat_.progress;
        const Heartbeat beat = beat_;
        if (beat.training && now - moved >= options_.patience && options_.on_stuck) {
            lock.unlock();
            options_.on_stuck(beat);
            return;
        }
        if (now - last_write_ >= options_.interval) {
            last_write_ = now;
            lock.unlock();
            write(beat);
            lock.lock();
            if (stop_) return;
        }
        wake_.wait_for(lock, look);
    }
}

void ProgressWatch::write(Heartbeat beat) {
    const std::lock_guard lock(file_mutex_);
    if (descriptor_ < 0) {
        // A new run's folder appears while we start; making it is not our business.
        struct stat found {};
        if (stat((options_.run / "logs").c_str(), &found) != 0) return;
        const std::filesystem::path path = heartbeat_path(options_.run, options_.rank);
        if (options_.rank.value != 0) mkdir(path.parent_path().c_str(), 0777);
        descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (descriptor_ < 0) return;
    }
    beat.monotonic_seconds = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
    const std::string line = to_json_line(beat);
    // A full disk costs a heartbeat, not the run.
    if (pwrite(descriptor_, line.data(), line.size(), 0) < 0) return;
}

}  // namespace lockstep
