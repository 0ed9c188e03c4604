#include "worker/background_task.h"

#include <pthread.h>
#include <sched.h>

#include <exception>
#include <utility>

#include "io/base/contract.h"
#include "worker/signal_free_thread.h"

namespace lockstep {

BackgroundTask::BackgroundTask() : thread_(start_signal_free([this] { serve(); })) {}

BackgroundTask::~BackgroundTask() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
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
    changed_.notify_all();
}

bool BackgroundTask::busy() const {
    const std::lock_guard lock(mutex_);
    return work_ != nullptr;
}

void BackgroundTask::wait() const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return work_ == nullptr; });
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
        changed_.wait(lock, [this] { return ending_ || work_ != nullptr; });
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
        changed_.notify_all();
    }
}

}  // namespace lockstep
