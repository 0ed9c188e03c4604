#include "kernels/thread_pool.h"

#include <gtest/gtest.h>
#include <xmmintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace lockstep {
namespace {

TEST(ThreadPoolTest, CallsEveryTaskOnce) {
    for (const int threads : {1, 2, 3, 8}) {
        ThreadPool pool(threads);
        EXPECT_EQ(pool.size(), threads);
        for (const std::size_t tasks : {0U, 1U, 2U, 7U, 1000U}) {
            std::vector<std::atomic<int>> calls(tasks);
            pool.for_each(tasks, [&](std::size_t i) { calls[i].fetch_add(1); });
            EXPECT_TRUE(std::all_of(calls.begin(), calls.end(), [](const auto& n) { return n == 1; }))
                << tasks;
        }
    }
}

// Also shows that what a body wrote is visible to the caller, and what the caller wrote to the next body: the
// values are plain, so the thread sanitizer would report a missing order.
TEST(ThreadPoolTest, ManyShortJobsInARowSeeEachOthersWrites) {
    ThreadPool pool(4);
    std::vector<std::size_t> values(4, 0);
    for (std::size_t job = 0; job < 3000; ++job) {
        pool.for_each(values.size(), [&](std::size_t i) { values[i] += job; });
        for (std::size_t& value : values) ++value;
    }
    for (const std::size_t value : values) EXPECT_EQ(value, 2999u * 3000u / 2u + 3000u);
}

TEST(ThreadPoolTest, WorkersThatSleepWakeForTheNextJob) {
    ThreadPool pool(2);
    for (int job = 0; job < 5; ++job) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        std::mutex mutex;
        std::set<std::thread::id> threads;
        // Each task waits for the other: the job ends only if two threads take part.
        std::atomic<int> arrived{0};
        pool.for_each(2, [&](std::size_t) {
            arrived.fetch_add(1);
            while (arrived.load() < 2) std::this_thread::yield();
            const std::lock_guard lock(mutex);
            threads.insert(std::this_thread::get_id());
        });
        EXPECT_EQ(threads.size(), 2u);
    }
}

TEST(ThreadPoolTest, RethrowsTheLowestFailureAfterAllEnded) {
    for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        std::atomic<int> ended{0};
        try {
            pool.for_each(20, [&](std::size_t i) {
                ended.fetch_add(1);
                if (i % 5 == 3) throw std::runtime_error("task " + std::to_string(i));
            });
            FAIL() << "nothing was thrown";
        } catch (const std::runtime_error& failure) {
            EXPECT_STREQ(failure.what(), "task 3");
        }
        EXPECT_EQ(ended.load(), 20);
        pool.for_each(3, [&](std::size_t) { ended.fetch_add(1); });  // The pool is whole.
        EXPECT_EQ(ended.load(), 23);
    }
}

TEST(ThreadPoolTest, RangesCoverTheItemsAndBeginAtTheGrain) {
    ThreadPool pool(3);
    for (const std::size_t items : {0U, 1U, 31U, 32U, 33U, 96U, 1000U}) {
        std::mutex mutex;
        std::vector<std::pair<std::size_t, std::size_t>> ranges;
        pool.for_ranges(items, 32, [&](std::size_t begin, std::size_t end) {
            const std::lock_guard lock(mutex);
            ranges.emplace_back(begin, end);
        });
        std::sort(ranges.begin(), ranges.end());
        EXPECT_EQ(ranges.size(), std::min<std::size_t>(3, (items + 31) / 32));
        std::size_t covered = 0;
        for (const auto& [begin, end] : ranges) {
            EXPECT_EQ(begin, covered);
            EXPECT_EQ(begin % 32, 0u);
            EXPECT_LT(begin, end);
            covered = end;
        }
        EXPECT_EQ(covered, items);
    }
}

TEST(ThreadPoolTest, EveryThreadKeepsDenormals) {
    // A creator that flushes must not hand its mode on: results would depend on who started the pool.
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040u);
    ThreadPool pool(4);
    std::atomic<int> arrived{0};
    std::atomic<int> kept{0};
    pool.for_each(4, [&](std::size_t) {
        arrived.fetch_add(1);
        while (arrived.load() < 4) std::this_thread::yield();
        volatile float smallest_normal = 0x1p-126f;
        if (smallest_normal * 0.5f == 0x1p-127f) kept.fetch_add(1);
    });
    _mm_setcsr(before);
    EXPECT_EQ(kept.load(), 4);
}

}  // namespace
}  // namespace lockstep
