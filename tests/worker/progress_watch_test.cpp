#include "worker/progress_watch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using std::chrono::milliseconds;

class ProgressWatchTest : public testing::Test {
  protected:
    ProgressWatchTest() {
        run_.write("logs/rank-00000.log", "");
        heartbeats_.run = run_.path();
        heartbeats_.rank = Rank{1};
        heartbeats_.world_size = WorldSize{2};
        heartbeats_.interval = milliseconds(5);
        heartbeats_.least_interval = milliseconds(0);
        options_.patience = std::chrono::hours(1);
        options_.on_stuck = [](const Heartbeat& where) { ADD_FAILURE() << "stuck in " << where.phase; };
    }
    std::optional<Heartbeat> beat() const { return read_heartbeat(run_.path(), Rank{1}); }
    /// The first heartbeat that is as wanted; the last one seen after ten seconds without.
    template <class Wanted>
    std::optional<Heartbeat> beat_when(const Wanted& wanted) const {
        std::optional<Heartbeat> found;
        for (int i = 0; i < 10'000; ++i) {
            found = beat();
            if (found && wanted(*found)) break;
            std::this_thread::sleep_for(milliseconds(1));
        }
        return found;
    }

    TemporaryDirectory run_;
    ProgressWatchOptions options_;
    HeartbeatOptions heartbeats_;
};

TEST_F(ProgressWatchTest, TheHeartbeatSaysWhereTheRankIs) {
    ProgressWatch watch(options_);
    watch.write_heartbeats_to(heartbeats_);
    watch.at("forward", 7, 31);
    const auto found = beat_when([](const Heartbeat& b) { return b.training; });
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->step, 7U);
    EXPECT_EQ(found->phase, "forward");
    EXPECT_EQ(found->pack, 31U);
    EXPECT_TRUE(found->training);
    EXPECT_FALSE(found->ended);
    watch.at("exchange", 7);
    const auto next = beat_when([](const Heartbeat& b) { return b.phase == "exchange"; });
    EXPECT_GT(next->progress, found->progress);
    EXPECT_FALSE(next->pack.has_value());
}

TEST_F(ProgressWatchTest, AnEndInOrderIsSaid) {
    {
        ProgressWatch watch(options_);
        watch.write_heartbeats_to(heartbeats_);
        watch.at("update", 3);
        EXPECT_FALSE(beat_when([](const Heartbeat& b) { return b.step == 3; })->ended);
    }
    EXPECT_TRUE(beat()->ended);
    EXPECT_EQ(beat()->step, 3U);
}

TEST_F(ProgressWatchTest, EndingIsWrittenAtOnce) {
    ProgressWatch watch(options_);
    watch.write_heartbeats_to(heartbeats_);
    watch.ending();
    ASSERT_TRUE(beat().has_value());
    EXPECT_TRUE(beat()->ended);
}

TEST_F(ProgressWatchTest, StandingStillIsReportedOnceWithThePlace) {
    std::promise<Heartbeat> stuck;
    options_.patience = milliseconds(20);
    options_.on_stuck = [&](const Heartbeat& where) { stuck.set_value(where); };
    ProgressWatch watch(options_);
    watch.write_heartbeats_to(heartbeats_);
    watch.at("forward", 9, 44);
    const Heartbeat where = stuck.get_future().get();
    EXPECT_EQ(where.step, 9U);
    EXPECT_EQ(where.pack, 44U);
}

TEST_F(ProgressWatchTest, AStartThatStandsStillIsReportedWithItsPhase) {
    std::promise<Heartbeat> stuck;
    options_.rank = Rank{3};
    options_.patience = milliseconds(20);
    options_.on_stuck = [&](const Heartbeat& where) { stuck.set_value(where); };
    ProgressWatch watch(options_);
    watch.starting("loading the plan");
    const Heartbeat where = stuck.get_future().get();
    EXPECT_EQ(where.phase, "loading the plan");
    EXPECT_EQ(where.rank, 3);
    EXPECT_FALSE(where.training);
}

TEST_F(ProgressWatchTest, WhatMayTakeLongIsWaitedForAndNothingAfterIt) {
    std::promise<Heartbeat> stuck;
    options_.patience = milliseconds(20);
    options_.on_stuck = [&](const Heartbeat& where) { stuck.set_value(where); };
    ProgressWatch watch(options_);
    auto where = stuck.get_future();
    watch.starting("building the plan", Patience::unlimited);
    EXPECT_EQ(where.wait_for(milliseconds(100)), std::future_status::timeout);
    watch.starting("loading the plan");
    EXPECT_EQ(where.get().phase, "loading the plan");
}

TEST_F(ProgressWatchTest, NoHeartbeatIsWrittenBeforeTheRunIsOurs) {
    ProgressWatch watch(options_);
    watch.starting("loading the plan");
    watch.ending();
    EXPECT_FALSE(beat().has_value());
    watch.write_heartbeats_to(heartbeats_);
    watch.ending();
    EXPECT_EQ(beat()->phase, "loading the plan");
}

TEST_F(ProgressWatchTest, UntilTheRunIsOursHeartbeatsGoToTheStartFile) {
    options_.start_file = run_ / "start.json";
    const auto start = [&] { return read_heartbeat_file(options_.start_file, Rank{1}); };
    options_.rank = Rank{1};
    heartbeats_.run = run_ / "later";
    ProgressWatch watch(options_);
    watch.starting("loading the plan");
    watch.ending();
    EXPECT_EQ(start()->phase, "loading the plan");
    EXPECT_FALSE(beat().has_value());
    watch.write_heartbeats_to(heartbeats_);
    watch.at("forward", 1);
    watch.ending();
    EXPECT_EQ(start()->step, 1U) << "the run's folder is not there yet";
    run_.write("later/logs/rank-00000.log", "");
    watch.at("forward", 2);
    watch.ending();
    EXPECT_EQ(read_heartbeat(heartbeats_.run, Rank{1})->step, 2U);
    EXPECT_FALSE(std::filesystem::exists(options_.start_file));
}

// Whoever watches from outside sees only the heartbeat: a plan that takes an hour to build is no hang.
TEST_F(ProgressWatchTest, WhatMayTakeAnyTimeProgressesWhileTheProcessLives) {
    ProgressWatch watch(options_);
    watch.write_heartbeats_to(heartbeats_);
    watch.starting("loading the plan");
    const auto loading = beat_when([](const Heartbeat& b) { return b.phase == "loading the plan"; });
    std::this_thread::sleep_for(milliseconds(50));
    EXPECT_EQ(beat()->progress, loading->progress);
    watch.starting("building the plan", Patience::unlimited);
    const auto building = beat_when([&](const Heartbeat& b) { return b.progress > loading->progress + 10; });
    EXPECT_GT(building->progress, loading->progress + 10);
    EXPECT_EQ(building->phase, "building the plan");
}

TEST_F(ProgressWatchTest, AFolderThatIsNotThereYetCostsOnlyTheHeartbeat) {
    heartbeats_.run = run_ / "later";
    ProgressWatch watch(options_);
    watch.write_heartbeats_to(heartbeats_);
    watch.at("forward", 1);
    EXPECT_FALSE(read_heartbeat(heartbeats_.run, Rank{1}).has_value());
    run_.write("later/logs/rank-00000.log", "");
    watch.at("forward", 2);
    watch.ending();
    EXPECT_TRUE(read_heartbeat(heartbeats_.run, Rank{1}).has_value());
}

TEST_F(ProgressWatchTest, AFileSystemThatHangsHoldsUpNeitherTheTrainingNorTheWatch) {
    std::promise<void> thawed;
    std::promise<Heartbeat> stuck;
    std::atomic<bool> writing = false;
    options_.before_write = [&, thaw = thawed.get_future().share()](const Heartbeat&) {
        writing = true;
        thaw.wait();
    };
    options_.patience = milliseconds(20);
    options_.on_stuck = [&](const Heartbeat& where) { stuck.set_value(where); };
    ProgressWatch watch(options_);
    watch.write_heartbeats_to(heartbeats_);
    while (!writing) std::this_thread::yield();
    for (std::uint64_t pack = 0; pack <= 44; ++pack) watch.at("forward", 9, pack);
    auto where = stuck.get_future();
    const bool in_time = where.wait_for(std::chrono::seconds(60)) == std::future_status::ready;
    watch.ending();
    EXPECT_FALSE(beat().has_value());
    thawed.set_value();
    ASSERT_TRUE(in_time);
    EXPECT_EQ(where.get().step, 9U);
    EXPECT_EQ(beat_when([](const Heartbeat& b) { return b.ended; })->pack, 44U) << "the newest, not the held";
}

TEST_F(ProgressWatchTest, AnOlderHeartbeatNeverFollowsANewerOne) {
    std::vector<std::uint64_t> written;
    heartbeats_.interval = milliseconds(1);
    options_.before_write = [&](const Heartbeat& beat) {
        written.push_back(beat.progress);
        // Long enough for news to overtake it.
        std::this_thread::sleep_for(milliseconds(written.size() % 3));
    };
    {
        ProgressWatch watch(options_);
        watch.write_heartbeats_to(heartbeats_);
        for (std::uint64_t step = 1; step <= 100; ++step) {
            watch.at("forward", step);
            if (step % 10 == 0) watch.ending();
        }
    }
    EXPECT_TRUE(std::is_sorted(written.begin(), written.end()));
    EXPECT_EQ(beat()->step, 100U);
}

}  // namespace
}  // namespace lockstep
