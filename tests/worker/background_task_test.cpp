#include "worker/background_task.h"

#include <gtest/gtest.h>

#include <pthread.h>

#include <csignal>
#include <future>
#include <system_error>
#include <vector>

#include "io/base/error.h"
#include "tests/support/error_of.h"
#include "worker/signal_free_thread.h"

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

#if defined(LOCKSTEP_CONTRACTS)
TEST(BackgroundTaskTest, OneWorkAtATimeAndNoVerdictBeforeItsEnd) {
    const auto is_bug = [](const auto& call) { EXPECT_EQ(error_of(call).code(), ErrorCode::bug); };
    std::promise<void> gate;
    BackgroundTask task;
    is_bug([&] { task.begin(nullptr); });
    int done = 0;
    task.begin([&] {
        gate.get_future().wait();
        ++done;
    });
    is_bug([&] { task.begin([&] { done += 10; }); });
    is_bug([&] { task.failure(); });
    gate.set_value();
    task.wait();
    EXPECT_EQ(done, 1);
    EXPECT_FALSE(task.failure());
}
#endif

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

TEST(BackgroundTaskTest, WorkHandedOverLastIsDoneToo) {
    int done = 0;
    {
        BackgroundTask task;
        task.begin([&] { ++done; });
    }
    EXPECT_EQ(done, 1);
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

TEST(SignalFreeThreadTest, WithoutAThreadTheMakersMaskIsAsBefore) {
    pthread_attr_t sound, impossible;
    ASSERT_EQ(pthread_getattr_default_np(&sound), 0);
    ASSERT_EQ(pthread_getattr_default_np(&impossible), 0);
    // No address space holds such a stack.
    ASSERT_EQ(pthread_attr_setstacksize(&impossible, std::size_t{1} << 47U), 0);
    ASSERT_EQ(pthread_setattr_default_np(&impossible), 0);
    EXPECT_THROW(start_signal_free([] {}), std::system_error);
    ASSERT_EQ(pthread_setattr_default_np(&sound), 0);
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    EXPECT_EQ(sigismember(&blocked, SIGUSR1), 0);
    start_signal_free([] {}).join();
}

}  // namespace
}  // namespace lockstep
