#include "worker/background_task.h"

#include <pthread.h>
#include <sched.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <utility>

#include "io/base/contract.h"
#include "worker/signal_free_thread.h"

namespace lockstep {

namespace {

/// More than the caller of begin() still does before it is back at its own work, less than a write.
constexpr std::chrono::milliseconds wake_after{2};
constexpr std::chrono::nanoseconds at_once{1};

}  // namespace

BackgroundTask::Alarm::Alarm() : timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) {
    if (timer_ < 0) throw_errno("make a timer for", "the writing thread", errno);
}

BackgroundTask::Alarm::~Alarm() {
    ::close(timer_);
}

void BackgroundTask::Alarm::set(std::chrono::nanoseconds from_now) const {
    itimerspec when{};
    when.it_value.tv_nsec = static_cast<long>(from_now.count());
    if (timerfd_settime(timer_, 0, &when, nullptr) != 0) {
        throw_errno("set the timer of", "the writing thread", errno);
    }
}

void BackgroundTask::Alarm::await() const {
    std::uint64_t rings = 0;
    if (::read(timer_, &rings, sizeof rings) < 0 && errno != EINTR) {
        throw_errno("wait for the timer of", "the writing thread", errno);
    }
}

BackgroundTask::BackgroundTask() : thread_(start_signal_free([this] { serve(); })) {}

BackgroundTask::~BackgroundTask() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    alarm_.set(at_once);
    thread_.join();
}

void BackgroundTask::begin(std::function<void()> work) {
    LOCKSTEP_EXPECTS(work != nullptr);
    {
        const std::lock_guard lock(mutex_);
        LOCKSTEP_EXPECTS(!work_);
        work_ = std::move(work);
        failure_.reset();
    }
    alarm_.set(wake_after);
}

bool BackgroundTask::busy() const {
    const std::lock_guard lock(mutex_);
    return work_ != nullptr;
}

void BackgroundTask::wait() const {
    std::unique_lock lock(mutex_);
    if (!work_) return;
    alarm_.set(at_once);
    done_.wait(lock, [this] { return work_ == nullptr; });
}

std::optional<Error> BackgroundTask::failure() const {
    const std::lock_guard lock(mutex_);
    LOCKSTEP_EXPECTS(!work_);
    return failure_;
}

void BackgroundTask::serve() {
    // Woken, it waits for the loop's time slice to end instead of taking its processor at once; its share
    // stays the same. Where that is not allowed it works all the same.
    const sched_param no_priority{};
    static_cast<void>(pthread_setschedparam(pthread_self(), SCHED_BATCH, &no_priority));
    std::unique_lock lock(mutex_);
    for (;;) {
        while (!ending_ && !work_) {
            lock.unlock();
            alarm_.await();
            lock.lock();
        }
        if (!work_) return;
        // Only begin() changes work_ from now on, and it requires that there is none.
        lock.unlock();
        std::optional<Error> failure;
        try {
            work_();
        } catch (const std::exception& exception) {
            failure = error_of(exception);
        }
        lock.lock();
        failure_ = std::move(failure);
        work_ = nullptr;
        done_.notify_all();
    }
}

}  // namespace lockstep
