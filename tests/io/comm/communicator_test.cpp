// What every Communicator promises, for the world it is launched in. Linked with
// mpi_main.cpp for MPI, with serial_world.cpp for the world of one.

#include "io/comm/communicator.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "io/base/error.h"
#include "io/comm/pending_gather.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

class CommunicatorTest : public testing::Test {
  protected:
    Communicator& comm_ = test_communicator();
    const int rank_ = comm_.rank().value;
    const int world_ = comm_.size().value;
};

/// Bytes that differ from rank to rank and from place to place.
std::vector<std::byte> pattern(std::size_t num_bytes, int rank) {
    std::vector<std::byte> bytes(num_bytes);
    std::uint32_t x = 2463534242U + static_cast<std::uint32_t>(rank) * 7919U;
    for (std::byte& b : bytes) {
        x ^= x << 13U;
        x ^= x >> 17U;
        x ^= x << 5U;
        b = static_cast<std::byte>(x);
    }
    return bytes;
}

TEST_F(CommunicatorTest, RankIsInsideTheWorld) {
    EXPECT_GE(rank_, 0);
    EXPECT_LT(rank_, world_);
}

TEST_F(CommunicatorTest, BarrierReturns) {
    for (int i = 0; i < 10; ++i) comm_.barrier();
}

TEST_F(CommunicatorTest, BroadcastGivesEveryoneTheRootsBytes) {
    for (int root = 0; root < world_; ++root) {
        for (const std::size_t num_bytes : {0U, 1U, 4097U, 5U << 20U}) {
            std::vector<std::byte> bytes =
                rank_ == root ? pattern(num_bytes, root) : std::vector<std::byte>(num_bytes);
            comm_.broadcast(bytes, Rank{root});
            EXPECT_EQ(bytes, pattern(num_bytes, root));
        }
    }
}

TEST_F(CommunicatorTest, BroadcastGoesInPieces) {
    constexpr std::size_t num_bytes = (33U << 20U) + 3U;
    std::vector<std::byte> bytes = rank_ == 0 ? pattern(num_bytes, 0) : std::vector<std::byte>(num_bytes);
    comm_.broadcast(bytes, Rank{0});
    EXPECT_TRUE(bytes == pattern(num_bytes, 0));
}

TEST_F(CommunicatorTest, BroadcastBytesBringsTheLength) {
    const int root = world_ - 1;
    for (const std::size_t num_bytes : {0U, 17U}) {
        std::vector<std::byte> bytes = rank_ == root ? pattern(num_bytes, root) : std::vector<std::byte>(5);
        broadcast_bytes(comm_, bytes, Rank{root});
        EXPECT_EQ(bytes, pattern(num_bytes, root));
    }
}

TEST_F(CommunicatorTest, SumIsElementWise) {
    std::vector<std::int64_t> values{rank_, -rank_, 7, std::int64_t{rank_} << 40U};
    comm_.sum(values);
    const std::int64_t ranks = std::int64_t{world_} * (world_ - 1) / 2;
    EXPECT_EQ(values, (std::vector<std::int64_t>{ranks, -ranks, 7 * world_, ranks << 40U}));
}

TEST_F(CommunicatorTest, SumWrapsAround) {
    constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
    std::int64_t value = largest;
    comm_.sum(std::span(&value, 1));
    const auto expected =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(largest) * static_cast<std::uint64_t>(world_));
    EXPECT_EQ(value, expected);
}

TEST_F(CommunicatorTest, SumOfNothingAndOfMoreThanOnePiece) {
    comm_.sum({});
    std::vector<std::int64_t> values((17U << 20U) / sizeof(std::int64_t));
    std::iota(values.begin(), values.end(), rank_);
    comm_.sum(values);
    const std::int64_t ranks = std::int64_t{world_} * (world_ - 1) / 2;
    for (std::size_t i = 0; i < values.size(); ++i) {
        ASSERT_EQ(values[i], static_cast<std::int64_t>(i) * world_ + ranks) << "element " << i;
    }
}

TEST_F(CommunicatorTest, MaxIsSignedAndElementWise) {
    std::vector<std::int64_t> values{rank_, -rank_ - 1, std::numeric_limits<std::int64_t>::min()};
    comm_.max(values);
    EXPECT_EQ(values, (std::vector<std::int64_t>{world_ - 1, -1, std::numeric_limits<std::int64_t>::min()}));
}

TEST_F(CommunicatorTest, AllGatherPlacesBlocksInRankOrder) {
    for (const std::size_t num_bytes : {0U, 3U, 1U << 20U}) {
        const std::vector<std::byte> mine = pattern(num_bytes, rank_);
        std::vector<std::byte> all(num_bytes * static_cast<std::size_t>(world_));
        comm_.all_gather(mine, all);
        std::vector<std::byte> expected;
        for (int r = 0; r < world_; ++r) {
            const std::vector<std::byte> block = pattern(num_bytes, r);
            expected.insert(expected.end(), block.begin(), block.end());
        }
        EXPECT_EQ(all, expected);
    }
}

/// Block sizes that differ, with empty ones among them.
std::vector<std::uint64_t> uneven_sizes(int world, std::uint64_t unit) {
    std::vector<std::uint64_t> sizes;
    for (int r = 0; r < world; ++r)
        sizes.push_back(r % 2 == 1 ? 0 : unit * static_cast<std::uint64_t>(r + 1) + 1);
    return sizes;
}

TEST_F(CommunicatorTest, AllGatherVTakesUnequalBlocks) {
    for (const std::uint64_t unit : {0ULL, 5ULL, 5ULL << 20U}) {
        const std::vector<std::uint64_t> sizes = uneven_sizes(world_, unit);
        const std::vector<std::byte> mine = pattern(sizes[static_cast<std::size_t>(rank_)], rank_);
        std::vector<std::byte> expected;
        for (int r = 0; r < world_; ++r) {
            const std::vector<std::byte> block = pattern(sizes[static_cast<std::size_t>(r)], r);
            expected.insert(expected.end(), block.begin(), block.end());
        }
        std::vector<std::byte> all(expected.size());
        comm_.all_gather_v(mine, all, sizes);
        EXPECT_EQ(all, expected);
    }
}

TEST_F(CommunicatorTest, AllGatherVTakesABlockAlreadyInPlace) {
    const std::vector<std::uint64_t> sizes = uneven_sizes(world_, 100);
    std::vector<std::byte> expected;
    std::size_t my_begin = 0;
    for (int r = 0; r < world_; ++r) {
        if (r == rank_) my_begin = expected.size();
        const std::vector<std::byte> block = pattern(sizes[static_cast<std::size_t>(r)], r);
        expected.insert(expected.end(), block.begin(), block.end());
    }
    std::vector<std::byte> all(expected.size());
    const std::span<std::byte> mine =
        std::span(all).subspan(my_begin, sizes[static_cast<std::size_t>(rank_)]);
    const std::vector<std::byte> content = pattern(mine.size(), rank_);
    std::copy(content.begin(), content.end(), mine.begin());
    comm_.all_gather_v(mine, all, sizes);
    EXPECT_EQ(all, expected);
}

TEST_F(CommunicatorTest, GatherBringsMessagesOfAnyLengthToRoot) {
    for (int root = 0; root < world_; ++root) {
        const auto num_bytes = [](int r) { return static_cast<std::size_t>(r) * 70000U; };
        const auto messages = comm_.gather(pattern(num_bytes(rank_), rank_), Rank{root});
        if (rank_ != root) {
            EXPECT_TRUE(messages.empty());
            continue;
        }
        ASSERT_EQ(messages.size(), static_cast<std::size_t>(world_));
        for (int r = 0; r < world_; ++r) {
            EXPECT_EQ(messages[static_cast<std::size_t>(r)], pattern(num_bytes(r), r)) << "from rank " << r;
        }
    }
}

TEST_F(CommunicatorTest, PendingGathersGoOnBesideOtherWork) {
    const auto num_bytes = [](int r, int gather) { return static_cast<std::size_t>(r * gather) * 70000U; };
    for (int root = 0; root < world_; ++root) {
        // One after the other with the same tags, another beside them; empty messages too.
        PendingGather beside(comm_, pattern(5, rank_), Rank{root}, 20);
        for (int gather = 0; gather < 3; ++gather) {
            PendingGather pending(comm_, pattern(num_bytes(rank_, gather), rank_), Rank{root}, 10);
            if (gather == 1) {
                pending.wait();
                EXPECT_TRUE(pending.test());
            }
            while (!pending.test()) {
            }
            const auto messages = pending.take();
            ASSERT_EQ(messages.size(), rank_ == root ? static_cast<std::size_t>(world_) : 0U);
            for (int r = 0; r < static_cast<int>(messages.size()); ++r) {
                EXPECT_EQ(messages[static_cast<std::size_t>(r)], pattern(num_bytes(r, gather), r))
                    << "from rank " << r;
            }
        }
        beside.wait();
        const auto messages = beside.take();
        for (int r = 0; r < static_cast<int>(messages.size()); ++r) {
            EXPECT_EQ(messages[static_cast<std::size_t>(r)], pattern(5, r));
        }
    }
}

TEST_F(CommunicatorTest, APendingGatherWaitsForNobodyButWhenAsked) {
    // Root's is under way before anyone else has begun theirs, and elsewhere before root has.
    constexpr int tag = 10, go_tag = 30;
    std::byte word{1};
    for (const bool root_first : {true, false}) {
        const bool first = (rank_ == 0) == root_first;
        if (!first) {
            for (int peer = root_first ? 0 : 1; peer < (root_first ? 1 : world_); ++peer) {
                comm_.receive(std::span(&word, 1), Rank{peer}, go_tag)->wait();
            }
        }
        PendingGather pending(comm_, pattern(9, rank_), Rank{0}, tag);
        if (first) {
            EXPECT_TRUE(!pending.test() || world_ == 1 || rank_ != 0);
            for (int peer = root_first ? 1 : 0; peer < (root_first ? world_ : 1); ++peer) {
                comm_.send(std::span(&word, 1), Rank{peer}, go_tag)->wait();
            }
        }
        pending.wait();
        EXPECT_EQ(pending.take().size(), rank_ == 0 ? static_cast<std::size_t>(world_) : 0U);
    }
}

TEST_F(CommunicatorTest, MessagesGoRoundTheRing) {
    const Rank next{(rank_ + 1) % world_};
    const Rank previous{(rank_ + world_ - 1) % world_};
    for (const std::size_t num_bytes : {0U, 1U, 5U << 20U}) {
        const std::vector<std::byte> out = pattern(num_bytes, rank_);
        std::vector<std::byte> in(num_bytes);
        const auto receive = comm_.receive(in, previous, 3);
        const auto send = comm_.send(out, next, 3);
        send->wait();
        receive->wait();
        EXPECT_TRUE(receive->test());
        EXPECT_EQ(in, pattern(num_bytes, previous.value));
    }
}

TEST_F(CommunicatorTest, MessagesAreMatchedByTagAndThenInOrder) {
    const Rank next{(rank_ + 1) % world_};
    const Rank previous{(rank_ + world_ - 1) % world_};
    const std::array<std::byte, 4> out{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    std::array<std::byte, 4> in{};
    const auto piece = [&](auto& bytes, std::size_t i) { return std::span(bytes).subspan(i, 1); };
    // One receive stands before its message, the others after.
    const auto early = comm_.receive(piece(in, 0), previous, 0);
    std::vector<std::unique_ptr<PendingTransfer>> sends;
    sends.push_back(comm_.send(piece(out, 3), next, 31999));
    sends.push_back(comm_.send(piece(out, 0), next, 0));
    sends.push_back(comm_.send(piece(out, 1), next, 0));
    sends.push_back(comm_.send(piece(out, 2), next, 0));
    const auto second = comm_.receive(piece(in, 1), previous, 0);
    const auto third = comm_.receive(piece(in, 2), previous, 0);
    comm_.receive(piece(in, 3), previous, 31999)->wait();
    third->wait();
    second->wait();
    early->wait();
    for (const auto& send : sends) send->wait();
    EXPECT_EQ(in, out);
}

TEST_F(CommunicatorTest, AReceiveGivenUpTakesNoMessage) {
    const Rank next{(rank_ + 1) % world_};
    const Rank previous{(rank_ + world_ - 1) % world_};
    std::byte never{42};
    comm_.receive(std::span(&never, 1), previous, 9).reset();
    comm_.barrier();
    const std::byte out{7};
    std::byte in{0};
    const auto send = comm_.send(std::span(&out, 1), next, 9);
    comm_.receive(std::span(&in, 1), previous, 9)->wait();
    send->wait();
    EXPECT_EQ(in, out);
    EXPECT_EQ(never, std::byte{42});
}

TEST_F(CommunicatorTest, AMessageOfAnotherLengthIsReported) {
    const Rank next{(rank_ + 1) % world_};
    const Rank previous{(rank_ + world_ - 1) % world_};
    const std::array<std::byte, 2> out{};
    std::array<std::byte, 3> in{};
    const auto send = comm_.send(out, next, 5);
    const auto receive = comm_.receive(in, previous, 5);
    try {
        receive->wait();
        ADD_FAILURE() << "two bytes were taken for three";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::bug);
    }
    send->wait();
}

}  // namespace
}  // namespace lockstep
