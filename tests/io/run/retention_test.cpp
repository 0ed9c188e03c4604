#include "io/run/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "io/files/atomic_file.h"
#include "tests/io/run/manifest_edit.h"
#include "tests/io/run/small_run.h"
#include "tests/support/error_of.h"
#include "tests/support/refusing_files.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(PruneTest, KeepsTheNewestAndAllOfTheLedger) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    for (const std::uint64_t step : {0U, 2U, 4U, 6U, 8U}) small.commit(step, 2);
    prune_generations(run.path(), {2, 0});
    EXPECT_THAT(valid_steps(run.path()), ElementsAre(6, 8));
    EXPECT_EQ(list_generations(run.path()).size(), 2U);
    std::size_t segments = 0;
    for (const auto& [name, bytes] : all_files(run.path())) segments += name.starts_with("ledger/") ? 1U : 0U;
    EXPECT_EQ(segments, 4U);
    EXPECT_EQ(error_of([&] { prune_generations(run.path(), {1, 0}); }).code(), ErrorCode::invalid_argument);
}

TEST(PruneTest, DoesNotCountTheDamagedAmongTheKept) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    for (const std::uint64_t step : {2U, 4U, 6U, 8U}) small.commit(step, 1);
    damage(generation_directory(run.path(), 8) / "manifest.json");
    fs::remove(generation_directory(run.path(), 6) / "shard-00000-of-00001.h5");
    prune_generations(run.path(), {2, 0});
    EXPECT_THAT(valid_steps(run.path()), ElementsAre(2, 4));
    EXPECT_EQ(list_generations(run.path()).size(), 4U);
}

TEST(PruneTest, DoesNotCountWhatIsIncompleteOrNewerAmongTheKept) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    for (const std::uint64_t step : {2U, 4U, 6U}) small.commit(step, 1);
    const Manifest unproven = small.commit(8, 1);
    small.commit(10, 1);
    fs::resize_file(generation_directory(run.path(), 6) / "shard-00000-of-00001.h5", 100);
    const fs::path file = generation_directory(run.path(), 10) / "manifest.json";
    const std::string sound = read_file(file);
    write_file_atomically(file, with_value(sound, "/format_version", "2"), Overwrite::yes);
    // The newest segment may be gone for good; what is before it stands.
    const fs::path segment = run / "ledger" / unproven.ledger_head->file;
    fs::rename(segment, run / "elsewhere");
    EXPECT_THAT(prune_generations(run.path(), {2, 0}).removed, IsEmpty());
    fs::rename(run / "elsewhere", segment);
    write_file_atomically(file, sound, Overwrite::yes);
    EXPECT_THAT(prune_generations(run.path(), {2, 0}).removed, ElementsAre(2, 4, 6));
    EXPECT_THAT(valid_steps(run.path()), ElementsAre(8, 10));
}

TEST(PruneTest, JudgesNoGenerationThatCannotBeReadJustNow) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    for (const std::uint64_t step : {2U, 4U, 6U, 8U}) small.commit(step, 1);
    for (const char* file : {"step-00000002/manifest.json", "step-00000002/shard-00000-of-00001.h5"}) {
        const RefusingFiles refusing(file, EIO);
        EXPECT_EQ(error_of([&] { prune_generations(run.path(), {2, 2}); }).code(), ErrorCode::io_failure);
    }
    EXPECT_THAT(valid_steps(run.path()), ElementsAre(2, 4, 6, 8));
}

TEST(PruneTest, SweepsLeftOversButNotAnAttemptUnderWay) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    for (const std::uint64_t step : {2U, 4U, 6U}) small.commit(step, 1);
    fs::remove(generation_directory(run.path(), 4) / "manifest.json");
    run.write("checkpoints/step-00000008/shard-00000-of-00001.h5.tmp", "being written");
    prune_generations(run.path(), {2, 0});
    EXPECT_THAT(valid_steps(run.path()), ElementsAre(2, 6));
    EXPECT_FALSE(fs::exists(generation_directory(run.path(), 4)));
    EXPECT_TRUE(fs::exists(run / "checkpoints/step-00000008/shard-00000-of-00001.h5.tmp"));
}

TEST(PruneTest, LeavesFilesThatAreNotOurs) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    for (const std::uint64_t step : {2U, 4U, 6U}) small.commit(step, 1);
    for (const char* name : {"notes.txt", "shard-notes.txt"}) {
        run.write(fs::path("checkpoints/step-00000002") / name, "mine");
    }
    prune_generations(run.path(), {2, 0});
    for (const char* name : {"notes.txt", "shard-notes.txt"}) {
        EXPECT_EQ(run.read(fs::path("checkpoints/step-00000002") / name), "mine");
    }
    EXPECT_EQ(newest_step(run.path()), 6U);
}

TEST(PruneTest, KeepsTheFirstGenerationOfEveryInterval) {
    const std::vector<std::uint64_t> steps = {0, 40, 90, 110, 190, 210, 310, 320, 330};
    EXPECT_THAT(kept_generations(steps, {2, 0}), ElementsAre(320, 330));
    EXPECT_THAT(kept_generations(steps, {2, 100}), ElementsAre(110, 210, 310, 320, 330));
    EXPECT_THAT(kept_generations(steps, {3, 100}), ElementsAre(110, 210, 310, 320, 330));
    EXPECT_THAT(kept_generations(steps, {20, 0}), testing::ElementsAreArray(steps));
    EXPECT_THAT(kept_generations({}, {2, 100}), IsEmpty());
    // What is kept stays kept when there is more, and when the rest is gone.
    std::vector<std::uint64_t> kept;
    for (std::uint64_t step = 10; step < 2000; step += 30) {
        kept.push_back(step);
        kept = kept_generations(kept, {2, 250});
    }
    EXPECT_THAT(kept, ElementsAre(250, 520, 760, 1000, 1270, 1510, 1750, 1960, 1990));
}

TEST(PruneTest, KeptForEverOnDiskAsInTheRule) {
    const TemporaryDirectory run;
    SmallRun small(run.path());
    for (const std::uint64_t step : {2U, 4U, 6U, 8U, 10U, 12U}) {
        small.commit(step, 1);
        prune_generations(run.path(), {2, 4});
    }
    EXPECT_THAT(valid_steps(run.path()), ElementsAre(4, 8, 10, 12));
    const auto before = all_files(run.path());
    const PruneResult plan = plan_pruning(run.path(), {2, 0});
    EXPECT_THAT(plan.removed, ElementsAre(4, 8));
    EXPECT_THAT(plan.kept, ElementsAre(10, 12));
    EXPECT_EQ(all_files(run.path()), before) << "a look changes nothing";
}

}  // namespace
}  // namespace lockstep
