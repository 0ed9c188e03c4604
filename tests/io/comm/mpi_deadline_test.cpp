// One rank does not come. The others must say so, by name, and the program must
// still end cleanly. Deadlines are short here, and nothing depends on how long
// anything takes: the absent rank comes only after all others have given up.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

constexpr int absent = 1;

class MpiDeadlineTest : public testing::Test {
  protected:
    void SetUp() override {
        test_communicator().barrier();
        comm_ = make_test_communicator();
        comm_->set_timeout(std::chrono::milliseconds(300));
        comm_->set_phase("step 7");
    }
    void TearDown() override {
        test_communicator().barrier();
        comm_.reset();
    }

    /// All but one rank run `operation` and must lose the absent one; then it may come late.
    void expect_absent_rank_named(const std::function<void(Communicator&)>& operation, bool comes_late) {
        const bool present = comm_->rank().value != absent;
        if (present) {
            try {
                operation(*comm_);
                ADD_FAILURE() << "the operation ended without rank " << absent;
            } catch (const Error& error) {
                EXPECT_EQ(error.code(), ErrorCode::peer_lost);
                EXPECT_THAT(error.what(), testing::StartsWith("step 7: "));
                EXPECT_THAT(error.what(), testing::HasSubstr("300 ms; not heard from rank 1,"));
            }
            expect_later_operations_fail_at_once();
        }
        test_communicator().barrier();
        if (!present && comes_late) {
            EXPECT_NO_THROW(operation(*comm_));
        }
    }

    void expect_later_operations_fail_at_once() {
        comm_->set_timeout(std::chrono::hours(1));
        std::int64_t value = 0;
        EXPECT_THROW(comm_->sum(std::span(&value, 1)), Error);
        EXPECT_THROW(comm_->barrier(), Error);
    }

    std::unique_ptr<Communicator> comm_;
};

TEST_F(MpiDeadlineTest, Barrier) {
    expect_absent_rank_named([](Communicator& comm) { comm.barrier(); }, true);
}

TEST_F(MpiDeadlineTest, Broadcast) {
    expect_absent_rank_named(
        [](Communicator& comm) {
            // Gone when the others have given up, while MPI may still deliver into it.
            std::vector<std::byte> bytes(100'000);
            comm.broadcast(bytes, Rank{absent});
        },
        true);
}

TEST_F(MpiDeadlineTest, Sum) {
    expect_absent_rank_named(
        [](Communicator& comm) {
            std::vector<std::int64_t> values(1000, 1);
            comm.sum(values);
        },
        true);
}

TEST_F(MpiDeadlineTest, AllGather) {
    expect_absent_rank_named(
        [](Communicator& comm) {
            const std::vector<std::byte> mine(10);
            std::vector<std::byte> all(10 * static_cast<std::size_t>(comm.size().value));
            comm.all_gather(mine, all);
        },
        false);
}

TEST_F(MpiDeadlineTest, Receive) {
    expect_absent_rank_named(
        [](Communicator& comm) {
            std::byte in{};
            comm.receive(std::span(&in, 1), Rank{absent}, 0)->wait();
        },
        false);
}

TEST_F(MpiDeadlineTest, RanksThatAreAliveButOutOfStepAreToldApart) {
    // Everyone waits for a message that nobody sends, so everyone answers pings.
    const int world = comm_->size().value;
    const Rank next{(comm_->rank().value + 1) % world};
    std::byte in{};
    try {
        comm_->receive(std::span(&in, 1), next, 0)->wait();
        ADD_FAILURE() << "a message came from nowhere";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::peer_lost);
        EXPECT_THAT(error.what(),
                    testing::HasSubstr("still waiting for rank " + std::to_string(next.value) + ", alive"));
    }
}

}  // namespace
}  // namespace lockstep
