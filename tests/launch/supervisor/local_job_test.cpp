#include "launch/supervisor/local_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/run/heartbeat.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

TEST(CommittedStepsTest, OnlyNamesOfOursCount) {
    const TemporaryDirectory run;
    for (const char* folder : {"step-00000012", "step-00000006", "step-6", "step-000000007", "step-x",
                               "step-00000003.tmp", "other"}) {
        run.write(std::filesystem::path("checkpoints") / folder / "manifest.json", "{}");
    }
    run.write("checkpoints/step-00000018/shard", "not committed");
    EXPECT_THAT(committed_steps(run.path()), testing::ElementsAre(6, 12));
}

/// A job that reports as rank 0 does before it has the run, in the folder it is told.
class StartingJobTest : public testing::Test {
  protected:
    LocalJob job_for(const std::string& script) const {
        LocalJobOptions options;
        options.command = parse_job_command({"sh", "-c", script}, run().string());
        options.say = [](const std::string&) {};
        return LocalJob(std::move(options));
    }
    std::filesystem::path run() const { return folder_ / "runs" / "new"; }
    static std::string report(const std::string& phase) {
        Heartbeat beat;
        beat.phase = phase;
        beat.pid = 7;
        std::string line = to_json_line(beat);
        line.pop_back();
        return "echo '" + line + "' > \"$OMPI_LOCKSTEP_START_HEARTBEAT\"; ";
    }

    TemporaryDirectory folder_;
};

TEST_F(StartingJobTest, WhatItReportsBeforeItHasTheRunIsSeenAndLeavesNothing) {
    LocalJob job = job_for(report("building the plan") + "sleep 60");
    job.start(std::nullopt);
    std::optional<Heartbeat> beat;
    while (!(beat = job.heartbeat()) && !job.exit_code()) job.wait(0.01);
    ASSERT_TRUE(beat.has_value());
    EXPECT_EQ(beat->phase, "building the plan");
    EXPECT_EQ(beat->pid, 7);
    EXPECT_FALSE(std::filesystem::is_empty(folder_.path()));
    job.end();
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path())) << "nor is the run's folder made";
}

TEST_F(StartingJobTest, TheRunsOwnHeartbeatComesFirst) {
    folder_.write("runs/new/logs/rank-00000.log", "");
    LocalJob job = job_for(report("loading the plan") + "sleep 60");
    job.start(std::nullopt);
    while (!job.heartbeat() && !job.exit_code()) job.wait(0.01);
    Heartbeat beat;
    beat.training = true;
    folder_.write("runs/new/heartbeat.json", to_json_line(beat));
    EXPECT_TRUE(job.heartbeat()->training);
    job.end();
}

}  // namespace
}  // namespace lockstep
