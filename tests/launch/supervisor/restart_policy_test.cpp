#include "launch/supervisor/restart_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep {
namespace {

using What = RestartDecision::What;

AttemptEnd death(int code, std::optional<std::uint64_t> step, std::optional<std::uint64_t> before,
                 std::optional<std::uint64_t> after) {
    AttemptEnd end;
    end.exit_code = code;
    end.step = step;
    end.generation_before = before;
    end.generation_after = after;
    end.older_generation = true;
    return end;
}

class RestartPolicyTest : public testing::Test {
  protected:
    RestartDecision after(const AttemptEnd& end) { return policy_.after(end); }
    RestartSettings settings_;
    RestartPolicy policy_{settings_};
};

TEST_F(RestartPolicyTest, OnlyCodesOfTheKilledAreRestarted) {
    for (int code = 0; code < 256; ++code) {
        if (code == 138) continue;  // Asked to stop, see below.
        const bool restarted =
            code == 76 || code == 137 || code == 139 || code == 141 || code == 143 || code == 205;
        RestartPolicy policy{settings_};
        const RestartDecision decision = policy.after(death(code, 3, 0, 2));
        EXPECT_EQ(decision.what, restarted ? What::restart : What::finish) << code;
        if (!restarted) {
            EXPECT_EQ(decision.exit_code, code);
        }
    }
}

TEST_F(RestartPolicyTest, AHangIsRestartedWhateverTheCode) {
    AttemptEnd end = death(0, 3, 0, 2);
    end.hung = true;
    EXPECT_EQ(after(end).what, What::restart);
}

TEST_F(RestartPolicyTest, WhoWasAskedToStopIsNotRestarted) {
    for (const int code : {75, 76, 137, 138, 139, 141, 143, 205}) {
        AttemptEnd end = death(code, 3, 0, 2);
        end.stop_requested = true;
        const RestartDecision decision = RestartPolicy{settings_}.after(end);
        EXPECT_EQ(decision.what, What::finish) << code;
        EXPECT_EQ(decision.exit_code, 75) << code;
    }
}

TEST_F(RestartPolicyTest, WhomARequestEndedBeforeItListenedWasAskedToStop) {
    EXPECT_EQ(after(death(138, std::nullopt, 0, 0)),
              (RestartDecision{What::finish, 75, 0, after(death(138, 3, 0, 2)).reason}));
}

TEST_F(RestartPolicyTest, OneOfAKilledLauncherIsNoVerdict) {
    AttemptEnd end = death(1, 3, 0, 2);
    EXPECT_EQ(after(end).what, What::finish) << "lockstep's own: a check failed";
    end.launcher = true;
    EXPECT_EQ(after(end).what, What::restart);
    end.stop_requested = true;
    EXPECT_EQ(after(end).exit_code, 75);
    end.reported_end = true;
    EXPECT_EQ(after(end).exit_code, 1) << "the ranks ended by themselves";
    end = death(1, std::nullopt, 0, 0);
    end.launcher = true;
    EXPECT_EQ(after(end).exit_code, 1) << "mpirun could not start anything";
}

TEST_F(RestartPolicyTest, AnErrorOfTheUserStaysOneEvenWhenAskedToStop) {
    AttemptEnd end = death(65, 3, 0, 2);
    end.stop_requested = true;
    EXPECT_EQ(after(end).exit_code, 65);
}

TEST_F(RestartPolicyTest, PausesDoubleWhileNothingIsCommittedAndBeginAgainAfterwards) {
    std::vector<double> delays;
    for (std::uint64_t step = 1; step <= 10; ++step)
        delays.push_back(after(death(137, step, 0, 0)).delay_seconds);
    EXPECT_THAT(delays, testing::ElementsAre(0, 1, 2, 4, 8, 16, 32, 60, 60, 60));
    EXPECT_EQ(after(death(137, 30, 0, 20)).delay_seconds, 0);
    EXPECT_EQ(after(death(137, 31, 20, 20)).delay_seconds, 1);
}

TEST_F(RestartPolicyTest, AnEndInOrderBetweenTwoDeathsMakesThemTwo) {
    after(death(139, 7, 4, 4));
    after(death(139, 7, 4, 4));
    policy_.after_order();
    const RestartDecision decision = after(death(139, 7, 4, 4));
    EXPECT_EQ(decision.what, What::restart);
    EXPECT_EQ(decision.delay_seconds, 0);
}

TEST_F(RestartPolicyTest, TheSameStepThreeTimesIsACrashLoop) {
    EXPECT_EQ(after(death(139, 7, 4, 4)).what, What::restart);
    EXPECT_EQ(after(death(139, 7, 4, 4)).what, What::restart);
    const RestartDecision third = after(death(139, 7, 4, 4));
    EXPECT_EQ(third.what, What::finish);
    EXPECT_EQ(third.exit_code, 76);
    EXPECT_THAT(third.reason, testing::HasSubstr("in step 7 3 times in a row"));
}

TEST_F(RestartPolicyTest, TheSameStepIsALoopWhateverWasCommittedBeforeIt) {
    after(death(76, 9, std::nullopt, 4));
    after(death(76, 9, 4, 8));
    EXPECT_EQ(after(death(76, 9, 8, 8)).what, What::finish);
}

TEST_F(RestartPolicyTest, AGenerationIsBlamedForDeathsOnItAlone) {
    after(death(139, 8, 4, 4));
    after(death(139, 8, 4, 8));
    EXPECT_EQ(after(death(139, 8, 8, 8)).what, What::finish);
}

TEST_F(RestartPolicyTest, NeverReachingAStepIsALoopToo) {
    after(death(137, std::nullopt, std::nullopt, std::nullopt));
    after(death(137, std::nullopt, std::nullopt, std::nullopt));
    EXPECT_EQ(after(death(137, std::nullopt, std::nullopt, std::nullopt)).what, What::finish);
}

TEST_F(RestartPolicyTest, AGenerationNobodySurvivesIsMovedAside) {
    after(death(139, 4, 4, 4));
    after(death(139, 4, 4, 4));
    EXPECT_EQ(after(death(139, 4, 4, 4)).what, What::quarantine_and_restart);
    // The one before gets chances of its own.
    EXPECT_EQ(after(death(139, 2, 2, 2)).what, What::restart);
    EXPECT_EQ(after(death(139, 2, 2, 2)).what, What::restart);
}

TEST_F(RestartPolicyTest, TheLastGenerationStaysWhereItIs) {
    AttemptEnd end = death(139, 4, 4, 4);
    end.older_generation = false;
    after(end);
    after(end);
    EXPECT_EQ(after(end).what, What::finish);
}

TEST_F(RestartPolicyTest, AKillFromOutsideDoesNotBlameTheGeneration) {
    after(death(137, 4, 4, 4));
    after(death(137, 4, 4, 4));
    EXPECT_EQ(after(death(137, 4, 4, 4)).what, What::finish);
}

TEST_F(RestartPolicyTest, TheNumberOfRestartsCanBeBounded) {
    settings_.restarts_max = 2;
    RestartPolicy policy{settings_};
    EXPECT_EQ(policy.after(death(137, 1, 0, 0)).what, What::restart);
    EXPECT_EQ(policy.after(death(137, 2, 0, 1)).what, What::restart);
    EXPECT_EQ(policy.after(death(137, 3, 1, 2)).what, What::finish);
}

TEST_F(RestartPolicyTest, AQuarantineIsARestartThatCounts) {
    settings_.restarts_max = 2;
    RestartPolicy policy{settings_};
    policy.after(death(139, 4, 4, 4));
    policy.after(death(139, 4, 4, 4));
    const RestartDecision third = policy.after(death(139, 4, 4, 4));
    EXPECT_EQ(third.what, What::finish);
    EXPECT_EQ(third.exit_code, 76);
    EXPECT_THAT(third.reason, testing::HasSubstr("as often as allowed"));
}

TEST_F(RestartPolicyTest, WhatIsInTheWayIsWaitedForAndMakesNoLoop) {
    AttemptEnd end = death(78, std::nullopt, 4, 4);
    end.obstacle = "the run is in use by another process";
    std::vector<double> delays;
    for (int i = 0; i < 8; ++i) {
        const RestartDecision decision = after(end);
        EXPECT_EQ(decision.what, What::restart);
        EXPECT_EQ(decision.reason, end.obstacle);
        delays.push_back(decision.delay_seconds);
    }
    EXPECT_THAT(delays, testing::ElementsAre(1, 2, 4, 8, 16, 32, 60, 60));
    EXPECT_EQ(after(death(137, 5, 4, 4)).delay_seconds, 0) << "deaths are counted by themselves";
    EXPECT_EQ(after(end).delay_seconds, 1);
    end.stop_requested = true;
    EXPECT_EQ(after(end).exit_code, 75);

    settings_.restarts_max = 1;
    RestartPolicy policy{settings_};
    end.stop_requested = false;
    EXPECT_EQ(policy.after(end).what, What::restart);
    const RestartDecision last = policy.after(end);
    EXPECT_EQ(last.what, What::finish);
    EXPECT_EQ(last.exit_code, 78);
}

}  // namespace
}  // namespace lockstep
