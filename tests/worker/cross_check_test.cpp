#include "worker/cross_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <new>
#include <set>
#include <string>

#include "io/comm/agreement.h"
#include "tests/support/mpi_main.h"
#include "tests/worker/small_batch.h"

namespace lockstep {
namespace {

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
            const CrossCheckRoles roles = roles_for(plan.turn(step), WorldSize{world});
            owners.insert(roles.owner);
            checkers.insert(roles.checker);
            EXPECT_NE(roles.owner, roles.checker);
            EXPECT_EQ(roles.third.has_value(), world > 2);
            if (roles.third) {
                EXPECT_NE(roles.third, roles.owner);
                EXPECT_NE(roles.third, roles.checker);
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

TEST(CrossCheckTest, TheOwnerIsTheNextRankThatHasSomethingToCheck) {
    Communicator& comm = test_communicator();
    const int world = comm.size().value;
    const CrossCheckPlan plan(5, comm.size());
    for (std::uint64_t step = 0; step < 30; step += 5) {
        EXPECT_FALSE(agree_on_roles(comm, plan, step, false));
        EXPECT_EQ(agree_on_roles(comm, plan, step, true)->owner, plan.turn(step));
        for (int holder = 0; holder < world; ++holder) {
            const auto roles = agree_on_roles(comm, plan, step, comm.rank().value == holder);
            ASSERT_TRUE(roles);
            EXPECT_EQ(roles->owner, Rank{holder});
            EXPECT_EQ(roles->checker, Rank{(holder + 1) % world});
            const bool all_but_it = comm.rank().value != holder;
            const auto others = agree_on_roles(comm, plan, step, all_but_it);
            ASSERT_EQ(others.has_value(), world > 1);
            if (world == 1) continue;
            const int turn = plan.turn(step).value;
            EXPECT_EQ(others->owner, Rank{turn == holder ? (turn + 1) % world : turn});
        }
    }
}

/// Who is named when `owner` and `checker` differ and each rank's further computation gives again(rank).
template <class Again>
CrossCheckFinding finding_of(const PackImage& owner, const PackImage& checker, const Again& again) {
    Communicator& comm = test_communicator();
    return find_the_odd_one(comm, roles_for(Rank{0}, comm.size()), 10, small_batch(10), owner, checker,
                            [&](const PackedBatch& batch) {
                                EXPECT_EQ(batch.token_ids, small_batch(10).token_ids);
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
    if (world == 1) {
        // Whichever of the two was wrong: it is the same rank.
        const auto finding = finding_of(right, wrong, [&](Rank) { return image_of(3); });
        EXPECT_EQ(finding.odd, Rank{0});
        EXPECT_NE(finding.text.find("does not repeat itself"), std::string::npos) << finding.text;
    } else if (world == 2) {
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

TEST(CrossCheckTest, ARankThatFailsAtItIsTheSameErrorOnAll) {
    const int world = test_communicator().size().value;
    const Rank last{world - 1};  // Of those that compute once more.
    try {
        finding_of(image_of(1), image_of(2), [&](Rank rank) -> PackImage {
            if (rank == last) throw std::bad_alloc();
            return image_of(1);
        });
        ADD_FAILURE() << "nothing was thrown";
    } catch (const AgreedError& error) {
        if (world > 1) {
            EXPECT_EQ(std::string(error.what()).find("rank " + std::to_string(last.value)), 0U)
                << error.what();
        }
    }
}

}  // namespace
}  // namespace lockstep
