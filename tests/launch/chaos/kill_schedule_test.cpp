#include "launch/chaos/kill_schedule.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace lockstep {
namespace {

TEST(KillScheduleTest, IsAFunctionOfItsSeed) {
    const KillSchedule a(7, 50, 4, 30), b(7, 50, 4, 30), c(8, 50, 4, 30);
    int equal = 0;
    for (std::uint64_t i = 0; i < 50; ++i) {
        EXPECT_EQ(a.kill(i), b.kill(i));
        EXPECT_EQ(a.ranks(i), b.ranks(i));
        equal += a.kill(i) == c.kill(i) ? 1 : 0;
    }
    EXPECT_LT(equal, 5);
}

TEST(KillScheduleTest, EndsAfterItsKills) {
    const KillSchedule schedule(7, 3, 4, 30);
    EXPECT_TRUE(schedule.kill(2).has_value());
    EXPECT_FALSE(schedule.kill(3).has_value());
    EXPECT_FALSE(schedule.kill(1000).has_value());
}

TEST(KillScheduleTest, ReachesEveryTargetMomentAndWorldSize) {
    const KillSchedule schedule(1, 1000, 4, 30);
    std::map<KillTarget, int> targets;
    std::map<KillMoment, int> moments;
    std::map<int, int> ranks;
    std::set<std::uint64_t> calls;
    for (std::uint64_t i = 0; i < 1000; ++i) {
        const auto kill = schedule.kill(i);
        ++targets[kill->target];
        ++moments[kill->moment];
        ++ranks[schedule.ranks(i)];
        EXPECT_GE(kill->share, 0);
        EXPECT_LT(kill->share, 1);
        if (kill->moment == KillMoment::at_call) calls.insert(kill->calls);
    }
    EXPECT_EQ(targets.size(), 3U);
    EXPECT_EQ(moments.size(), 4U);
    EXPECT_EQ(calls.size(), 30U) << "each call that was counted, and none behind them";
    EXPECT_EQ(*calls.rbegin(), 29U);
    EXPECT_EQ(ranks.size(), 4U);
    EXPECT_EQ(ranks.begin()->first, 1);
    for (const auto& [target, count] : targets) EXPECT_GT(count, 150);
    for (const auto& [size, count] : ranks) EXPECT_GT(count, 150);
}

TEST(KillScheduleTest, AimsAtNoCallWhereNoneCanBeCounted) {
    const KillSchedule schedule(1, 100, 4, 0);
    for (std::uint64_t i = 0; i < 100; ++i) EXPECT_NE(schedule.kill(i)->moment, KillMoment::at_call);
}

}  // namespace
}  // namespace lockstep
