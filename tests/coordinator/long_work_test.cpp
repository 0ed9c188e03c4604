// Work that lasts longer than any deadline, in whatever world it is launched.

#include "coordinator/ingest/long_work.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>

#include "io/comm/agreement.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

TEST(LongWorkTest, ARankAtWorkIsNotMissed) {
    const auto comm = make_test_communicator();
    comm->set_timeout(milliseconds(2500));
    const bool slow = comm->rank().value == 0;
    bool done = false;
    together_for_long(*comm, "working", [&](const std::atomic<bool>&) {
        if (slow) std::this_thread::sleep_for(milliseconds(6000));
        done = true;
    });
    EXPECT_TRUE(done);
}

TEST(LongWorkTest, ARankThatFailsEndsTheOthersSoon) {
    const auto comm = make_test_communicator();
    const int failing = comm->size().value - 1;
    const auto begin = std::chrono::steady_clock::now();
    try {
        together_for_long(*comm, "working", [&](const std::atomic<bool>& others_failed) {
            if (comm->rank().value == failing) throw Error(ErrorCode::corrupt_data, "a bad line");
            for (int i = 0; i < 6000 && !others_failed; ++i) std::this_thread::sleep_for(milliseconds(10));
        });
        ADD_FAILURE() << "no error";
    } catch (const AgreedError& error) {
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        EXPECT_NE(std::string(error.what()).find("a bad line"), std::string::npos);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(LongWorkTest, ARankThatIsGoneIsMissed) {
    const auto comm = make_test_communicator();
    comm->set_timeout(milliseconds(1500));
    // Rank 1 does not come; the others notice, though their own work goes on. A world of one has no such
    // rank.
    if (comm->size().value == 1) {
        EXPECT_NO_THROW(together_for_long(*comm, "working", [](const std::atomic<bool>&) {}));
        return;
    }
    if (comm->rank().value != 1) {
        EXPECT_THROW(together_for_long(*comm, "working",
                                       [&](const std::atomic<bool>& others_failed) {
                                           while (!others_failed)
                                               std::this_thread::sleep_for(milliseconds(10));
                                       }),
                     Error);
    }
    test_communicator().barrier();
    // It comes to that one meeting after all, so that no operation is left unfinished.
    if (comm->rank().value == 1) {
        std::array<std::int64_t, 2> state{};
        EXPECT_NO_THROW(comm->max(state));
    }
    test_communicator().barrier();
}

}  // namespace
}  // namespace lockstep
