#include "io/run/heartbeat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

Heartbeat beat_of(int rank) {
    Heartbeat beat;
    beat.rank = rank;
    beat.world_size = 4;
    beat.host = "n3";
    beat.pid = 4711;
    beat.phase = "forward";
    beat.step = 12;
    beat.pack = 38;
    beat.progress = 99;
    beat.monotonic_seconds = 1.5;
    beat.training = true;
    return beat;
}

TEST(HeartbeatTest, ALineHoldsAllOfIt) {
    const Heartbeat beat = beat_of(2);
    const std::string line = to_json_line(beat);
    EXPECT_EQ(line.size(), heartbeat_bytes);
    EXPECT_EQ(heartbeat_from_json(line), beat);
}

TEST(HeartbeatTest, ALongHostNameStillFits) {
    Heartbeat beat = beat_of(2);
    beat.host = std::string(255, 'h');
    beat.step = beat.progress = ~std::uint64_t{0};
    beat.pack = ~std::uint64_t{0};
    const auto read = heartbeat_from_json(to_json_line(beat));
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(read->pack, beat.pack);
}

TEST(HeartbeatTest, AnythingElseIsNone) {
    const std::string line = to_json_line(beat_of(0));
    for (const std::string& text : {std::string(), std::string("{}"), line.substr(0, 80), std::string("[1]"),
                                    std::string("{\"rank\":\"two\"}")}) {
        EXPECT_FALSE(heartbeat_from_json(text).has_value()) << text;
    }
    for (const char* rank : {"1e300", "0.5", "4294967296", "-2147483649", "true"}) {
        std::string text = line;
        text.replace(text.find(":0,"), 2, std::string(":") + rank);
        EXPECT_FALSE(heartbeat_from_json(text).has_value()) << text;
    }
}

TEST(HeartbeatTest, IsDescribedInOneLine) {
    Heartbeat beat = beat_of(2);
    beat.host = "n3\nerror: all is lost";
    const auto read = heartbeat_from_json(to_json_line(beat));
    EXPECT_EQ(describe(Rank{2}, read).find('\n'), std::string::npos);
}

TEST(HeartbeatTest, FilesAreFoundByRankAndRemovedTogether) {
    const TemporaryDirectory run;
    run.write("heartbeat.json", to_json_line(beat_of(0)));
    run.write("heartbeat/rank-00002.json", to_json_line(beat_of(2)));
    run.write("heartbeat/rank-00003.json", to_json_line(beat_of(1)));
    EXPECT_EQ(read_heartbeat(run.path(), Rank{0}), beat_of(0));
    EXPECT_EQ(read_heartbeat(run.path(), Rank{2}), beat_of(2));
    EXPECT_FALSE(read_heartbeat(run.path(), Rank{1}).has_value());
    EXPECT_FALSE(read_heartbeat(run.path(), Rank{3}).has_value()) << "another rank's file";
    remove_heartbeats(run.path());
    EXPECT_FALSE(read_heartbeat(run.path(), Rank{0}).has_value());
    EXPECT_FALSE(read_heartbeat(run.path(), Rank{2}).has_value());
}

TEST(HeartbeatTest, ARankIsDescribedByWhatIsKnown) {
    EXPECT_EQ(describe(Rank{2}, std::nullopt), "rank 2");
    Heartbeat beat = beat_of(2);
    EXPECT_EQ(describe(Rank{2}, beat), "rank 2 on host n3, last in step 12, forward, pack 38");
    beat.pack.reset();
    beat.training = false;
    beat.phase = "starting";
    EXPECT_EQ(describe(Rank{2}, beat), "rank 2 on host n3, last in starting");
}

}  // namespace
}  // namespace lockstep
