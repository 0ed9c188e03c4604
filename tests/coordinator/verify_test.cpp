#include "coordinator/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/run/checkpoint.h"
#include "io/run/ledger.h"
#include "io/run/state_digest.h"
#include "plan/plan_revision.h"
#include "tests/coordinator/small_history.h"
#include "tests/coordinator/small_plan.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

class VerifyTest : public testing::Test {
  protected:
    VerifyTest() : small_(directory_.path()) {}

    const BatchPlan& plan() const { return small_.plan; }

    VerifyReport verify(const History& history) {
        const fs::path run = directory_ / ("run-" + std::to_string(runs_++));
        write_run(run, history);
        return verify_run(run, plan(), small_.inputs);
    }

    /// `change` must be noticed, and said in words that hold `text`.
    void expect_problem(const std::string& text, const std::function<void(History&)>& change) {
        History history(plan());
        change(history);
        const VerifyReport report = verify(history);
        EXPECT_FALSE(report.proven()) << text;
        EXPECT_THAT(report.problems, Contains(HasSubstr(text)));
    }

    TemporaryDirectory directory_;
    SmallPlan small_;
    int runs_ = 0;
};

std::string place(const BatchPlan& plan, std::uint64_t pack) {
    return "step " + std::to_string(step_of_pack(plan, pack)) + ", pack " + std::to_string(pack) + ": ";
}

/// A run that changed over to a revision after its second generation.
class RevisedRunTest : public VerifyTest {
  protected:
    RevisedRunTest() {
        const std::uint64_t step = plan().num_steps() - 1;
        revision_ = revise_plan(plan(), {change_, {}, {step}}, {}).plan;
        history_.emplace(revised_history(plan(), revision_, change_));
    }

    VerifyReport verify_chain(const std::vector<ChainedPlan>& plans) {
        const fs::path run = directory_ / ("revised-" + std::to_string(runs_++));
        write_run(run, *history_);
        return verify_run(run, plans, small_.inputs);
    }
    void expect_chain_problem(const std::string& text, const std::vector<ChainedPlan>& plans) {
        const VerifyReport report = verify_chain(plans);
        EXPECT_FALSE(report.proven()) << text;
        EXPECT_THAT(report.problems, Contains(HasSubstr(text)));
    }

    static constexpr std::uint64_t change_ = 3;  ///< As History commits.
    BatchPlan revision_;
    std::optional<History> history_;
};

TEST_F(RevisedRunTest, EachRecordIsHeldAgainstThePlanOfItsStep) {
    const VerifyReport report = verify_chain({{0, view_of(plan())}, {change_, view_of(revision_)}});
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_EQ(report.revisions, 1U);
    EXPECT_EQ(report.plan, revision_.fingerprints.plan);
    EXPECT_EQ(report.packs, plan().num_packs());
}

TEST_F(RevisedRunTest, AWrongChainIsFound) {
    const std::string steps = "were trained from plan " + revision_.fingerprints.plan.brief();
    expect_chain_problem(steps, {{0, view_of(plan())}});
    expect_chain_problem("were trained from plan " + plan().fingerprints.plan.brief(),
                         {{0, view_of(revision_)}});
    expect_chain_problem("is no revision of another", {{0, view_of(revision_)}, {change_, view_of(plan())}});
    expect_chain_problem(steps, {{0, view_of(revision_)}, {change_, view_of(plan())}});
    expect_chain_problem("were trained from plan", {{0, view_of(plan())}, {change_ - 1, view_of(revision_)}});
    expect_chain_problem("were trained from plan", {{0, view_of(plan())}, {change_ + 1, view_of(revision_)}});
}

TEST_F(RevisedRunTest, APlanThatEndsBeforeItsStepsAreTrainedIsFound) {
    PlanOptions options = small_options();
    options.epochs = 1;
    const BatchPlan shorter = plan_of(options, small_.inputs);
    ASSERT_LT(shorter.num_steps() + 1, plan().num_steps());
    expect_chain_problem("in force there ends at " + std::to_string(shorter.num_steps()),
                         {{0, view_of(shorter)}, {plan().num_steps() - 1, view_of(plan())}});
}

/// Sound by itself: only the corpus tells that there are no such tokens.
TEST_F(RevisedRunTest, ASegmentLongerThanItsSampleIsRefusedBeforeItIsRead) {
    BatchPlan longer = plan();
    for (std::uint32_t& offset : longer.segment_offset) offset += 1'000'000;
    const fs::path run = directory_ / "longer";
    write_run(run, *history_);
    const Error error = error_of([&] { verify_run(run, longer, small_.inputs); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("ends at token 10000"));
}

TEST_F(RevisedRunTest, ARevisionThatRewritesThePastIsFound) {
    const BatchPlan rewriting = revise_plan(plan(), {1, {}, {1}}, {}).plan;
    expect_chain_problem("in steps trained before: epoch 0, step 1",
                         {{0, view_of(plan())}, {change_, view_of(rewriting)}});
    PlanOptions options = small_options();
    options.seed = 9;
    BatchPlan other = plan_of(options, small_.inputs);
    other.parent = plan().fingerprints.plan;
    other.fingerprints = fingerprint_plan(other);
    expect_chain_problem("has other settings", {{0, view_of(plan())}, {change_, view_of(other)}});
}

TEST_F(VerifyTest, AnHonestRunIsProven) {
    const History history(plan());
    const VerifyReport report = verify(history);
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_TRUE(report.proven());
    EXPECT_EQ(report.steps, plan().num_steps());
    EXPECT_EQ(report.steps_planned, plan().num_steps());
    EXPECT_EQ(report.packs, plan().num_packs());
    std::uint64_t tokens = 0;
    for (const std::uint32_t length : plan().segment_tokens) tokens += length;
    EXPECT_EQ(report.tokens, tokens);
    std::uint64_t targets = 0;
    for (const std::uint32_t of_pack : plan().pack_targets) targets += of_pack;
    EXPECT_EQ(report.targets_trained, targets);
    EXPECT_EQ(report.packs_without_target, 2U) << "the unanswered sample, once an epoch";
    EXPECT_EQ(report.packs_skipped, 0U);
    EXPECT_EQ(report.ledger_segments, 3U);
    EXPECT_EQ(report.generations, history.commits);
    EXPECT_EQ(report.plan, plan().fingerprints.plan);
}

TEST_F(VerifyTest, AnUnfinishedRunIsProvenUpToItsNewestGeneration) {
    History history(plan());
    history.commits = {2, 3};
    const VerifyReport report = verify(history);
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_EQ(report.steps, 3U);
    EXPECT_EQ(report.packs, plan().step_begin[3]);
}

TEST_F(VerifyTest, SkippedPacksAreReportedNotHidden) {
    History history(plan());
    const std::uint64_t step = history.row(pack_with_targets(plan(), true)).step;
    std::uint64_t skipped = 0;
    for (LedgerRow& row : history.rows) {
        if (row.step != step || row.event != PackEvent::trained) continue;
        row.event = PackEvent::skipped_non_finite;
        ++skipped;
    }
    const VerifyReport report = verify(history);
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_EQ(report.packs_skipped, skipped);
}

// A step is skipped whole or not at all.
TEST_F(VerifyTest, FindsAStepSkippedInPart) {
    History history(plan());
    std::map<std::uint64_t, std::uint64_t> trained_of_step;
    for (const LedgerRow& row : history.rows)
        trained_of_step[row.step] += row.event == PackEvent::trained ? 1 : 0;
    const auto several = std::find_if(trained_of_step.begin(), trained_of_step.end(),
                                      [](const auto& entry) { return entry.second > 1; });
    ASSERT_NE(several, trained_of_step.end());
    const std::uint64_t step = several->first;
    expect_problem("step " + std::to_string(step) + ": some packs are recorded as trained, others as skipped",
                   [&](History& h) {
                       const auto row = std::find_if(h.rows.begin(), h.rows.end(), [&](const LedgerRow& r) {
                           return r.step == step && r.event == PackEvent::trained;
                       });
                       row->event = PackEvent::skipped_non_finite;
                   });
}

TEST_F(VerifyTest, FindsAMissingPack) {
    expect_problem(place(plan(), 4) + "planned, but never trained", [](History& h) { h.erase(4); });
    const std::uint64_t last = plan().num_packs() - 1;
    expect_problem(place(plan(), last) + "planned, but never trained", [&](History& h) { h.erase(last); });
}

TEST_F(VerifyTest, FindsAPackTrainedAgainInAnotherStep) {
    const std::uint64_t step = step_of_pack(plan(), 4);
    expect_problem("step " + std::to_string(step + 1) + ", pack 4: trained, but the plan has no such pack",
                   [&](History& h) {
                       LedgerRow again = h.row(4);
                       again.step = step + 1;
                       h.rows.push_back(again);
                   });
}

TEST_F(VerifyTest, APackTwiceInAStepCannotEvenBeRecorded) {
    History history(plan());
    history.rows.push_back(history.row(4));
    EXPECT_THAT(error_of([&] { verify(history); }).what(), HasSubstr("does not follow the row before it"));
}

TEST_F(VerifyTest, FindsAPackInTheWrongStep) {
    const std::uint64_t step = step_of_pack(plan(), 4);
    for (const std::uint64_t other : {step - 1, step + 1}) {
        const auto move = [&](History& h) { h.row(4).step = other; };
        expect_problem(place(plan(), 4) + "planned, but never trained", move);
        expect_problem("step " + std::to_string(other) + ", pack 4: trained, but the plan has no such pack",
                       move);
    }
}

TEST_F(VerifyTest, FindsAPackThePlanDoesNotHave) {
    expect_problem("pack 99999: trained, but the plan has no such pack", [](History& h) {
        LedgerRow unknown = h.rows.back();
        unknown.pack = 99999;
        h.rows.push_back(unknown);
    });
}

TEST_F(VerifyTest, FindsStepsBeyondThePlan) {
    expect_problem("the plan ends at " + std::to_string(plan().num_steps()),
                   [](History& h) { ++h.commits.back(); });
}

TEST_F(VerifyTest, FindsOtherCountsOfTokensAndTargets) {
    expect_problem(place(plan(), 4) + std::to_string(row_of(plan(), 1, 4).tokens + 1) + " tokens were fed",
                   [](History& h) { ++h.row(4).tokens; });
    const std::uint64_t pack = pack_with_targets(plan(), true);
    expect_problem(
        place(plan(), pack) + std::to_string(plan().pack_targets[pack] - 1) + " targets were trained",
        [&](History& h) { --h.row(pack).targets; });
}

TEST_F(VerifyTest, FindsOtherContent) {
    for (const std::uint64_t pack : {std::uint64_t{0}, std::uint64_t{4}, plan().num_packs() - 1}) {
        const std::string text = place(plan(), pack) + "other tokens, positions or targets";
        expect_problem(text, [&](History& h) { h.row(pack).token_digest.low ^= 1U; });
        expect_problem(text, [&](History& h) { h.row(pack).token_digest.high ^= std::uint64_t{1} << 63U; });
    }
    expect_problem("other tokens, positions or targets",
                   [&](History& h) { std::swap(h.row(4).token_digest, h.row(5).token_digest); });
}

TEST_F(VerifyTest, FindsTheWrongEvent) {
    expect_problem("recorded as without target, but it has some",
                   [&](History& h) { h.row(pack_with_targets(plan(), true)).event = PackEvent::no_target; });
    expect_problem("recorded as trained, but it has no target",
                   [&](History& h) { h.row(pack_with_targets(plan(), false)).event = PackEvent::trained; });
}

TEST_F(VerifyTest, FindsStepsOfAnotherPlan) {
    expect_problem("were trained from plan", [](History& h) { h.segment_plan.bytes[31] ^= 1U; });
    expect_problem("follows plan", [](History& h) { h.cursor_plan.bytes[31] ^= 1U; });
}

TEST_F(VerifyTest, FindsOtherNumberOfTargetsSeen) {
    expect_problem("targets trained, the newest generation", [](History& h) { h.extra_targets = 1; });
}

TEST_F(VerifyTest, FindsAStateThatIsNotTheOneRecorded) {
    expect_problem("the state digest is", [](History& h) { h.other_state_digest = true; });
}

TEST_F(VerifyTest, CountsEveryProblemAndShowsTwenty) {
    History history(plan());
    for (LedgerRow& row : history.rows) row.token_digest.low ^= 1U;
    const VerifyReport report = verify(history);
    EXPECT_EQ(report.num_problems, plan().num_packs());
    EXPECT_EQ(report.problems.size(), std::min<std::size_t>(20, plan().num_packs()));
}

TEST_F(VerifyTest, AGapBetweenSegmentsIsRefused) {
    const fs::path run = directory_ / "run";
    write_run(run, History(plan()));
    const auto name = list_generations(run).back().manifest->ledger_head;
    LedgerSegment segment = read_ledger_segment(run / "ledger", *name);
    // A segment can only be written behind the one it names.
    segment.step_begin += 1;
    segment.rows.clear();
    EXPECT_THAT(error_of([&] { write_ledger_segment(run / "ledger", segment); }).what(),
                HasSubstr("ends elsewhere"));
    // And a chain with one missing is not a chain.
    fs::remove(run / "ledger" / segment.previous->file);
    EXPECT_EQ(error_of([&] { verify_run(run, plan(), small_.inputs); }).code(), ErrorCode::corrupt_data);
}

TEST_F(VerifyTest, AFlippedBitInAnyFileIsCorruptData) {
    const fs::path run = directory_ / "run";
    write_run(run, History(plan()));
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(run)) {
        if (entry.is_regular_file()) files.push_back(entry.path());
    }
    EXPECT_EQ(files.size(), 3U * 4U) << "each generation: two shards, a manifest, a ledger segment";
    for (const fs::path& file : files) {
        const std::string bytes = read_file(file);
        for (std::size_t i = 0; i < 6; ++i) {
            const std::size_t position = bytes.size() * i / 6 + i;
            std::string altered = bytes;
            altered[position] = static_cast<char>(static_cast<unsigned char>(altered[position]) ^ (1U << i));
            std::ofstream(file, std::ios::binary) << altered;
            const Error error = error_of([&] { verify_run(run, plan(), small_.inputs); });
            EXPECT_EQ(error.code(), ErrorCode::corrupt_data)
                << file << ", byte " << position << ": " << error.what();
        }
        std::ofstream(file, std::ios::binary) << bytes;
    }
    EXPECT_TRUE(verify_run(run, plan(), small_.inputs).proven());
}

TEST_F(VerifyTest, AGenerationNeverCommittedIsNotCorruptData) {
    const fs::path run = directory_ / "run";
    History history(plan());
    history.commits = {2, 3};
    write_run(run, history);
    const fs::path generation = generation_directory(run, 4);
    fs::create_directories(generation);
    EXPECT_TRUE(verify_run(run, plan(), small_.inputs).proven());
    fs::copy(generation_directory(run, 3) / "shard-00000-of-00002.h5", generation);
    const VerifyReport report = verify_run(run, plan(), small_.inputs);
    EXPECT_TRUE(report.proven());
    EXPECT_EQ(report.steps, 3U);
}

TEST_F(VerifyTest, WithoutAGenerationThereIsNothingToVerify) {
    const fs::path run = directory_ / "run";
    fs::create_directories(run);
    EXPECT_EQ(error_of([&] { verify_run(run, plan(), small_.inputs); }).code(), ErrorCode::not_found);
}

TEST_F(VerifyTest, TwoRunsThatMustBeTheSameAreCompared) {
    const fs::path other = directory_ / "other";
    write_run(other, History(plan()));
    VerifyReport same = verify(History(plan()));
    compare_runs(same, other);
    EXPECT_TRUE(same.proven());

    History history(plan());
    history.row(pack_with_targets(plan(), true)).loss += 1;
    VerifyReport different = verify(history);
    ASSERT_TRUE(different.proven());
    compare_runs(different, other);
    EXPECT_THAT(different.problems, Contains(HasSubstr("the ledger root differs")));
    EXPECT_THAT(different.problems, Contains(HasSubstr("the state digest differs")));

    EXPECT_EQ(error_of([&] { compare_runs(same, directory_ / "nowhere"); }).code(), ErrorCode::not_found);
}

}  // namespace
}  // namespace lockstep
