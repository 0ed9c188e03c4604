// What an exchange asks of its communicator; that it sums is exact_sum_test.cpp's.

#include "worker/slice_exchange.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

namespace lockstep {
namespace {

/// A large world seen from its rank 0: what is sent is done when asked for, nothing ever arrives.
class LargeWorld : public Communicator {
  public:
    std::size_t sent = 0, tests_of_sent = 0;

    Rank rank() const override { return Rank{0}; }
    WorldSize size() const override { return WorldSize{64}; }
    std::unique_ptr<PendingTransfer> send(std::span<const std::byte>, Rank, int) override {
        ++sent;
        return std::make_unique<Transfer>(&tests_of_sent);
    }
    std::unique_ptr<PendingTransfer> receive(std::span<std::byte>, Rank, int) override {
        return std::make_unique<Transfer>(nullptr);
    }

    void set_phase(std::string) override {}
    void set_timeout(std::chrono::milliseconds) override {}
    void barrier() override {}
    void broadcast(std::span<std::byte>, Rank) override {}
    void sum(std::span<std::int64_t>) override {}
    void max(std::span<std::int64_t>) override {}
    void all_gather(std::span<const std::byte>, std::span<std::byte>) override {}
    void all_gather_v(std::span<const std::byte>, std::span<std::byte>,
                      std::span<const std::uint64_t>) override {}
    std::vector<std::vector<std::byte>> gather(std::span<const std::byte>, Rank) override { return {}; }
    [[noreturn]] void abort(int) override { std::abort(); }

  private:
    class Transfer : public PendingTransfer {
      public:
        explicit Transfer(std::size_t* tests) : tests_(tests) {}
        bool test() override {
            if (tests_ != nullptr) ++*tests_;
            return tests_ != nullptr;
        }
        void wait() override {}

      private:
        std::size_t* tests_;  ///< Null: it never arrives.
    };
};

TEST(SliceExchangeTest, WhatHasArrivedIsNotAskedForAgain) {
    constexpr std::size_t block = 4096, blocks = 128;
    LargeWorld world;
    ThreadPool pool(1);
    SliceExchange exchange(world, pool, blocks * block, {});
    std::vector<std::int64_t> sum(blocks * block, 1);
    for (int step = 1; step <= 2; ++step) {
        for (std::size_t i = blocks; i-- > 0;) exchange.release(sum, i * block, block);
        EXPECT_EQ(world.sent, static_cast<std::size_t>(step) * 63) << "a slice for each of the others";
        EXPECT_EQ(world.tests_of_sent, world.sent);
        exchange.complete(sum);
    }
}

}  // namespace
}  // namespace lockstep
