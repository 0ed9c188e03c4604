#include "worker/checkpoint_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/error_of.h"

namespace lockstep {
namespace {

using Kind = CheckpointInterval::Kind;

TEST(CheckpointIntervalTest, StepsTimesAndAuto) {
    EXPECT_EQ(parse_checkpoint_interval("100").kind, Kind::steps);
    EXPECT_EQ(parse_checkpoint_interval("100").steps, 100U);
    EXPECT_EQ(parse_checkpoint_interval("0").steps, 0U);
    const auto seconds = [](const char* text) {
        const CheckpointInterval interval = parse_checkpoint_interval(text);
        EXPECT_EQ(interval.kind, Kind::seconds) << text;
        return interval.seconds;
    };
    EXPECT_EQ(seconds("30s"), 30);
    EXPECT_EQ(seconds("0.5s"), 0.5);
    EXPECT_EQ(seconds("10m"), 600);
    EXPECT_EQ(seconds("2h"), 7200);
    EXPECT_EQ(seconds("1d"), 86400);
    EXPECT_EQ(parse_checkpoint_interval("auto").kind, Kind::automatic);
    EXPECT_EQ(parse_checkpoint_interval("auto").seconds, 4 * 3600);
    EXPECT_EQ(parse_checkpoint_interval("auto:8h").seconds, 8 * 3600);
}

TEST(CheckpointIntervalTest, AnythingElseIsRefusedByName) {
    for (const char* text : {"",      "s",      "-1",      "-5s",      "0s",        "1e3s",
                             "nans",  "infs",   "30x",     "3 0",      "30ss",      "auto8h",
                             "auto:", "auto:8", "auto:0h", "auto:-1h", "automatic", "99999999999999999999",
                             "1e9",   "99999d"}) {
        const Error error = error_of([&] { parse_checkpoint_interval(text); });
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << text;
        EXPECT_NE(std::string(error.what()).find("'" + std::string(text) + "'"), std::string::npos);
    }
}

TEST(CheckpointScheduleTest, ByStepsItIsTheSameWheneverItIsAsked) {
    const CheckpointSchedule schedule(parse_checkpoint_interval("6"), 2, 0);
    for (std::uint64_t step = 1; step < 30; ++step) EXPECT_EQ(schedule.due_after(step), step % 6 == 0);
    EXPECT_FALSE(schedule.due_at(1e9));
    const CheckpointSchedule never(parse_checkpoint_interval("0"), 2, 0);
    EXPECT_FALSE(never.due_after(100));
}

TEST(CheckpointScheduleTest, BySecondsItGoesFromTheLastBeginning) {
    CheckpointSchedule schedule(parse_checkpoint_interval("30s"), 2, 100);
    EXPECT_FALSE(schedule.due_at(129.9));
    EXPECT_TRUE(schedule.due_at(130));
    schedule.began(131);
    EXPECT_FALSE(schedule.due_at(160));
    EXPECT_TRUE(schedule.due_at(161));
    EXPECT_FALSE(schedule.due_after(100));
}

TEST(CheckpointScheduleTest, AutoFollowsYoungFromWhatOneCosts) {
    CheckpointSchedule schedule(parse_checkpoint_interval("auto:4h"), 2, 0);
    EXPECT_EQ(schedule.seconds(), 30) << "until one has been made";
    GenerationCost cost;
    cost.stall_seconds = 0.1;
    cost.durable_seconds = 3;
    schedule.learned(cost);
    EXPECT_DOUBLE_EQ(schedule.seconds(), std::sqrt(2 * 0.1 * 4 * 3600));  // 54 s
    // The writer's processor time is what the other threads of the rank do without.
    cost.processor_seconds = 3.8;
    schedule.learned(cost);
    EXPECT_DOUBLE_EQ(schedule.seconds(), std::sqrt(2 * 2.0 * 4 * 3600));
    // A disk that is slower than the failures are frequent is not written to all the time.
    CheckpointSchedule frail(parse_checkpoint_interval("auto:10s"), 2, 0);
    frail.learned(cost);
    EXPECT_DOUBLE_EQ(frail.seconds(), std::sqrt(2 * 2.0 * 10));
    cost.durable_seconds = 20;
    frail.learned(cost);
    EXPECT_DOUBLE_EQ(frail.seconds(), 40);
}

}  // namespace
}  // namespace lockstep
