#include "worker/step_verdict.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/support/mpi_main.h"

namespace lockstep {
namespace {

constexpr std::uint64_t first_pack = 40, packs = 5, step = 9;

LedgerRow row_of(std::uint64_t pack_in_step) {
    LedgerRow row;
    row.step = step;
    row.pack = first_pack + pack_in_step;
    row.tokens = std::numeric_limits<std::uint32_t>::max() - static_cast<std::uint32_t>(pack_in_step);
    row.targets = pack_in_step == 3 ? 0 : 7 + static_cast<std::uint32_t>(pack_in_step);
    row.token_digest = {.low = ~std::uint64_t{pack_in_step}, .high = pack_in_step};
    row.loss = pack_in_step == 3 ? 0.0 : -0.1 * static_cast<double>(pack_in_step + 1);
    if (pack_in_step == 3) row.event = PackEvent::no_target;
    return row;
}

class StepVerdictTest : public testing::Test {
  protected:
    void add_own(StepVerdict& verdict) {
        for (std::uint64_t i = 0; i < packs; ++i) {
            if (static_cast<int>(i) % comm_.size().value != comm_.rank().value) continue;
            verdict.add_pack(i, row_of(i));
        }
    }

    Communicator& comm_ = test_communicator();
};

void expect_equal(const LedgerRow& found, const LedgerRow& expected) {
    EXPECT_EQ(found.step, expected.step);
    EXPECT_EQ(found.pack, expected.pack);
    EXPECT_EQ(found.tokens, expected.tokens);
    EXPECT_EQ(found.targets, expected.targets);
    EXPECT_EQ(found.token_digest, expected.token_digest);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(found.loss), std::bit_cast<std::uint64_t>(expected.loss));
    EXPECT_EQ(found.event, expected.event);
}

TEST_F(StepVerdictTest, EveryRankKnowsWhatTheLedgersRootCovers) {
    StepVerdict verdict(packs);
    add_own(verdict);
    verdict.agree(comm_);
    EXPECT_FALSE(verdict.miscount());
    std::vector<LedgerRow> rows(1);
    verdict.ledger_rows(step, first_pack, rows);
    ASSERT_EQ(rows.size(), packs);
    double loss_sum = 0;
    std::uint64_t tokens = 0;
    std::vector<LedgerRow> expected;
    for (std::uint64_t i = 0; i < packs; ++i) {
        expected.push_back(row_of(i));
        expect_equal(rows[i], expected[i]);
        loss_sum += expected[i].loss;
        tokens += expected[i].tokens;
    }
    EXPECT_EQ(verdict.loss_sum(), loss_sum);
    EXPECT_EQ(verdict.tokens(), tokens);
    EXPECT_EQ(advance_ledger_root(empty_ledger_root(), step, rows),
              advance_ledger_root(empty_ledger_root(), step, expected));
}

TEST_F(StepVerdictTest, AStepThatIsNotFiniteIsSkippedInItsRows) {
    StepVerdict verdict(packs);
    add_own(verdict);
    if (comm_.rank().value == 0) verdict.raise_non_finite();
    verdict.agree(comm_);
    std::vector<LedgerRow> rows;
    verdict.ledger_rows(step, first_pack, rows);
    for (const LedgerRow& row : rows) {
        EXPECT_EQ(row.event, row.targets == 0 ? PackEvent::no_target : PackEvent::skipped_non_finite);
    }
}

TEST_F(StepVerdictTest, ALossThatIsNoNumberKeepsItsBits) {
    StepVerdict verdict(1);
    LedgerRow row = row_of(0);
    row.loss = std::numeric_limits<double>::quiet_NaN();
    if (comm_.rank().value == comm_.size().value - 1) verdict.add_pack(0, row);
    verdict.agree(comm_);
    std::vector<LedgerRow> rows;
    verdict.ledger_rows(step, first_pack, rows);
    expect_equal(rows.at(0), row);
}

TEST_F(StepVerdictTest, APackThatIsNotComputedOnceIsNamed) {
    const auto miscount_of = [&](const auto& add) {
        StepVerdict verdict(packs);
        add_own(verdict);
        add(verdict);
        verdict.agree(comm_);
        return verdict.miscount();
    };
    const bool is_last = comm_.rank().value == comm_.size().value - 1;
    // By all ranks.
    auto miscount = miscount_of([&](StepVerdict& verdict) { verdict.add_pack(2, row_of(2)); });
    ASSERT_TRUE(miscount);
    EXPECT_EQ(miscount->pack_in_step, 2U);
    EXPECT_EQ(miscount->times, 1 + comm_.size().value);
    // By none.
    miscount = miscount_of([&](StepVerdict& verdict) {
        if (is_last) verdict.begin(packs);
    });
    ASSERT_TRUE(miscount);
    EXPECT_EQ(miscount->pack_in_step, static_cast<std::uint64_t>(comm_.size().value - 1));
    EXPECT_EQ(miscount->times, 0);
    // Of another step.
    EXPECT_FALSE(miscount_of([&](StepVerdict& verdict) {
        verdict.add_pack(packs, row_of(0));
        verdict.add_pack(std::uint64_t{0} - 1, row_of(0));
    }));
}

}  // namespace
}  // namespace lockstep
