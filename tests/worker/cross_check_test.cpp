#include "worker/cross_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "io/comm/serial_communicator.h"
#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

PackedBatch batch_of(std::uint64_t step) {
    PackedBatch batch;
    batch.step = step;
    batch.pack = 7;
    batch.token_ids = {1, 2, 3};
    batch.position_ids = {0, 1, 0};
    batch.targets = {2, -1, -1};
    batch.cu_seqlens = {0, 2, 3};
    batch.num_targets = 1;
    return batch;
}

PackImage image_of(std::uint64_t value) {
    return {{value, value + 1}, value + 2};
}

TEST(CrossCheckPlanTest, EveryRankIsCheckedByAnotherInTurn) {
    for (const int world : {2, 3, 5}) {
        const CrossCheckPlan plan(10, WorldSize{world});
        std::set<Rank> owners, checkers;
        for (std::uint64_t step = 0; step < 100; ++step) {
            EXPECT_EQ(plan.checks(step), step % 10 == 0);
            if (!plan.checks(step)) continue;
            owners.insert(plan.owner(step));
            checkers.insert(plan.checker(step));
            EXPECT_NE(plan.owner(step), plan.checker(step));
            EXPECT_EQ(plan.third(step).has_value(), world > 2);
            if (plan.third(step)) {
                EXPECT_NE(plan.third(step), plan.owner(step));
                EXPECT_NE(plan.third(step), plan.checker(step));
            }
        }
        EXPECT_EQ(owners.size(), static_cast<std::size_t>(world));
        EXPECT_EQ(checkers.size(), static_cast<std::size_t>(world));
    }
    EXPECT_FALSE(CrossCheckPlan(0, WorldSize{2}).checks(0));
}

TEST(CrossCheckPlanTest, ARanksPacksComeRoundInTurn) {
    const CrossCheckPlan plan(5, WorldSize{2});
    std::set<std::size_t> packs;
    for (std::uint64_t step = 0; step < 100; step += 10) packs.insert(plan.pack(step, 3));
    EXPECT_EQ(packs, (std::set<std::size_t>{0, 1, 2}));
}

TEST(GradientDigestTest, SeesEveryIntegerAndItsPlace) {
    ThreadPool pool(1), threads(3);
    std::vector<float> part(3000, 0.25F);
    const auto digest = [&](ThreadPool& by, std::size_t offset) {
        GradientDigest gradient(by);
        gradient.add(offset, part, 40, 1);
        return gradient.value();
    };
    const Digest first = digest(pool, 0);
    EXPECT_EQ(digest(threads, 0), first);
    EXPECT_NE(digest(pool, 4096), first);
    part[2999] = std::nextafter(0.25F, 1.0F);
    EXPECT_NE(digest(pool, 0), first) << "one bit of one element";
}

TEST(CrossCheckTest, ABatchArrivesAsItWasSent) {
    Communicator& comm = test_communicator();
    if (comm.size().value == 1) return SUCCEED();
    if (comm.rank().value == 0) {
        send_batch(comm, batch_of(20), Rank{1});
        send_batch(comm, PackedBatch(), Rank{1});
    } else if (comm.rank().value == 1) {
        const PackedBatch batch = receive_batch(comm, Rank{0});
        const PackedBatch sent = batch_of(20);
        EXPECT_EQ(batch.step, sent.step);
        EXPECT_EQ(batch.pack, sent.pack);
        EXPECT_EQ(batch.token_ids, sent.token_ids);
        EXPECT_EQ(batch.position_ids, sent.position_ids);
        EXPECT_EQ(batch.targets, sent.targets);
        EXPECT_EQ(batch.cu_seqlens, sent.cu_seqlens);
        EXPECT_EQ(batch.num_targets, sent.num_targets);
        EXPECT_TRUE(receive_batch(comm, Rank{0}).token_ids.empty());
    }
}

/// Who is named when `owner` and `checker` differ and each rank's further computation gives again(rank).
template <class Again>
CrossCheckFinding finding_of(const PackImage& owner, const PackImage& checker, const Again& again) {
    Communicator& comm = test_communicator();
    const CrossCheckPlan plan(10, comm.size());
    return find_the_odd_one(comm, plan, 0, batch_of(0), owner, checker, [&](const PackedBatch& batch) {
        EXPECT_EQ(batch.token_ids, batch_of(0).token_ids);
        return again(comm.rank());
    });
}

TEST(CrossCheckTest, AFurtherComputationNamesTheOddOne) {
    const int world = test_communicator().size().value;
    const PackImage right = image_of(1), wrong = image_of(2);
    const auto honest = [&](Rank) { return right; };
    const Rank second{world == 1 ? 0 : 1};
    EXPECT_EQ(finding_of(right, wrong, honest).odd, second);
    EXPECT_EQ(finding_of(wrong, right, honest).odd, Rank{0});
    EXPECT_NE(finding_of(right, wrong, honest).text.find("rank " + std::to_string(second.value) + " (host "),
              std::string::npos);
}

TEST(CrossCheckTest, WhatCannotBeToldIsSaid) {
    const int world = test_communicator().size().value;
    const PackImage right = image_of(1), wrong = image_of(2);
    if (world == 2) {
        // Each repeats its own.
        const auto finding = finding_of(right, wrong, [&](Rank r) { return r.value == 0 ? right : wrong; });
        EXPECT_FALSE(finding.odd);
        EXPECT_NE(finding.text.find("three ranks could tell"), std::string::npos) << finding.text;
    } else if (world == 3) {
        const auto finding = finding_of(right, wrong, [&](Rank) { return image_of(3); });
        EXPECT_FALSE(finding.odd);
        EXPECT_NE(finding.text.find("agrees with neither"), std::string::npos) << finding.text;
    }
}

}  // namespace
}  // namespace lockstep
