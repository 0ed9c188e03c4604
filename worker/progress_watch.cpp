#include "worker/progress_watch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "io/base/host_name.h"
#include "worker/signal_free_thread.h"

namespace lockstep {

namespace {

/// How often the watch looks, so that patience is kept to this.
constexpr std::chrono::milliseconds look_interval{250};
/// The end of a rank is not worth more than this to its heartbeat.
constexpr std::chrono::seconds last_words_patience{1};

}  // namespace

ProgressWatch::ProgressWatch(ProgressWatchOptions options) : options_(std::move(options)) {
    beat_.rank = options_.rank.value;
    beat_.host = own_host_name();
    beat_.pid = getpid();
    writing_ = !options_.start_file.empty();
    // The watcher first: should the second thread not be had, the destructor is not there to join this one.
    watcher_ = start_signal_free([this] { watch(); });
    try {
        writer_ = start_signal_free([this] { write_heartbeats(); });
    } catch (...) {
        {
            const std::lock_guard lock(mutex_);
            stop_watching_ = true;
        }
        watch_ends_.notify_all();
        watcher_.join();
        throw;
    }
}

ProgressWatch::~ProgressWatch() {
    {
        const std::lock_guard lock(mutex_);
        beat_.ended = true;
        ++beat_.progress;
        stop_writing_ = true;
    }
    news_.notify_all();
    writer_.join();
    {
        const std::lock_guard lock(mutex_);
        stop_watching_ = true;
    }
    watch_ends_.notify_all();
    watcher_.join();
    if (descriptor_ >= 0) close(descriptor_);
    if (start_descriptor_ >= 0) close(start_descriptor_);
}

void ProgressWatch::write_heartbeats_to(HeartbeatOptions options) {
    {
        const std::lock_guard lock(mutex_);
        heartbeats_ = std::move(options);
        beat_.rank = heartbeats_.rank.value;
        beat_.world_size = heartbeats_.world_size.value;
        writing_ = true;
        ++beat_.progress;
    }
    news_.notify_all();
}

void ProgressWatch::starting(std::string_view phase, Patience patience) {
    {
        const std::lock_guard lock(mutex_);
        beat_.phase = phase;
        patience_ = patience;
        ++beat_.progress;
    }
    news_.notify_all();
}

void ProgressWatch::at(std::string_view phase, std::uint64_t step, std::optional<std::uint64_t> pack) {
    {
        const std::lock_guard lock(mutex_);
        beat_.phase = phase;
        beat_.step = step;
        beat_.pack = pack;
        beat_.training = true;
        patience_ = Patience::limited;
        ++beat_.progress;
    }
    // A process that is stopped cannot write any more, so news is written while there is time.
    news_.notify_all();
}

void ProgressWatch::ending() {
    std::unique_lock lock(mutex_);
    beat_.ended = true;
    const std::uint64_t said = ++beat_.progress;
    last_words_ = true;
    news_.notify_all();
    if (!writing_) return;
    written_.wait_for(lock, last_words_patience, [&] { return written_progress_ >= said; });
}

void ProgressWatch::watch() {
    const auto look = std::min(look_interval, options_.patience);
    Clock::time_point moved = Clock::now();
    std::uint64_t progress = 0;
    std::unique_lock lock(mutex_);
    while (!stop_watching_) {
        const Clock::time_point now = Clock::now();
        if (beat_.progress != progress || patience_ == Patience::unlimited) moved = now;
        progress = beat_.progress;
        if (now - moved >= options_.patience && options_.on_stuck) {
            const Heartbeat where = beat_;
            lock.unlock();
            options_.on_stuck(where);
            return;
        }
        watch_ends_.wait_for(lock, look);
    }
}

/// One thread writes them all, so that an older one never follows a newer one.
void ProgressWatch::write_heartbeats() {
    const auto urgent = [this] { return stop_writing_ || last_words_; };
    const auto news = [&] { return urgent() || beat_.progress != written_progress_; };
    std::unique_lock lock(mutex_);
    news_.wait(lock, [this] { return writing_ || stop_writing_; });
    if (!writing_) return;
    for (;;) {
        const Clock::time_point now = Clock::now();
        const bool last = stop_writing_;
        last_words_ = false;
        // To live is all that can be asked of what may take any time.
        const bool silent = beat_.progress == written_progress_;
        if (patience_ == Patience::unlimited && silent && !beat_.ended) ++beat_.progress;
        const Heartbeat beat = beat_;
        const HeartbeatOptions options = heartbeats_;
        lock.unlock();
        try {
            write(beat, options);
        } catch (const std::exception&) {
            // It costs a heartbeat, not the run.
        }
        lock.lock();
        written_progress_ = beat.progress;
        written_.notify_all();
        if (last) return;
        news_.wait_until(lock, now + options.least_interval, urgent);
        news_.wait_until(lock, now + options.interval, news);
    }
}

int ProgressWatch::open_file(const HeartbeatOptions& options) {
    if (descriptor_ >= 0) return descriptor_;
    constexpr int flags = O_WRONLY | O_CREAT | O_CLOEXEC;
    // A new run's folder appears while we start; making it is not our business.
    struct stat found {};
    if (!options.run.empty() && stat((options.run / "logs").c_str(), &found) == 0) {
        const std::filesystem::path path = heartbeat_path(options.run, options.rank);
        if (options.rank.value != 0) mkdir(path.parent_path().c_str(), 0777);
        descriptor_ = open(path.c_str(), flags, 0666);
        if (descriptor_ >= 0) return descriptor_;
    }
    if (start_descriptor_ < 0 && !options_.start_file.empty()) {
        // Its folder may be everybody's.
        start_descriptor_ = open(options_.start_file.c_str(), flags | O_NOFOLLOW | O_NONBLOCK, 0666);
    }
    return start_descriptor_;
}

void ProgressWatch::write(Heartbeat beat, const HeartbeatOptions& options) {
    if (options_.before_write) options_.before_write(beat);
    const int file = open_file(options);
    if (file < 0) return;
    beat.monotonic_seconds = std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
    const std::string line = to_json_line(beat);
    // A full disk costs a heartbeat, not the run.
    if (pwrite(file, line.data(), line.size(), 0) < 0) return;
    if (file == descriptor_ && start_descriptor_ >= 0) {
        close(std::exchange(start_descriptor_, -1));
        unlink(options_.start_file.c_str());
    }
}

}  // namespace lockstep
