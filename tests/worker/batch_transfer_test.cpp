// A batch from one rank to another: for worlds of two and more.

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <stdexcept>

#include "tests/support/mpi_main.h"
#include "tests/worker/small_batch.h"
#include "worker/cross_check.h"

namespace lockstep {
namespace {

TEST(BatchTransferTest, ABatchArrivesAsItWasSent) {
    Communicator& comm = test_communicator();
    ASSERT_GT(comm.size().value, 1);
    if (comm.rank().value == 0) {
        send_batch(comm, small_batch(20), Rank{1});
        send_batch(comm, PackedBatch(), Rank{1});
    } else if (comm.rank().value == 1) {
        const PackedBatch batch = receive_batch(comm, Rank{0});
        const PackedBatch sent = small_batch(20);
        EXPECT_EQ(batch.step, sent.step);
        EXPECT_EQ(batch.pack, sent.pack);
        EXPECT_EQ(batch.token_ids, sent.token_ids);
        EXPECT_EQ(batch.position_ids, sent.position_ids);
        EXPECT_EQ(batch.targets, sent.targets);
        EXPECT_EQ(batch.cu_seqlens, sent.cu_seqlens);
        EXPECT_EQ(batch.num_targets, sent.num_targets);
        EXPECT_TRUE(receive_batch(comm, Rank{0}).token_ids.empty());
    }
}

TEST(BatchTransferTest, WithoutRoomForItTheReceiverAloneFails) {
    Communicator& comm = test_communicator();
    ASSERT_GT(comm.size().value, 1);
    if (comm.rank().value == 0) {
        // What send_batch says of a batch that no vector holds.
        const std::uint64_t tokens = std::numeric_limits<std::uint64_t>::max() / 4;
        const std::array<std::uint64_t, 5> header = {20, 7, tokens, 2, 1};
        comm.send(std::as_bytes(std::span(header)), Rank{1}, batch_tag)->wait();
        std::uint64_t has_room = 1;
        comm.receive(std::as_writable_bytes(std::span(&has_room, 1)), Rank{1}, batch_tag)->wait();
        EXPECT_EQ(has_room, 0U);
        send_batch(comm, small_batch(20), Rank{1});
    } else if (comm.rank().value == 1) {
        EXPECT_THROW(receive_batch(comm, Rank{0}), std::length_error);
        EXPECT_EQ(receive_batch(comm, Rank{0}).token_ids, small_batch(20).token_ids) << "both are in step";
    }
}

}  // namespace
}  // namespace lockstep
