// Lazarus mode through build_plan: the reference's plans, what is counted, and what
// validation still refuses.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "plan/lazarus/identity.h"
#include "plan/lazarus/plan.h"
#include "plan/plan_columns.h"
#include "plan/plan_structure.h"
#include "tests/plan/plan_support.h"

namespace lockstep {

namespace {

using nlohmann::json;

json golden(const std::string& name) {
    std::ifstream file(std::string(LOCKSTEP_TEST_DATA "/lazarus/") + name);
    return json::parse(file).at("cases");
}

PlanOptions lazarus_options() {
    PlanOptions options;
    options.mode = PlanMode::bucket;
    options.compat = PlanCompat::lazarus;
    options.packs_per_step = 1;
    return options;
}

PlanOptions options_of(const json& config, std::uint64_t epochs) {
    PlanOptions options = lazarus_options();
    options.epochs = epochs;
    options.token_budget = config.at("token_budget");
    options.bucket_edges = config.at("bucket_edges").get<std::vector<std::uint32_t>>();
    options.bucket_overflow_max = config.at("overflow_max");
    options.seed = config.at("seed");
    options.drop_last = config.at("drop_last");
    options.order =
        config.at("interleave_buckets") ? PackOrder::buckets_interleaved : PackOrder::short_to_long;
    return options;
}

TEST(LazarusPlanTest, HasLazarusMicrobatchesAndFingerprints) {
    const json cases = golden("batch-plans.json");
    ASSERT_EQ(cases.size(), 10U);
    for (const json& c : cases) {
        SCOPED_TRACE(c.at("name").get<std::string>());
        TestSource source;
        std::vector<std::string> ids;
        for (const json& sample : c.at("lengths")) {
            ids.push_back(sample[0]);
            source.sample_tokens.push_back(sample[1]);
        }
        const PlanOptions options = options_of(c.at("config"), c.at("num_epochs"));
        const BatchPlan plan = build_plan(options, source);
        validate_plan(plan, source);
        validate_plan(plan, std::span<const SourceLengths>{});
        const SampleKey key = [&](std::uint64_t sample) { return ids[sample]; };

        ASSERT_EQ(plan.num_epochs(), c.at("epochs").size());
        ASSERT_EQ(plan.num_steps(), plan.num_packs());
        for (std::uint64_t e = 0; e < plan.num_epochs(); ++e) {
            const json& epoch = c.at("epochs")[e];
            ASSERT_EQ(plan.epoch_begin[e + 1] - plan.epoch_begin[e], epoch.at("microbatches").size());
            std::uint64_t tokens = 0;
            std::uint64_t samples = 0;
            for (std::uint64_t pack = plan.epoch_begin[e]; pack < plan.epoch_begin[e + 1]; ++pack) {
                const json& microbatch = epoch.at("microbatches")[pack - plan.epoch_begin[e]];
                std::vector<std::string> found;
                for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s)
                    found.push_back(key(plan.segment_sample[s]));
                EXPECT_EQ(found, microbatch.at("samples").get<std::vector<std::string>>());
                EXPECT_EQ(plan.pack_bucket[pack], microbatch.at("bucket_id").get<std::uint16_t>());
                EXPECT_EQ(plan.pack_tokens(pack) + plan.pack_pad_tokens[pack],
                          found.size() * microbatch.at("max_len").get<std::uint64_t>());
                tokens += plan.pack_tokens(pack);
                samples += found.size();
            }
            EXPECT_EQ(tokens, epoch.at("total_tokens").get<std::uint64_t>());
            EXPECT_EQ(samples, epoch.at("total_samples").get<std::uint64_t>());
        }

        const std::string dataset = c.at("dataset_hash");
        const std::string tokenizer = c.at("tokenizer_hash");
        EXPECT_EQ(lazarus_fingerprint_of(plan, key, dataset, tokenizer),
                  c.at("plan_fingerprint").get<std::string>());
        for (const auto& [world_size, shards] : c.at("shards").items()) {
            for (const json& shard : shards) {
                EXPECT_EQ(lazarus_fingerprint_of(plan, key, dataset, tokenizer, shard.at("rank"),
                                                 std::stoull(world_size)),
                          shard.at("fingerprint").get<std::string>());
            }
        }

        const json& sequence = c.at("batch_fingerprint_epoch0");
        const LazarusBatchFingerprint found = lazarus_batch_fingerprint_of(plan, 0, key, plan.num_packs());
        EXPECT_EQ(found.full_hash, sequence.at("full_hash").get<std::string>());
        EXPECT_EQ(found.fingerprint, sequence.at("fingerprint").get<std::string>());
        EXPECT_EQ(found.num_batches, sequence.at("num_batches").get<std::uint64_t>());
        EXPECT_EQ(found.total_samples, sequence.at("total_samples").get<std::uint64_t>());
        EXPECT_EQ(found.total_tokens, sequence.at("total_tokens").get<std::uint64_t>());
        EXPECT_EQ(lazarus_config_hash(lazarus_sampling_of(plan.options),
                                      c.at("config").at("mode").get<std::string>(),
                                      c.at("config").at("pad_policy").get<std::string>()),
                  sequence.at("config_hash").get<std::string>());
        EXPECT_EQ(lazarus_batch_fingerprint_of(plan, 0, key, 2).full_hash,
                  c.at("batch_fingerprint_epoch0_first2_noconfig").at("full_hash").get<std::string>());
    }
}

/// A plan of these microbatches; every id is a sample of ten tokens, numbered as it comes.
BatchPlan plan_of_microbatches(const json& microbatches, std::vector<std::string>& ids) {
    TestSource source;
    LazarusEpoch epoch;
    for (const json& microbatch : microbatches) {
        for (const json& id : microbatch) {
            epoch.samples.push_back(static_cast<std::uint32_t>(ids.size()));
            ids.push_back(id);
            source.sample_tokens.push_back(10);
        }
        epoch.batch_begin.push_back(epoch.samples.size());
        epoch.batch_bucket.push_back(0);
    }
    const PlanOptions options = effective_options(lazarus_options());
    const SourceLengths view = source.view();
    return assemble_lazarus_plan(options, {"import=lazarus/1"}, std::span(&view, 1),
                                 decide_fates(options, std::span(&view, 1)),
                                 [&](std::uint64_t) { return epoch; });
}

TEST(LazarusPlanTest, PlansThatShareALazarusFingerprintDifferInOurs) {
    const json cases = golden("fingerprint-collisions.json");
    ASSERT_EQ(cases.size(), 3U);
    for (const json& c : cases) {
        std::vector<std::string> ids_a;
        std::vector<std::string> ids_b;
        const BatchPlan a = plan_of_microbatches(c.at("plan_a"), ids_a);
        const BatchPlan b = plan_of_microbatches(c.at("plan_b"), ids_b);
        const std::string theirs_a = lazarus_fingerprint_of(
            a, [&](std::uint64_t sample) { return ids_a[sample]; }, "dataset_v1", "tok_v1");
        const std::string theirs_b = lazarus_fingerprint_of(
            b, [&](std::uint64_t sample) { return ids_b[sample]; }, "dataset_v1", "tok_v1");
        EXPECT_EQ(theirs_a, c.at("fp_a").get<std::string>());
        EXPECT_EQ(theirs_b, c.at("fp_b").get<std::string>());
        EXPECT_EQ(theirs_a, theirs_b);
        EXPECT_NE(fingerprint_plan(a).plan, fingerprint_plan(b).plan);
        EXPECT_NE(fingerprint_plan(a).order, fingerprint_plan(b).order);
    }
}

TEST(LazarusPlanTest, CountsPacksOverBudgetAndSamplesLeftOut) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(5, 1000, 2048);
    source.sample_tokens.push_back(0);
    source.sample_tokens.push_back(2049);
    PlanOptions options = lazarus_options();
    options.token_budget = 1500;
    options.epochs = 3;
    options.drop_last = true;
    options.packs_per_step = 4;
    const BatchPlan plan = build_plan(options, source);
    validate_plan(plan, source);
    validate_plan(plan, std::span<const SourceLengths>{});
    const PlanStats stats = plan_stats(plan);

    std::uint64_t over_budget = 0;
    std::vector<std::uint64_t> of_bucket(5, 0);
    const std::vector<std::uint64_t> capacity{11, 5, 2, 1, 1};
    for (const std::uint32_t tokens : source.sample_tokens) {
        if (tokens == 0 || tokens > 2048) continue;
        if (tokens > 1024) over_budget += 3;
        ++of_bucket[static_cast<std::size_t>((tokens > 128) + (tokens > 256) + (tokens > 512) +
                                             (tokens > 1024))];
    }
    std::uint64_t left_out = 0;
    for (std::size_t b = 0; b < 5; ++b) left_out += 3 * (of_bucket[b] % capacity[b]);
    ASSERT_GT(over_budget, 0U);
    ASSERT_GT(left_out, 0U);
    EXPECT_EQ(stats.over_budget_packs, over_budget);
    EXPECT_EQ(stats.left_out_by_drop_last, left_out);
    EXPECT_EQ(stats.dispositions_by_kind[static_cast<std::size_t>(DispositionKind::dropped)], 1U);
    EXPECT_EQ(stats.dispositions_by_kind[static_cast<std::size_t>(DispositionKind::empty)], 1U);
    EXPECT_LE(stats.packs_lower_bound, stats.packs_first_epoch);

    // Kept whole through its columns.
    EXPECT_EQ(from_columns(to_columns(plan)), plan);
}

TEST(LazarusPlanTest, OurOwnPlansCountNeither) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(5, 200, 1000);
    const PlanStats stats = plan_stats(build_plan(PlanOptions{}, source));
    EXPECT_EQ(stats.over_budget_packs, 0U);
    EXPECT_EQ(stats.left_out_by_drop_last, 0U);
}

TEST(LazarusPlanTest, PropertiesHoldOverRandomInputs) {
    Dice dice(23);
    for (int round = 0; round < 400; ++round) {
        TestSource source;
        source.sample_tokens = long_tailed_lengths(dice.roll(0, 1U << 30U), dice.roll(1, 120), 700);
        PlanOptions options = lazarus_options();
        options.bucket_edges = {static_cast<std::uint32_t>(dice.roll(1, 50)),
                                static_cast<std::uint32_t>(dice.roll(51, 300))};
        options.bucket_overflow_max = static_cast<std::uint32_t>(dice.roll(301, 800));
        options.token_budget = static_cast<std::uint32_t>(dice.roll(1, 1500));
        options.epochs = dice.roll(1, 3);
        options.seed = dice.roll(0, 1U << 20U);
        options.drop_last = dice.coin();
        options.packs_per_step = static_cast<std::uint32_t>(dice.roll(1, 5));
        options.order = dice.coin() ? PackOrder::shuffle : PackOrder::short_to_long;
        BatchPlan plan;
        try {
            plan = build_plan(options, source);
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
            continue;  // All dropped, or no bucket fills a batch.
        }
        validate_plan(plan, source);
        validate_plan(plan, std::span<const SourceLengths>{});
    }
}

TEST(LazarusPlanTest, AnEpochOfASeedIsTheOneBeforeOfTheNext) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(9, 300, 2048);
    PlanOptions options = lazarus_options();
    options.epochs = 2;
    const BatchPlan two = build_plan(options, source);
    options.epochs = 1;
    options.seed = 43;
    const BatchPlan next = build_plan(options, source);
    const std::uint64_t begin = two.pack_begin[two.epoch_begin[1]];
    EXPECT_TRUE(std::equal(next.segment_sample.begin(), next.segment_sample.end(),
                           two.segment_sample.begin() + static_cast<std::ptrdiff_t>(begin)));
}

TEST(LazarusPlanTest, PredictableIsItsPreset) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(9, 300, 2048);
    PlanOptions options = lazarus_options();
    options.predictable = true;
    options.seed = 7;
    const BatchPlan plan = build_plan(options, source);
    EXPECT_EQ(plan.options.order, PackOrder::short_to_long);
    EXPECT_TRUE(plan.options.drop_last);
    EXPECT_EQ(plan.options.seed, 7U);
    EXPECT_TRUE(std::is_sorted(plan.pack_bucket.begin(), plan.pack_bucket.end()));
    validate_plan(plan, source);
}

TEST(LazarusOptionsTest, RefusesWhatLazarusDoesNotKnow) {
    const auto refused = [](const std::string& noun, auto change) {
        PlanOptions options = lazarus_options();
        change(options);
        expect_error(ErrorCode::invalid_argument, noun, [&] { check_options(options); });
    };
    refused("--mode bucket", [](PlanOptions& o) { o.mode = PlanMode::pack; });
    refused("--order", [](PlanOptions& o) { o.order = PackOrder::in_order; });
    refused("--long", [](PlanOptions& o) { o.long_policy = LongPolicy::split; });
    refused("cap of 3", [](PlanOptions& o) { o.segments_per_pack_max = 3; });
    refused("--compat lazarus", [](PlanOptions& o) {
        o.compat = PlanCompat::none;
        o.drop_last = true;
    });
    // The budget may be small, but a pack over it still has a cost.
    refused("cost model", [](PlanOptions& o) {
        o.token_budget = 1;
        o.bucket_overflow_max = 0x7FFFFFFF;
        o.cost = {4096, 4};
    });
    check_options(lazarus_options());
    const PlanOptions effective = effective_options(lazarus_options());
    EXPECT_EQ(effective_options(effective), effective);
}

TEST(LazarusOptionsTest, RefusesMixturesAndEpochsWithoutABatch) {
    TestSource source;
    source.sample_tokens = {10, 20, 30};
    SourceLengths view = source.view();
    view.source.weight = 1;
    expect_error(ErrorCode::invalid_argument, "mixtures",
                 [&] { build_plan(lazarus_options(), std::span(&view, 1)); });
    PlanOptions options = lazarus_options();
    options.drop_last = true;
    expect_error(ErrorCode::invalid_argument, "leaves out all 3", [&] { build_plan(options, source); });
}

class LazarusValidationTest : public testing::Test {
  protected:
    LazarusValidationTest() {
        source_.sample_tokens = long_tailed_lengths(3, 400, 2048);
        PlanOptions options = lazarus_options();
        options.epochs = 2;
        options.drop_last = true;
        plan_ = build_plan(options, source_);
    }

    /// Takes the last segment out of a pack.
    void shorten(std::uint64_t pack) {
        const std::uint64_t segment = plan_.pack_begin[pack + 1] - 1;
        const auto at = static_cast<std::ptrdiff_t>(segment);
        const std::uint32_t tokens = plan_.segment_tokens[segment];
        const std::uint64_t pad_to = 128ULL << plan_.pack_bucket[pack];
        plan_.segment_sample.erase(plan_.segment_sample.begin() + at);
        plan_.segment_offset.erase(plan_.segment_offset.begin() + at);
        plan_.segment_tokens.erase(plan_.segment_tokens.begin() + at);
        for (std::uint64_t p = pack + 1; p < plan_.pack_begin.size(); ++p) --plan_.pack_begin[p];
        plan_.pack_cost[pack] -= 4096ULL * tokens + std::uint64_t{tokens} * tokens;
        plan_.pack_targets[pack] -= tokens - 1;
        plan_.pack_pad_tokens[pack] -= static_cast<std::uint32_t>(pad_to - tokens);
        plan_.fingerprints = fingerprint_plan(plan_);
    }

    std::uint64_t pack_of_bucket(std::uint16_t bucket) const {
        return static_cast<std::uint64_t>(
            std::find(plan_.pack_bucket.begin(), plan_.pack_bucket.end(), bucket) -
            plan_.pack_bucket.begin());
    }

    TestSource source_;
    BatchPlan plan_;
};

TEST_F(LazarusValidationTest, RefusesAPackThatIsNotFull) {
    shorten(pack_of_bucket(0));
    check_structure(plan_);
    expect_error(ErrorCode::corrupt_data, "bucket 0",
                 [&] { validate_plan(plan_, std::span<const SourceLengths>{}); });
}

TEST_F(LazarusValidationTest, RefusesASampleThatComesTwice) {
    const std::uint64_t first = plan_.pack_begin[pack_of_bucket(0)];
    plan_.segment_sample[first] = plan_.segment_sample[first + 1];
    plan_.segment_tokens[first] = plan_.segment_tokens[first + 1];
    EXPECT_THROW(validate_plan(plan_, source_), Error);
}

TEST_F(LazarusValidationTest, RefusesOtherLengthsThanItsOwn) {
    // A sample more fills no batch, or one that is not there; either way its fate is counted.
    TestSource other = source_;
    for (int i = 0; i < 32; ++i) other.sample_tokens.push_back(10);
    BatchPlan plan = plan_;
    plan.sources[0].num_samples += 32;
    plan.fingerprints = fingerprint_plan(plan);
    expect_error(ErrorCode::corrupt_data, "bucket 0: expected", [&] { validate_plan(plan, other); });
}

TEST_F(LazarusValidationTest, RefusesAPackOverBudgetInOurOwnPlans) {
    PlanOptions options = lazarus_options();
    options.token_budget = 200;
    BatchPlan plan = build_plan(options, source_);
    check_structure(plan);
    plan.options.compat = PlanCompat::none;
    expect_error(ErrorCode::corrupt_data, "more than the token budget", [&] { check_structure(plan); });
}

}  // namespace

}  // namespace lockstep
