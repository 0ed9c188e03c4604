#include "launch/supervisor/local_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace lockstep
