// A plan's folder written by ranks together, in whatever world it is launched.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/plan_writer.h"
#include "io/comm/agreement.h"
#include "io/files/atomic_file.h"
#include "tests/plan/plan_support.h"
#include "tests/support/error_of.h"
#include "tests/support/mpi_main.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

/// More than a thousand steps an epoch, so that every rank has chunks of its own to make.
std::vector<TestSource> sources(bool mixture) {
    std::vector<TestSource> list(2);
    for (std::size_t i = 0; i < list.size(); ++i) {
        list[i].name = "source" + std::to_string(i);
        list[i].sample_tokens = long_tailed_lengths(i + 1, 3000 * (i + 1), 60);
        if (mixture) list[i].weight = i + 1;
    }
    return list;
}

PlanOptions options_of(PlanMode mode) {
    PlanOptions options;
    options.mode = mode;
    options.token_budget = 64;
    options.packs_per_step = 1;
    options.epochs = 2;
    if (mode == PlanMode::bucket) {
        options.bucket_edges = {16};
        options.bucket_overflow_max = 64;
    }
    return options;
}

/// Collective. The folder that all ranks make is the one that rank 0 makes alone.
void expect_as_alone(const PlanOptions& options, const std::vector<TestSource>& sources,
                     std::size_t chunks_min) {
    Communicator& comm = test_communicator();
    const TemporaryDirectory directory;
    const std::vector<SourceLengths> lengths = views_of(sources);
    for (const int threads : {1, 3}) {
        const BuiltPlanFolder built = build_plan_folder(directory / "together", options, {}, lengths,
                                                        WriteJsonl::always, Overwrite::yes, threads, &comm);
        if (comm.rank().value != 0) {
            EXPECT_FALSE(built.saved.wrote_jsonl);
            EXPECT_FALSE(std::filesystem::exists(directory / "together")) << "only rank 0 writes";
            continue;
        }
        const BatchPlan plan = build_plan(options, lengths);
        EXPECT_GE(plan.fingerprints.chunks.size(), chunks_min);
        EXPECT_EQ(built.head.fingerprints, plan.fingerprints);
        EXPECT_TRUE(built.saved.wrote_jsonl);
        EXPECT_EQ(load_plan(directory / "together", PlanCheck::content), plan);
        build_plan_folder(directory / "alone", options, {}, lengths, WriteJsonl::always, Overwrite::yes, 1);
        for (const char* file : {"plan.h5", "plan.jsonl", "fingerprints.json", "stats.json"}) {
            EXPECT_EQ(read_file(directory / "alone" / file), read_file(directory / "together" / file))
                << file;
        }
    }
    comm.barrier();
}

TEST(PlanBuildingTest, RanksTogetherWriteTheFolderThatOneWrites) {
    for (const PlanMode mode : {PlanMode::pack, PlanMode::bucket}) {
        expect_as_alone(options_of(mode), sources(false), 4);
    }
}

TEST(PlanBuildingTest, AMixtureIsTheSameFolderToo) {
    expect_as_alone(options_of(PlanMode::pack), sources(true), 4);
}

TEST(PlanBuildingTest, AnothersRulesAreFollowedByRank0Alone) {
    PlanOptions options = options_of(PlanMode::bucket);
    options.compat = PlanCompat::lazarus;
    options.order = PackOrder::short_to_long;
    std::vector<TestSource> one = sources(false);
    one.resize(1);
    expect_as_alone(options, one, 2);
}

TEST(PlanBuildingTest, WhatCannotBePlannedIsTheSameErrorOnAllRanks) {
    Communicator& comm = test_communicator();
    const TemporaryDirectory directory;
    PlanOptions options = options_of(PlanMode::pack);
    options.long_policy = LongPolicy::error;
    options.token_budget = 10;
    const std::vector<TestSource> from = sources(false);
    const Error error = error_of([&] {
        build_plan_folder(directory / "plan", options, {}, views_of(from), WriteJsonl::never, Overwrite::no,
                          2, &comm);
    });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), testing::StartsWith(comm.size().value > 1 ? "rank 0: " : "sample "));
    EXPECT_FALSE(std::filesystem::exists(directory / "plan"));
    comm.barrier();
}

}  // namespace
}  // namespace lockstep
