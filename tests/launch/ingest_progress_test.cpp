#include <gtest/gtest.h>

#include "launch/cli/data/ingest.h"

namespace lockstep {
namespace {

TEST(IngestProgressTest, RateIsOfWhatIsDoneAndEtaOfTheRest) {
    EXPECT_EQ(ingest_progress_text(12'000'000, 60'000'000, 2.0),
              "tokenized 12.0 MB of 60.0 MB, 6.0 MB/s, ETA 0:08");
    EXPECT_EQ(ingest_progress_text(1'000'000, 1'000'000'000'000, 1.0),
              "tokenized 1.0 MB of 1.0 TB, 1.0 MB/s, ETA 277:46:39");
    EXPECT_EQ(ingest_progress_text(500, 500, 0.5), "tokenized 500 B of 500 B, 0.0 MB/s, ETA 0:00");
}

TEST(IngestProgressTest, NothingDoneTellsNothing) {
    EXPECT_EQ(ingest_progress_text(0, 1'000'000'000, 0.0), "tokenized 0 B of 1.0 GB, 0.0 MB/s, ETA ?");
    EXPECT_EQ(ingest_progress_text(0, 0, 3.0), "tokenized 0 B of 0 B, 0.0 MB/s, ETA ?");
}

// Files that grow while they are read.
TEST(IngestProgressTest, MoreThanWasThereIsTheEnd) {
    EXPECT_EQ(ingest_progress_text(3'000'000, 2'000'000, 1.0),
              "tokenized 3.0 MB of 2.0 MB, 3.0 MB/s, ETA 0:00");
}

}  // namespace
}  // namespace lockstep
