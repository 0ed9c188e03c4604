// A disk that loses its power forgets what was not synced, and nothing else; and
// what chaos --power would say of a run that trusted it too much.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <fstream>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/run/checkpoint.h"
#include "launch/chaos/power_job.h"
#include "tests/coordinator/small_artifacts.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class PowerTest : public testing::Test {
  protected:
    /// A run on the disk, with no file of it left open.
    fs::path write_run_there() const { return SmallArtifacts(disk_.path() / "sound", 1).run(); }

    TemporaryDirectory directory_;
    PowerDisk disk_{directory_ / "image", directory_ / "disk", std::uint64_t{64} << 20U};
};

TEST_F(PowerTest, OnlyWhatWasSyncedIsThereAgain) {
    write_file_atomically(disk_.path() / "published", "all of it", Overwrite::no);
    write_file(disk_.path() / "written", "nobody synced this");
    fs::create_directory(disk_.path() / "folder");
    disk_.cut();
    EXPECT_FALSE(std::ofstream(disk_.path() / "late")) << "nothing reaches a disk without power";
    disk_.power_on();
    EXPECT_EQ(read_file(disk_.path() / "published"), "all of it");
    EXPECT_FALSE(fs::exists(disk_.path() / "folder"));
    EXPECT_NE(fs::exists(disk_.path() / "written") ? read_file(disk_.path() / "written") : "",
              "nobody synced this");
}

TEST(PowerDiskTest, ADiskThatCannotBeMadeLeavesNothing) {
    const TemporaryDirectory directory;
    EXPECT_THROW(PowerDisk(directory / "image", directory / "disk", 4096), Error) << "too small for ext4";
    EXPECT_FALSE(fs::exists(directory / "image"));
    EXPECT_FALSE(fs::exists(directory / "disk"));
}

TEST_F(PowerTest, APublishedGenerationSurvivesAndALostOneIsNoticed) {
    const fs::path run = write_run_there();
    const std::vector<std::uint64_t> before = committed_steps(run);
    ASSERT_GE(before.size(), 2U);
    disk_.cut();
    disk_.power_on();
    EXPECT_EQ(problem_after_cut(run, before), "");
    for (std::size_t i = 1; i < before.size(); ++i) fs::remove_all(generation_directory(run, before[i]));
    EXPECT_NE(problem_after_cut(run, before).find("is gone"), std::string::npos);
}

TEST_F(PowerTest, ADamagedGenerationIsNoticed) {
    const fs::path run = write_run_there();
    const fs::path generation = generation_directory(run, committed_steps(run).back());
    fs::resize_file(generation / shard_file_name(Rank{0}, WorldSize{2}), 1000);
    EXPECT_NE(problem_after_cut(run, {}).find("damaged"), std::string::npos);
}

}  // namespace
}  // namespace lockstep
