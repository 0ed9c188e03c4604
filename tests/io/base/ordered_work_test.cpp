#include "io/base/ordered_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdint>
#include <fstream>
#include <thread>

#include "io/base/error.h"

namespace lockstep {
namespace {

using Squares = OrderedWork<int, int>;

int squared(int& number, int) {
    return number * number;
}

TEST(OrderedWorkTest, GivesResultsInOrder) {
    for (const int threads : {1, 2, 5}) {
        Squares work(threads, squared);
        std::vector<int> results;
        for (int i = 0; i < 100; ++i) {
            if (work.full()) results.push_back(work.take());
            work.give(i);
        }
        while (!work.empty()) results.push_back(work.take());
        ASSERT_EQ(results.size(), 100U);
        for (int i = 0; i < 100; ++i) EXPECT_EQ(results[static_cast<std::size_t>(i)], i * i);
    }
}

TEST(OrderedWorkTest, OneThreadIsTheCallerUnlessItIsToBeAnother) {
    const auto where = [](int&, int) { return std::this_thread::get_id(); };
    OrderedWork<int, std::thread::id> alone(1, where);
    alone.give(0);
    EXPECT_EQ(alone.take(), std::this_thread::get_id());
    OrderedWork<int, std::thread::id> beside(1, where, SingleThread::beside_caller);
    beside.give(0);
    EXPECT_NE(beside.take(), std::this_thread::get_id());
}

/// Address space for a few stacks more than now, while it lives.
class LittleAddressSpace {
  public:
    LittleAddressSpace() {
        ::getrlimit(RLIMIT_AS, &before_);
        std::uint64_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        rlimit little = before_;
        little.rlim_cur = pages * 4096 + (std::uint64_t{64} << 20U);
        ::setrlimit(RLIMIT_AS, &little);
    }
    ~LittleAddressSpace() { ::setrlimit(RLIMIT_AS, &before_); }
    LittleAddressSpace(const LittleAddressSpace&) = delete;
    LittleAddressSpace& operator=(const LittleAddressSpace&) = delete;

  private:
    rlimit before_{};
};

TEST(OrderedWorkTest, AThreadThatCannotStartIsAnErrorAndTheOthersEnd) {
    const LittleAddressSpace little;
    try {
        Squares work(1000, squared);
        ADD_FAILURE() << "a thousand stacks fit into 64 MiB";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::environment);
        EXPECT_THAT(error.what(), testing::HasSubstr("of 1000"));
    }
}

}  // namespace
}  // namespace lockstep
