#include "worker/progress_watch.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

class ProgressWatchTest : public testing::Test {
  protected:
    ProgressWatchTest() {
        run_.write("logs/rank-00000.log", "");
        options_.run = run_.path();
        options_.rank = Rank{1};
        options_.world_size = WorldSize{2};
        options_.interval = milliseconds(5);
        options_.least_interval = milliseconds(0);
        options_.patience = std::chrono::hours(1);
        options_.on_stuck = [](const Heartbeat& where) { ADD_FAILURE() << "stuck in " << where.phase; };
    }
    std::optional<Heartbeat> beat() const { return read_heartbeat(run_.path(), Rank{1}); }

    TemporaryDirectory run_;
    ProgressWatchOptions options_;
};

TEST_F(ProgressWatchTest, TheHeartbeatSaysWhereTheRankIs) {
    ProgressWatch watch(options_);
    watch.at("forward", 7, 31);
    auto found = beat();
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->step, 7U);
    EXPECT_EQ(found->phase, "forward");
    EXPECT_EQ(found->pack, 31U);
    EXPECT_TRUE(found->training);
    EXPECT_FALSE(found->ended);
    watch.at("exchange", 7);
    EXPECT_GT(beat()->progress, found->progress);
    EXPECT_FALSE(beat()->pack.has_value());
}

TEST_F(ProgressWatchTest, AnEndInOrderIsSaid) {
    {
        ProgressWatch watch(options_);
        watch.at("update", 3);
        EXPECT_FALSE(beat()->ended);
    }
    EXPECT_TRUE(beat()->ended);
    EXPECT_EQ(beat()->step, 3U);
}

TEST_F(ProgressWatchTest, EndingIsWrittenAtOnce) {
    ProgressWatch watch(options_);
    watch.ending();
    ASSERT_TRUE(beat().has_value());
    EXPECT_TRUE(beat()->ended);
}

TEST_F(ProgressWatchTest, StandingStillIsReportedOnceWithThePlace) {
    std::promise<Heartbeat> stuck;
    options_.patience = milliseconds(20);
    options_.on_stuck = [&](const Heartbeat& where) { stuck.set_value(where); };
    ProgressWatch watch(options_);
    watch.at("forward", 9, 44);
    const Heartbeat where = stuck.get_future().get();
    EXPECT_EQ(where.step, 9U);
    EXPECT_EQ(where.pack, 44U);
}

TEST_F(ProgressWatchTest, StartingMayTakeAnyTime) {
    options_.patience = milliseconds(1);
    ProgressWatch watch(options_);
    std::this_thread::sleep_for(milliseconds(50));  // on_stuck would fail the test.
}

TEST_F(ProgressWatchTest, AFolderThatIsNotThereYetCostsOnlyTheHeartbeat) {
    options_.run = run_ / "later";
    ProgressWatch watch(options_);
    watch.at("forward", 1);
    EXPECT_FALSE(read_heartbeat(options_.run, Rank{1}).has_value());
    run_.write("later/logs/rank-00000.log", "");
    watch.at("forward", 2);
    EXPECT_TRUE(read_heartbeat(options_.run, Rank{1}).has_value());
}

}  // namespace
}  // namespace lockstep
