#include "launch/supervisor/job_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

Heartbeat beat_at(std::uint64_t progress) {
    Heartbeat beat;
    beat.host = "n1";
    beat.pid = 10;
    beat.step = 5;
    beat.phase = "forward";
    beat.progress = progress;
    beat.training = true;
    return beat;
}

class JobWatchTest : public testing::Test {
  protected:
    WatchSettings settings_{100, 10};
    JobWatch watch_{settings_, 1000};
};

TEST_F(JobWatchTest, ProgressKeepsAJobAlive) {
    for (std::uint64_t i = 0; i < 50; ++i) {
        EXPECT_EQ(watch_.at(1000 + 99.0 * static_cast<double>(i), beat_at(i), 0), WatchAction::none);
    }
}

TEST_F(JobWatchTest, StandingStillEndsItWithThePlace) {
    EXPECT_EQ(watch_.at(1010, beat_at(1), 0), WatchAction::none);
    EXPECT_EQ(watch_.at(1109, beat_at(1), 0), WatchAction::none);
    EXPECT_EQ(watch_.at(1110, beat_at(1), 0), WatchAction::end);
    EXPECT_TRUE(watch_.hung());
    EXPECT_THAT(watch_.reason(), testing::HasSubstr("100 s (rank 0 on host n1, last in step 5, forward)"));
}

TEST_F(JobWatchTest, AJobThatNeverReportsIsEndedToo) {
    EXPECT_EQ(watch_.at(1099, std::nullopt, 0), WatchAction::none);
    EXPECT_EQ(watch_.at(1100, std::nullopt, 0), WatchAction::end);
    EXPECT_TRUE(watch_.hung());
}

TEST_F(JobWatchTest, ALauncherThatOutlivesItsRanksGetsLittleTime) {
    Heartbeat beat = beat_at(3);
    beat.ended = true;
    EXPECT_EQ(watch_.at(1001, beat, 0), WatchAction::none);
    EXPECT_EQ(watch_.at(1011, beat, 0), WatchAction::end);
}

TEST_F(JobWatchTest, ARequestIsPassedOnOnce) {
    EXPECT_EQ(watch_.at(1001, beat_at(1), 1), WatchAction::ask_to_stop);
    EXPECT_EQ(watch_.at(1002, beat_at(2), 1), WatchAction::none);
    EXPECT_FALSE(watch_.hung());
}

TEST_F(JobWatchTest, ASecondRequestEndsItAtOnce) {
    EXPECT_EQ(watch_.at(1001, beat_at(1), 1), WatchAction::ask_to_stop);
    EXPECT_EQ(watch_.at(1002, beat_at(2), 2), WatchAction::end);
    EXPECT_FALSE(watch_.hung()) << "it is a stop, not a hang";
}

TEST_F(JobWatchTest, BeforeTheFirstStepARequestEndsIt) {
    EXPECT_EQ(watch_.at(1001, std::nullopt, 1), WatchAction::end);
    EXPECT_FALSE(watch_.hung());
}

TEST_F(JobWatchTest, WhoDoesNotStopWhenAskedIsEndedAsHanging) {
    EXPECT_EQ(watch_.at(1001, beat_at(1), 1), WatchAction::ask_to_stop);
    EXPECT_EQ(watch_.at(1101, beat_at(1), 1), WatchAction::end);
    EXPECT_TRUE(watch_.hung());
}

}  // namespace
}  // namespace lockstep
