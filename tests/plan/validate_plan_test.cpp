#include <algorithm>
#include <functional>
#include <utility>

#include "plan/batch_plan.h"
#include "plan/plan_structure.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

struct Case {
    TestSource source;
    BatchPlan plan;
};

Case make_case(PlanMode mode) {
    Case made;
    made.source.sample_tokens = long_tailed_lengths(1, 150, 200);
    made.source.sample_tokens[0] = 0;
    made.source.sample_tokens[3] = 0;
    made.source.sample_tokens[5] = 900;
    made.source.sample_tokens[6] = 1;
    PlanOptions options;
    options.mode = mode;
    options.token_budget = 256;
    options.packs_per_step = 4;
    options.epochs = 2;
    options.bucket_edges = {16, 64};
    options.bucket_overflow_max = 256;
    made.plan = build_plan(options, made.source);
    return made;
}

/// The change is found; its fingerprints are made to fit first, so that not they but the proof finds it.
void expect_found(PlanMode mode, const std::string& noun, const std::function<void(BatchPlan&)>& change) {
    Case made = make_case(mode);
    change(made.plan);
    try {
        check_structure(made.plan);
        made.plan.fingerprints = fingerprint_plan(made.plan);
    } catch (const Error&) {
        // Not sound enough to be fingerprinted; validate_plan has to say so itself.
    }
    expect_error(ErrorCode::corrupt_data, noun, [&] { validate_plan(made.plan, made.source); });
}

TEST(ValidatePlanTest, NamesWhatIsWrongWithColumns) {
    expect_found(PlanMode::pack, "pack_begin",
                 [](BatchPlan& p) { std::swap(p.pack_begin[2], p.pack_begin[3]); });
    expect_found(PlanMode::pack, "pack_begin", [](BatchPlan& p) { p.pack_begin.pop_back(); });
    expect_found(PlanMode::pack, "pack_begin", [](BatchPlan& p) { p.pack_begin.clear(); });
    expect_found(PlanMode::pack, "step_begin", [](BatchPlan& p) { p.step_begin[1] = ~std::uint64_t{0}; });
    expect_found(PlanMode::pack, "step_begin", [](BatchPlan& p) { p.step_begin.clear(); });
    expect_found(PlanMode::pack, "epoch_begin", [](BatchPlan& p) { p.epoch_begin = {0}; });
    expect_found(PlanMode::pack, "epoch_begin", [](BatchPlan& p) { p.epoch_begin.back() += 1; });
    expect_found(PlanMode::pack, "segment_sample", [](BatchPlan& p) { p.segment_sample.pop_back(); });
    expect_found(PlanMode::pack, "segment_offset", [](BatchPlan& p) { p.segment_offset.push_back(0); });
    expect_found(PlanMode::pack, "pack_cost", [](BatchPlan& p) { p.pack_cost.pop_back(); });
    expect_found(PlanMode::pack, "pack_targets", [](BatchPlan& p) { p.pack_targets.pop_back(); });
    expect_found(PlanMode::pack, "pack_bucket", [](BatchPlan& p) { p.pack_bucket.push_back(0); });
    expect_found(PlanMode::bucket, "pack_pad_tokens", [](BatchPlan& p) { p.pack_pad_tokens.clear(); });
    expect_found(PlanMode::pack, "no tokens", [](BatchPlan& p) { p.segment_tokens[0] = 0; });
    expect_found(PlanMode::pack, "does not exist", [](BatchPlan& p) { p.segment_sample[0] = 150; });
    expect_found(PlanMode::pack, "beyond 2^32", [](BatchPlan& p) { p.segment_offset[0] = 0xFFFFFFFFU; });
    expect_found(PlanMode::pack, "pack_cost", [](BatchPlan& p) { ++p.pack_cost[3]; });
    expect_found(PlanMode::pack, "pack_targets", [](BatchPlan& p) { p.pack_targets[0] = 300; });
    expect_found(PlanMode::pack, "token budget", [](BatchPlan& p) { p.segment_tokens[0] = 257; });
    expect_found(PlanMode::pack, "number of packs", [](BatchPlan& p) { --p.step_begin[2]; });
    expect_found(PlanMode::bucket, "bucket",
                 [](BatchPlan& p) { p.pack_bucket[0] = p.pack_bucket[0] == 0 ? 1 : 0; });
    expect_found(PlanMode::bucket, "pack_bucket", [](BatchPlan& p) { p.pack_bucket[0] = 3; });
    expect_found(PlanMode::bucket, "pack_pad_tokens", [](BatchPlan& p) { ++p.pack_pad_tokens[0]; });
    expect_found(PlanMode::bucket, "token budget when padded: expected 255, found 256",
                 [](BatchPlan& p) { p.options.token_budget = 255; });
}

TEST(ValidatePlanTest, NamesWhatIsWrongWithSettings) {
    expect_found(PlanMode::pack, "token budget", [](BatchPlan& p) { p.options.token_budget = 0; });
    expect_found(PlanMode::pack, "contradict", [](BatchPlan& p) { p.options.bucket_edges = {4}; });
    expect_found(PlanMode::pack, "epoch_begin", [](BatchPlan& p) { p.options.epochs = 3; });
    expect_found(PlanMode::pack, "sources", [](BatchPlan& p) { p.sources.clear(); });
    expect_found(PlanMode::pack, "sample_base", [](BatchPlan& p) { p.sources[0].sample_base = 1; });
    expect_found(PlanMode::pack, "account for",
                 [](BatchPlan& p) { p.sources[0].num_samples = ~std::uint64_t{0}; });
    expect_found(PlanMode::pack, "ascend",
                 [](BatchPlan& p) { std::swap(p.dispositions[0], p.dispositions[1]); });
    expect_found(PlanMode::pack, "unknown kind",
                 [](BatchPlan& p) { p.dispositions[0].kind = static_cast<DispositionKind>(9); });
    expect_found(PlanMode::pack, "tokens lost", [](BatchPlan& p) { p.dispositions[0].tokens_lost = 1; });
    expect_found(PlanMode::pack, "tokens lost", [](BatchPlan& p) {
        p.dispositions[0] = {p.dispositions[0].sample, DispositionKind::truncated, std::uint64_t{1} << 32U};
    });
    expect_found(PlanMode::pack, "num_samples is out of range", [](BatchPlan& p) {
        p.sources.push_back(p.sources[0]);
        p.sources[1].sample_base = p.sources[0].num_samples;
        p.sources[1].num_samples = ~std::uint64_t{0};
    });
    expect_found(PlanMode::pack, "another fate", [](BatchPlan& p) { p.dispositions.pop_back(); });
    expect_found(PlanMode::pack, "another fate",
                 [](BatchPlan& p) { p.dispositions[0].kind = DispositionKind::no_target; });
}

/// First segment of the plan whose sample is planned whole.
std::size_t whole_segment(const BatchPlan& plan, std::size_t from = 0) {
    for (std::size_t i = from; i < plan.num_segments(); ++i) {
        bool listed = false;
        for (const Disposition& row : plan.dispositions)
            listed = listed || row.sample == plan.segment_sample[i];
        if (!listed) return i;
    }
    return plan.num_segments();
}

/// Whole segments of two samples of one length, in the first epoch.
std::pair<std::size_t, std::size_t> whole_twins(const BatchPlan& plan) {
    const std::uint64_t end = plan.pack_begin[plan.step_begin[plan.epoch_begin[1]]];
    for (std::size_t i = whole_segment(plan); i < end; i = whole_segment(plan, i + 1)) {
        for (std::size_t j = whole_segment(plan, i + 1); j < end; j = whole_segment(plan, j + 1)) {
            if (plan.segment_tokens[i] == plan.segment_tokens[j]) return {i, j};
        }
    }
    throw Error(ErrorCode::bug, "no two whole samples of one length");
}

TEST(ValidatePlanTest, NamesTheSampleThatIsNotFedOnce) {
    expect_found(PlanMode::pack, "sample", [](BatchPlan& p) {
        // Two samples of one length become one of them twice.
        const auto [i, j] = whole_twins(p);
        p.segment_sample[j] = p.segment_sample[i];
    });
    expect_found(PlanMode::pack, "first token", [](BatchPlan& p) { p.segment_offset[whole_segment(p)] = 1; });
    expect_found(PlanMode::pack, "not planned", [](BatchPlan& p) { p.segment_sample[whole_segment(p)] = 3; });
    expect_found(PlanMode::pack, "should have a piece", [](BatchPlan& p) {
        for (std::size_t i = 0;; ++i) {
            if (p.segment_offset[i] > 0) return void(++p.segment_offset[i]);
        }
    });
    expect_found(PlanMode::pack, "sample", [](BatchPlan& p) {
        // Two samples of different length swap their lengths: neither is whole any more.
        const std::size_t i = whole_segment(p);
        for (std::size_t j = whole_segment(p, i + 1);; j = whole_segment(p, j + 1)) {
            if (p.segment_tokens[j] == p.segment_tokens[i]) continue;
            std::swap(p.segment_sample[j], p.segment_sample[i]);
            return;
        }
    });
    expect_found(PlanMode::pack, "pack_targets", [](BatchPlan& p) { --p.pack_targets[2]; });
}

TEST(ValidatePlanTest, NamesTheFirstStepThatDiffers) {
    Case made = make_case(PlanMode::pack);
    const std::uint64_t step = 3;
    ++made.plan.pack_cost[made.plan.step_begin[step]];
    expect_error(ErrorCode::corrupt_data, "step 3, pack 12", [&] { validate_plan(made.plan, made.source); });
}

TEST(ValidatePlanTest, NamesTheFingerprintThatDiffers) {
    const auto found = [](const std::string& noun, const std::function<void(BatchPlan&)>& change) {
        Case made = make_case(PlanMode::pack);
        change(made.plan);
        expect_error(ErrorCode::fingerprint_mismatch, noun, [&] { validate_plan(made.plan, made.source); });
    };
    found("steps 0 to", [](BatchPlan& p) { ++p.fingerprints.chunks[0].bytes[0]; });
    found("epoch 1", [](BatchPlan& p) { ++p.fingerprints.epochs[1].bytes[0]; });
    found("order", [](BatchPlan& p) { ++p.fingerprints.order.bytes[0]; });
    found("settings", [](BatchPlan& p) { ++p.options.seed; });
    found("settings", [](BatchPlan& p) { p.algorithms[0] = "segments=other/1"; });
    found("plan", [](BatchPlan& p) { ++p.fingerprints.plan.bytes[0]; });
    found("plan", [](BatchPlan& p) { ++p.from_step; });
    // Two whole samples of one length change places: sound, but another plan.
    found("chunk 0", [](BatchPlan& p) {
        const auto [i, j] = whole_twins(p);
        std::swap(p.segment_sample[i], p.segment_sample[j]);
    });
}

TEST(ValidatePlanTest, RefusesOtherSources) {
    Case made = make_case(PlanMode::pack);
    TestSource other = made.source;
    other.sample_tokens.push_back(4);
    expect_error(ErrorCode::fingerprint_mismatch, "samples", [&] { validate_plan(made.plan, other); });
    other = made.source;
    ++other.sample_tokens[2];
    expect_error(ErrorCode::corrupt_data, "sample 2", [&] { validate_plan(made.plan, other); });
    const std::pair<Fingerprint PlanSource::*, const char*> prints[] = {
        {&PlanSource::lengths, "lengths fingerprint"},
        {&PlanSource::tokenizer, "tokenizer fingerprint"},
        {&PlanSource::corpus, "content fingerprint"},
        {&PlanSource::scores, "scores fingerprint"}};
    for (const auto& [print, noun] : prints) {
        BatchPlan plan = made.plan;
        SourceLengths view = made.source.view();
        (plan.sources[0].*print).bytes[0] = 6;
        (view.source.*print).bytes[0] = 7;
        expect_error(ErrorCode::fingerprint_mismatch, noun,
                     [&] { validate_plan(plan, std::span(&view, 1)); });
    }
    BatchPlan hashed = made.plan;
    hashed.sources[0].tokenizer_hash = "one";
    SourceLengths hashed_otherwise = made.source.view();
    hashed_otherwise.source.tokenizer_hash = "another";
    expect_error(ErrorCode::fingerprint_mismatch, "tokenizer hash",
                 [&] { validate_plan(hashed, std::span(&hashed_otherwise, 1)); });
    const std::vector<SourceLengths> two = {made.source.view(), made.source.view()};
    expect_error(ErrorCode::fingerprint_mismatch, "sources", [&] { validate_plan(made.plan, two); });
}

TEST(ValidatePlanTest, WithoutLengthsEpochsMustStillAgree) {
    Case made = make_case(PlanMode::pack);
    BatchPlan& plan = made.plan;
    // The last epoch loses a token of a whole sample; costs, targets and fingerprints are made to fit.
    std::size_t segment = plan.num_segments() - 1;
    while (plan.segment_offset[segment] != 0 || plan.segment_tokens[segment] < 3) --segment;
    std::size_t pack = 0;
    while (plan.pack_begin[pack + 1] <= segment) ++pack;
    const std::uint64_t tokens = plan.segment_tokens[segment];
    plan.pack_cost[pack] -= plan.options.cost.token_cost + plan.options.cost.square_cost * (2 * tokens - 1);
    --plan.pack_targets[pack];
    --plan.segment_tokens[segment];
    plan.fingerprints = fingerprint_plan(plan);
    expect_error(ErrorCode::corrupt_data, "should be trained up to token " + std::to_string(tokens),
                 [&] { validate_plan(plan, std::span<const SourceLengths>{}); });
}

TEST(ValidatePlanTest, AnyOtherValueInAnyColumnIsFound) {
    for (const auto mode : {PlanMode::pack, PlanMode::bucket}) {
        const Case made = make_case(mode);
        const auto each = [&](auto column, const char* name) {
            for (std::size_t i = 0; i < (made.plan.*column).size(); ++i) {
                BatchPlan changed = made.plan;
                ++(changed.*column)[i];
                EXPECT_THROW(validate_plan(changed, made.source), Error) << name << " " << i;
                changed = made.plan;
                (changed.*column)[i] =
                    static_cast<std::decay_t<decltype((changed.*column)[i])>>(~std::uint64_t{0});
                EXPECT_THROW(validate_plan(changed, made.source), Error) << name << " " << i;
            }
        };
        each(&BatchPlan::segment_sample, "segment_sample");
        each(&BatchPlan::segment_offset, "segment_offset");
        each(&BatchPlan::segment_tokens, "segment_tokens");
        each(&BatchPlan::pack_begin, "pack_begin");
        each(&BatchPlan::pack_targets, "pack_targets");
        each(&BatchPlan::pack_cost, "pack_cost");
        each(&BatchPlan::pack_bucket, "pack_bucket");
        each(&BatchPlan::pack_pad_tokens, "pack_pad_tokens");
        each(&BatchPlan::step_begin, "step_begin");
        each(&BatchPlan::epoch_begin, "epoch_begin");
    }
}

TEST(RebuildTest, ASoundPlanThatItsOptionsDoNotGiveIsFound) {
    for (const PlanMode mode : {PlanMode::pack, PlanMode::bucket}) {
        Case made = make_case(mode);
        const SourceLengths view = made.source.view();
        const std::span<const SourceLengths> sources(&view, 1);
        EXPECT_EQ(check_rebuilt_plan(view_of(made.plan), sources), "");
        const auto [i, j] = whole_twins(made.plan);
        std::swap(made.plan.segment_sample[i], made.plan.segment_sample[j]);
        made.plan.fingerprints = fingerprint_plan(made.plan);
        validate_plan(made.plan, sources);
        expect_error(ErrorCode::fingerprint_mismatch, "segment_sample",
                     [&] { check_rebuilt_plan(view_of(made.plan), sources); });
        made.plan.algorithms[0] = "segments=other/9";
        EXPECT_EQ(check_rebuilt_plan(view_of(made.plan), sources),
                  "it was made by another version's algorithms");
    }
}

TEST(RebuildTest, WhatDiffersInALaterChunkIsNamed) {
    TestSource source;
    source.sample_tokens.assign(1500, 3);
    PlanOptions options;
    options.token_budget = 4;
    options.packs_per_step = 1;
    options.epochs = 2;
    BatchPlan plan = build_plan(options, source);
    const SourceLengths view = source.view();
    EXPECT_EQ(check_rebuilt_plan(view_of(plan), std::span(&view, 1)), "");
    // Steps 2524 to 2999 are the last chunk.
    std::swap(plan.segment_sample[2600], plan.segment_sample[2700]);
    plan.fingerprints = fingerprint_plan(plan);
    expect_error(ErrorCode::fingerprint_mismatch, "epoch 1, step 2600, pack 2600, segment 0: segment_sample",
                 [&] { check_rebuilt_plan(view_of(plan), std::span(&view, 1)); });
}

TEST(RebuildTest, AnOrderByScoreIsBuiltAgainOnlyFromScores) {
    Case made = make_case(PlanMode::pack);
    for (std::size_t i = 0; i < made.source.sample_tokens.size(); ++i)
        made.source.sample_score.push_back(static_cast<double>(i * 37 % 101));
    PlanOptions options = made.plan.options;
    options.order = PackOrder::score_stages;
    options.stages = 2;
    made.plan = build_plan(options, made.source);
    const auto rebuilt = [&] {
        const SourceLengths view = made.source.view();
        return check_rebuilt_plan(view_of(made.plan), std::span(&view, 1));
    };
    EXPECT_EQ(rebuilt(), "");
    std::ranges::reverse(made.source.sample_score);
    expect_error(ErrorCode::fingerprint_mismatch, "not what its options give", rebuilt);
    made.source.sample_score.clear();
    EXPECT_EQ(rebuilt(), "its order is by score, and a source has none");
}

}  // namespace
}  // namespace lockstep
