#include "launch/chaos/commit_observer.h"

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

TEST(CommitObserverTest, ChangesOfGenerationsAndLedgerAreCounted) {
    const TemporaryDirectory run;
    CommitObserver observer(run.path());
    EXPECT_EQ(observer.changes(), 0U);
    std::filesystem::create_directories(run / "checkpoints");
    std::filesystem::create_directories(run / "ledger");
    EXPECT_EQ(observer.changes(), 0U);
    std::filesystem::create_directories(run / "checkpoints/step-00000005");
    EXPECT_EQ(observer.changes(), 1U);
    run.write("checkpoints/step-00000005/shard.tmp", "x");
    EXPECT_EQ(observer.changes(), 3U) << "made and closed";
    std::filesystem::rename(run / "checkpoints/step-00000005/shard.tmp",
                            run / "checkpoints/step-00000005/shard");
    EXPECT_EQ(observer.changes(), 5U) << "moved from and to";
    run.write("metrics.jsonl", "x");
    EXPECT_EQ(observer.changes(), 5U) << "no commit";
    run.write("ledger/segment", "x");
    EXPECT_EQ(observer.changes(), 7U);
}

TEST(CommitObserverTest, FoldersAreWatchedInWhateverOrderTheyAppear) {
    const TemporaryDirectory run;
    CommitObserver observer(run.path());
    std::filesystem::create_directories(run / "ledger");
    EXPECT_EQ(observer.changes(), 0U);
    std::filesystem::create_directories(run / "checkpoints");
    EXPECT_EQ(observer.changes(), 0U);
    std::filesystem::create_directories(run / "checkpoints/step-00000005");
    EXPECT_EQ(observer.changes(), 1U);
    run.write("checkpoints/step-00000005/shard", "x");
    EXPECT_EQ(observer.changes(), 3U);
}

}  // namespace
}  // namespace lockstep
