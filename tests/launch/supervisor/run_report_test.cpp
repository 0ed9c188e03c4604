#include "launch/supervisor/run_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

RunReport sample() {
    RunReport report;
    report.command = {"lockstep", "resume", "r"};
    Attempt first;
    first.started = 1;
    first.trained = 3;
    first.ended = 40;
    first.exit_code = 137;
    Attempt second = first;
    second.started = 45;
    second.trained = 46;
    second.ended = 100;
    second.exit_code = 0;
    report.outcome.attempts = {first, second};
    report.outcome.seconds = 100;
    report.productive_seconds = 80;
    return report;
}

TEST(RunReportTest, LostSecondsAddUp) {
    const RunReport report = sample();
    EXPECT_DOUBLE_EQ(report.effective_share(), 0.8);
    EXPECT_DOUBLE_EQ(report.starting_seconds(), 3);
    EXPECT_DOUBLE_EQ(report.waiting_seconds(), 6);
    EXPECT_DOUBLE_EQ(report.starting_seconds() + report.waiting_seconds() + report.other_lost_seconds(),
                     report.lost_seconds());
    EXPECT_EQ(report.restarts(), 1U);
}

TEST(RunReportTest, AStopWhileWaitingEndsAWait) {
    RunReport report;
    report.outcome.seconds = 10;
    report.outcome.attempts.push_back({});
    report.outcome.attempts.back().ended = 4;
    EXPECT_DOUBLE_EQ(report.waiting_seconds(), 6);
}

TEST(RunReportTest, AStartThatNeverTrainedIsLostWhole) {
    RunReport report = sample();
    report.outcome.attempts[0].trained.reset();
    EXPECT_DOUBLE_EQ(report.starting_seconds(), 40);
}

TEST(RunReportTest, ProductiveSecondsCountWholeLinesFromAStepOn) {
    const TemporaryDirectory run;
    run.write(
        "metrics.jsonl",
        "{\"step\":0,\"seconds\":1}\n{\"step\":1,\"seconds\":2.5}\n\n[]\n{\"step\":2,\"seconds\":4}\n{\"st");
    EXPECT_DOUBLE_EQ(productive_seconds(run.path(), 0), 7.5);
    EXPECT_DOUBLE_EQ(productive_seconds(run.path(), 1), 6.5);
    EXPECT_DOUBLE_EQ(productive_seconds(run / "none", 0), 0);
}

TEST(RunReportTest, TimesThatNoStepTakesAreNotCounted) {
    const TemporaryDirectory run;
    run.write("metrics.jsonl",
              "{\"step\":0,\"seconds\":1e308}\n{\"step\":1,\"seconds\":-5}\n{\"step\":2,\"seconds\":4}\n");
    EXPECT_DOUBLE_EQ(productive_seconds(run.path(), 0), 4);
}

TEST(RunReportTest, TheFileHoldsWhatTheTextSays) {
    const TemporaryDirectory run;
    write_run_report(run.path(), sample());
    const auto object = nlohmann::json::parse(run.read("supervisor.json"));
    EXPECT_EQ(object["restarts"], 1);
    EXPECT_DOUBLE_EQ(object["effective_share"], 0.8);
    EXPECT_EQ(object["attempts"].size(), 2U);
    EXPECT_THAT(to_text(sample()), testing::HasSubstr("80.0 %: 80.0 s of 100.0 s, 1 restart(s)"));
}

}  // namespace
}  // namespace lockstep
