#include "kernels/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "io/base/contract.h"
#include "io/base/thread_error.h"
#include "kernels/blas_runtime.h"

namespace lockstep {

namespace {

// Long enough to bridge the serial lines between two kernels of a step, short beside a wake-up by the kernel.
constexpr std::chrono::microseconds spin_time{10};

// Poll `ready` for spin_time at most. @return whether it became true.
template <class Ready>
bool spin_until(bool may_spin, const Ready& ready) {
    if (ready()) return true;
    if (!may_spin) return false;
    const auto give_up = std::chrono::steady_clock::now() + spin_time;
    do {
        for (int i = 0; i < 16; ++i) {
            if (ready()) return true;
            __builtin_ia32_pause();
        }
    } while (std::chrono::steady_clock::now() < give_up);
    return false;
}

}  // namespace

// A job is `body` and `tasks`, published by storing `unclaimed`. A thread that takes one from `unclaimed`
// owns a task, and the job cannot end before `unfinished` counts that task down; so the plain members stay in
// place while anyone reads them, and a worker that wakes late finds nothing to claim and holds nobody up.
struct ThreadPool::State {
    const FunctionRef<void(std::size_t)>* body = nullptr;
    std::size_t tasks = 0;
    alignas(64) std::atomic<std::size_t> unclaimed{0};
    alignas(64) std::atomic<std::size_t> unfinished{0};
    alignas(64) std::atomic<int> sleeping_workers{0};
    std::atomic<bool> caller_sleeps{false};
    std::atomic<bool> stopping{false};
    std::atomic<bool> busy{false};
    bool may_spin = false;

    std::mutex mutex;
    std::condition_variable work_or_stop;
    std::condition_variable job_done;
    std::exception_ptr
        failure;  // Of the lowest task that failed, so that the message does not depend on timing.
    std::size_t failed_task = 0;

    std::vector<std::thread> workers;

    bool claim(std::size_t& task) {
        std::size_t left = unclaimed.load(std::memory_order_acquire);
        while (left > 0) {
            if (unclaimed.compare_exchange_weak(left, left - 1, std::memory_order_acq_rel)) {
                task = tasks - left;
                return true;
            }
        }
        return false;
    }

    void run(std::size_t task) {
        try {
            (*body)(task);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!failure || task < failed_task) {
                failure = std::current_exception();
                failed_task = task;
            }
        }
        // Sequentially consistent with caller_sleeps: one of the two sides sees the other.
        if (unfinished.fetch_sub(1) == 1 && caller_sleeps.load()) {
            const std::lock_guard lock(mutex);
            job_done.notify_one();
        }
    }

    void run_claimed() {
        for (std::size_t task = 0; claim(task);) run(task);
    }

    void work() {
        set_floating_point_mode();
        const auto has_news = [this] { return unclaimed.load() > 0 || stopping.load(); };
        while (!stopping.load()) {
            run_claimed();
            if (spin_until(may_spin, has_news)) continue;
            std::unique_lock lock(mutex);
            sleeping_workers.fetch_add(1);
            work_or_stop.wait(lock, has_news);
            sleeping_workers.fetch_sub(1);
        }
    }

    void wake_workers(std::size_t wanted) {
        const int sleepers = sleeping_workers.load();
        if (sleepers == 0) return;
        const std::lock_guard lock(mutex);
        if (wanted >= static_cast<std::size_t>(sleepers)) return work_or_stop.notify_all();
        for (; wanted > 0; --wanted) work_or_stop.notify_one();
    }

    void stop() {
        stopping.store(true);
        {
            const std::lock_guard lock(mutex);
            work_or_stop.notify_all();
        }
        for (std::thread& worker : workers) worker.join();
    }

    void wait_until_done() {
        const auto done = [this] { return unfinished.load() == 0; };
        if (spin_until(may_spin, done)) return;
        std::unique_lock lock(mutex);
        caller_sleeps.store(true);
        job_done.wait(lock, done);
        caller_sleeps.store(false);
    }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
    LOCKSTEP_EXPECTS(threads >= 1);
    set_floating_point_mode();
    // With fewer cores than threads a spinning thread only keeps a working one from its core.
    state_->may_spin = static_cast<unsigned>(threads) <= std::thread::hardware_concurrency();
    state_->workers.reserve(static_cast<std::size_t>(threads) - 1);
    try {
        for (int i = 1; i < threads; ++i)
            state_->workers.emplace_back([state = state_.get()] { state->work(); });
    } catch (const std::system_error& failure) {
        const std::size_t started = state_->workers.size() + 1;
        state_->stop();
        throw_no_thread(started + 1, threads, failure);
    } catch (...) {
        state_->stop();
        throw;
    }
}

ThreadPool::~ThreadPool() {
    state_->stop();
}

int ThreadPool::size() const {
    return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::for_each(std::size_t tasks, FunctionRef<void(std::size_t)> body) {
    if (tasks == 0) return;
    State& state = *state_;
    [[maybe_unused]] const bool was_busy = state.busy.exchange(true);
    LOCKSTEP_EXPECTS(!was_busy);

    state.body = &body;
    state.tasks = tasks;
    state.unfinished.store(tasks);
    if (tasks == 1 || state.workers.empty()) {
        for (std::size_t task = 0; task < tasks; ++task) state.run(task);
    } else {
        state.unclaimed.store(tasks);
        state.wake_workers(tasks - 1);
        state.run_claimed();
        state.wait_until_done();
    }

    const std::exception_ptr failure = std::exchange(state.failure, nullptr);
    state.busy.store(false);
    if (failure) std::rethrow_exception(failure);
}

void ThreadPool::for_ranges(std::size_t items, std::size_t grain,
                            FunctionRef<void(std::size_t, std::size_t)> body) {
    LOCKSTEP_EXPECTS(grain >= 1);
    if (items == 0) return;
    const std::size_t grains = (items + grain - 1) / grain;
    const std::size_t ranges = std::min(grains, static_cast<std::size_t>(size()));
    for_each(ranges, [&](std::size_t i) {
        body(grains * i / ranges * grain, std::min(items, grains * (i + 1) / ranges * grain));
    });
}

}  // namespace lockstep
