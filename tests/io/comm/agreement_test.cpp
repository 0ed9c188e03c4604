// Agreement, in whatever world it is launched.

#include "io/comm/agreement.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "tests/support/error_of.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

class AgreementTest : public testing::Test {
  protected:
    Communicator& comm_ = test_communicator();
    const int rank_ = comm_.rank().value;
    const int world_ = comm_.size().value;

    std::string prefix(int rank) const { return world_ > 1 ? "rank " + std::to_string(rank) + ": " : ""; }
};

TEST_F(AgreementTest, AllWellMeansNothingIsThrown) {
    EXPECT_NO_THROW(agree_or_throw(comm_, std::nullopt));
    int runs = 0;
    EXPECT_NO_THROW(together(comm_, "counting", [&] { ++runs; }));
    EXPECT_EQ(runs, 1);
}

TEST_F(AgreementTest, OneFailureStopsEveryRankWithTheSameError) {
    for (int failing = 0; failing < world_; ++failing) {
        std::optional<Error> outcome;
        if (rank_ == failing)
            outcome = Error(ErrorCode::io_failure, "disk " + std::to_string(failing) + " is full");
        const Error error = error_of([&] { agree_or_throw(comm_, outcome); });
        EXPECT_EQ(error.code(), ErrorCode::io_failure);
        EXPECT_EQ(error.what(), prefix(failing) + "disk " + std::to_string(failing) + " is full");
    }
}

TEST_F(AgreementTest, TheLowestFailingRankSpeaks) {
    const int lowest = world_ / 2;
    std::optional<Error> outcome;
    if (rank_ >= lowest) {
        outcome = Error(rank_ == lowest ? ErrorCode::not_found : ErrorCode::corrupt_data,
                        "from " + std::to_string(rank_));
    }
    const Error error = error_of([&] { agree_or_throw(comm_, outcome); });
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_EQ(error.what(), prefix(lowest) + "from " + std::to_string(lowest));
}

TEST_F(AgreementTest, AnEmptyMessageIsAnErrorToo) {
    const Error error = error_of([&] { agree_or_throw(comm_, Error(ErrorCode::environment, "")); });
    EXPECT_EQ(error.code(), ErrorCode::environment);
    EXPECT_EQ(error.what(), prefix(0));
}

TEST_F(AgreementTest, OtherExceptionsAreBugs) {
    const Error error = error_of([&] {
        together(comm_, "testing", [&] {
            if (rank_ == world_ - 1) throw std::out_of_range("index 7 of 5");
        });
    });
    EXPECT_EQ(error.code(), ErrorCode::bug);
    EXPECT_EQ(error.what(), prefix(world_ - 1) + "unexpected failure: index 7 of 5; please report this bug");
}

TEST_F(AgreementTest, ALostPeerIsNotDiscussed) {
    // Every rank throws, and none may wait for the others in a collective.
    const Error error =
        error_of([&] { together(comm_, "testing", [] { throw Error(ErrorCode::peer_lost, "gone"); }); });
    EXPECT_EQ(error.code(), ErrorCode::peer_lost);
    EXPECT_STREQ(error.what(), "gone");
}

TEST_F(AgreementTest, TheCommunicatorIsInStepAfterwards) {
    error_of([&] { agree_or_throw(comm_, Error(ErrorCode::stopped, "enough")); });
    std::int64_t ones = 1;
    comm_.sum(std::span(&ones, 1));
    EXPECT_EQ(ones, world_);
}

}  // namespace
}  // namespace lockstep
