#include "launch/chaos/chaos_job.h"

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

/// A seed whose first start is killed so, at the first call that counts.
std::uint64_t seed_of(KillTarget target) {
    for (std::uint64_t seed = 0;; ++seed) {
        const auto kill = KillSchedule(seed, 1, 1, 1).kill(0);
        if (kill->moment == KillMoment::at_call && kill->target == target) return seed;
    }
}

TEST(ChaosJobTest, AKillAimedAtACallComesInsteadOfIt) {
    for (const KillTarget target : {KillTarget::one_rank, KillTarget::launcher, KillTarget::everything}) {
        const TemporaryDirectory folder;
        const std::filesystem::path run = folder / "run";
        std::filesystem::create_directories(run / "checkpoints");
        SyscallShim shim(folder.path());
        LocalJobOptions options;
        // Each start leaves a line, but makes the directory only if it lives.
        options.command = parse_job_command(
            {"sh", "-c", "echo start >> $0/starts; mkdir $0/checkpoints/made && ls -d $0/checkpoints/made",
             run.string()},
            run.string());
        options.output = (folder / "log").string();
        options.say = [](const std::string&) {};
        ChaosJob job(std::move(options), KillSchedule(seed_of(target), 1, 1, 1), {1, 1}, &shim);
        SupervisorSettings settings;
        settings.restart.back_off_first_seconds = 0;
        settings.poll_seconds = 0.01;
        const SupervisorOutcome outcome = supervise(job, settings);
        EXPECT_EQ(outcome.exit_code, 0) << folder.read("log");
        EXPECT_EQ(job.kills(), 1U);
        EXPECT_TRUE(shim.happened());
        EXPECT_EQ(folder.read("run/starts"), "start\nstart\n");
        EXPECT_EQ(folder.read("log").find("File exists"), std::string::npos)
            << "the killed call was made: " << folder.read("log");
    }
}

}  // namespace
}  // namespace lockstep
