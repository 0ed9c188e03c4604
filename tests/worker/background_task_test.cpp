#include "worker/background_task.h"

#include <gtest/gtest.h>

#include <csignal>
#include <future>
#include <vector>

#include "io/base/error.h"

namespace lockstep {
namespace {

TEST(BackgroundTaskTest, WorkIsDoneBesideTheCallerAndItsResultsAreThere) {
    std::vector<int> written;
    BackgroundTask task;
    for (int i = 0; i < 200; ++i) {
        task.begin([&written, i] { written.push_back(i); });
        if (i % 2 == 0) {
            task.wait();
        } else {
            while (task.busy()) std::this_thread::yield();
        }
        ASSERT_EQ(written.size(), static_cast<std::size_t>(i) + 1);
    }
}

TEST(BackgroundTaskTest, BeginReturnsWhileTheWorkGoesOn) {
    std::promise<void> gate;
    BackgroundTask task;
    task.begin([&] { gate.get_future().wait(); });
    EXPECT_TRUE(task.busy());
    gate.set_value();
    task.wait();
    EXPECT_FALSE(task.busy());
}

TEST(BackgroundTaskTest, AFailureIsKeptUntilTheNextWork) {
    BackgroundTask task;
    task.begin([] { throw Error(ErrorCode::io_failure, "the disk is full"); });
    task.wait();
    ASSERT_TRUE(task.failure());
    EXPECT_EQ(task.failure()->code(), ErrorCode::io_failure);
    EXPECT_STREQ(task.failure()->what(), "the disk is full");
    task.begin([] {});
    task.wait();
    EXPECT_FALSE(task.failure());
}

TEST(BackgroundTaskTest, TheEndWaitsForTheWork) {
    bool done = false;
    {
        std::promise<void> started;
        BackgroundTask task;
        task.begin([&] {
            started.set_value();
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            done = true;
        });
        started.get_future().wait();
    }
    EXPECT_TRUE(done);
}

TEST(BackgroundTaskTest, SignalsAreForTheLoop) {
    sigset_t blocked;
    sigemptyset(&blocked);
    BackgroundTask task;
    task.begin([&] { pthread_sigmask(SIG_SETMASK, nullptr, &blocked); });
    task.wait();
    for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) EXPECT_EQ(sigismember(&blocked, signal), 1);
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    EXPECT_EQ(sigismember(&blocked, SIGUSR1), 0) << "the maker's own mask is as before";
}

}  // namespace
}  // namespace lockstep
