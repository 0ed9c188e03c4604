#include "io/comm/serial_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/base/error.h"
#include "io/comm/mpi_communicator.h"

namespace lockstep {
namespace {

TEST(SerialCommunicatorTest, IsAWorldOfOne) {
    const auto comm = make_serial_communicator();
    EXPECT_EQ(comm->rank(), Rank{0});
    EXPECT_EQ(comm->size(), WorldSize{1});
}

TEST(SerialCommunicatorTest, WaitingForNobodyIsPeerLostAtOnce) {
    const auto comm = make_serial_communicator();
    std::byte in{};
    const auto receive = comm->receive(std::span(&in, 1), Rank{0}, 11);
    EXPECT_FALSE(receive->test());
    try {
        receive->wait();
        ADD_FAILURE() << "a message came from nowhere";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::peer_lost);
        EXPECT_THAT(error.what(), testing::HasSubstr("tag 11"));
    }
}

TEST(SerialCommunicatorTest, TransfersOutliveTheCommunicator) {
    auto comm = make_serial_communicator();
    std::byte in{};
    const auto receive = comm->receive(std::span(&in, 1), Rank{0}, 0);
    comm.reset();
    EXPECT_FALSE(receive->test());
}

TEST(SerialCommunicatorDeathTest, AbortEndsWithTheCode) {
    EXPECT_EXIT(make_serial_communicator()->abort(76), testing::ExitedWithCode(76), "");
}

TEST(LaunchedByMpiTest, ReadsTheEnvironment) {
    const std::vector<const char*> names{"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
    for (const char* name : names) unsetenv(name);
    EXPECT_FALSE(launched_by_mpi());
    for (const char* name : names) {
        setenv(name, "1", 1);
        EXPECT_TRUE(launched_by_mpi()) << name;
        unsetenv(name);
    }
}

}  // namespace
}  // namespace lockstep
