// io/base/ordered_work.h
//
// Jobs worked on by several threads, with the results taken in the order in which
// the jobs were given: parallel work that cannot be told from serial work.

#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "io/base/thread_error.h"

namespace lockstep {

enum class SingleThread { caller, beside_caller };

/// All members are called by one thread.
template <class Job, class Result>
class OrderedWork {
  public:
    /// @param threads  at least 1.
    /// @param work     called with a job and the number of the thread, in [0, threads).
    /// @param single   what one thread means: the caller, who then works in `give`, or one beside the caller.
    /// @throws Error{environment} if a thread cannot be started.
    OrderedWork(int threads, std::function<Result(Job&, int thread)> work,
                SingleThread single = SingleThread::caller)
        : work_(std::move(work)), depth_(2 * static_cast<std::size_t>(threads)) {
        const int started = threads == 1 && single == SingleThread::caller ? 0 : threads;
        try {
            for (int i = 0; i < started; ++i) threads_.emplace_back([this, i] { serve(i); });
        } catch (const std::system_error& failure) {
            const std::size_t running = threads_.size();
            stop();
            throw_no_thread(running + 1, threads, failure);
        }
    }
    ~OrderedWork() { stop(); }
    OrderedWork(const OrderedWork&) = delete;
    OrderedWork& operator=(const OrderedWork&) = delete;

    bool empty() const { return slots_.empty(); }
    /// Take a result before giving another job.
    bool full() const { return slots_.size() >= (threads_.empty() ? 1 : depth_); }

    void give(Job job) {
        auto slot = std::make_unique<Slot>(std::move(job));
        if (threads_.empty()) run(*slot, 0);
        {
            const std::lock_guard lock(mutex_);
            if (!threads_.empty()) waiting_.push_back(slot.get());
            slots_.push_back(std::move(slot));
        }
        given_.notify_one();
    }

    /// The result of the oldest job; waits for it. Throws what its work threw.
    Result take() {
        std::unique_lock lock(mutex_);
        done_.wait(lock, [this] { return slots_.front()->done; });
        const std::unique_ptr<Slot> slot = std::move(slots_.front());
        slots_.pop_front();
        if (slot->failure) std::rethrow_exception(slot->failure);
        return std::move(*slot->result);
    }

  private:
    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        given_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

    struct Slot {
        explicit Slot(Job given) : job(std::move(given)) {}
        Job job;
        std::optional<Result> result;
        std::exception_ptr failure;
        bool done = false;
    };

    void run(Slot& slot, int thread) {
        try {
            slot.result.emplace(work_(slot.job, thread));
        } catch (...) {
            slot.failure = std::current_exception();
        }
        const std::lock_guard lock(mutex_);
        slot.done = true;
    }

    void serve(int thread) {
        for (;;) {
            Slot* slot = nullptr;
            {
                std::unique_lock lock(mutex_);
                given_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
                if (stopping_) return;
                slot = waiting_.front();
                waiting_.pop_front();
            }
            run(*slot, thread);
            done_.notify_one();
        }
    }

    std::function<Result(Job&, int)> work_;
    std::size_t depth_;
    std::mutex mutex_;
    std::condition_variable given_, done_;
    std::deque<std::unique_ptr<Slot>> slots_;
    std::deque<Slot*> waiting_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace lockstep
