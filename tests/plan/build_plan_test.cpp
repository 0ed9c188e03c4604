#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <map>
#include <set>
#include <utility>

#include "plan/batch_plan.h"
#include "plan/dispositions.h"
#include "plan/plan_builder.h"
#include "tests/plan/plan_support.h"
#include "tests/support/sanitizers.h"

namespace lockstep {
namespace {

PlanOptions random_options(Dice& dice) {
    PlanOptions options;
    options.mode = dice.roll(0, 2) == 0 ? PlanMode::bucket : PlanMode::pack;
    options.token_budget = static_cast<std::uint32_t>(dice.roll(64, 300));
    options.packs_per_step = static_cast<std::uint32_t>(dice.roll(1, 6));
    options.epochs = dice.roll(1, 3);
    options.seed = dice.roll(0, 1000);
    options.packing = static_cast<PackingPolicy>(dice.roll(0, 7));
    options.segments_per_pack_max = static_cast<std::uint32_t>(dice.coin() ? 0 : dice.roll(1, 5));
    options.order = dice.roll(0, 3) == 0 ? PackOrder::in_order : PackOrder::shuffle;
    options.balance = dice.coin();
    options.predictable = dice.roll(0, 5) == 0;
    options.cost = {dice.roll(0, 5000), dice.roll(1, 3)};
    constexpr LongPolicy policies[] = {LongPolicy::split, LongPolicy::truncate, LongPolicy::drop};
    options.long_policy = policies[dice.roll(0, 2)];
    options.bucket_edges = {8, 32};
    options.bucket_overflow_max = static_cast<std::uint32_t>(dice.roll(33, 64));
    return options;
}

TestSource random_source(Dice& dice) {
    TestSource source;
    source.sample_tokens.resize(dice.roll(1, 80));
    for (std::uint32_t& tokens : source.sample_tokens) {
        tokens = static_cast<std::uint32_t>(dice.roll(0, 9) == 0 ? dice.roll(0, 1)
                                                                 : dice.roll(1, dice.coin() ? 60 : 700));
    }
    source.sample_tokens.push_back(5);  // At least one is always planned.
    if (dice.coin()) add_random_spans(source, dice);
    source.lengths_only = dice.roll(0, 4) == 0;
    return source;
}

bool is_loss_token(const TestSource& source, std::uint64_t sample, std::uint64_t token) {
    if (source.loss_span_begin.empty()) return true;
    for (std::uint64_t i = source.loss_span_begin[sample]; i < source.loss_span_begin[sample + 1]; ++i) {
        if (token >= source.loss_spans[2 * i] && token < source.loss_spans[2 * i + 1]) return true;
    }
    return false;
}

/// Walks one epoch token by token, and trusts nothing but lengths, spans and dispositions.
void expect_every_token_once(const BatchPlan& plan, const TestSource& source, std::uint64_t epoch) {
    std::map<std::uint64_t, Disposition> fate;
    for (const Disposition& row : plan.dispositions) fate[row.sample] = row;
    std::vector<std::vector<int>> fed(source.sample_tokens.size());
    std::vector<std::vector<int>> predicted(source.sample_tokens.size());
    for (std::size_t s = 0; s < fed.size(); ++s) {
        fed[s].assign(source.sample_tokens[s], 0);
        predicted[s].assign(source.sample_tokens[s], 0);
    }
    for (std::uint64_t step = plan.epoch_begin[epoch]; step < plan.epoch_begin[epoch + 1]; ++step) {
        for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
            std::uint64_t targets = 0;
            std::uint64_t tokens = 0;
            std::uint64_t squares = 0;
            for (std::uint64_t i = plan.pack_begin[pack]; i < plan.pack_begin[pack + 1]; ++i) {
                const std::uint64_t sample = plan.segment_sample[i];
                const std::uint64_t offset = plan.segment_offset[i];
                for (std::uint64_t t = 0; t < plan.segment_tokens[i]; ++t) {
                    if (t > 0 || offset == 0) ++fed[sample].at(offset + t);
                    if (t > 0 && is_loss_token(source, sample, offset + t)) {
                        ++predicted[sample][offset + t];
                        ++targets;
                    }
                }
                tokens += plan.segment_tokens[i];
                squares += std::uint64_t{plan.segment_tokens[i]} * plan.segment_tokens[i];
            }
            ASSERT_LE(tokens, plan.options.token_budget);
            ASSERT_EQ(plan.pack_cost[pack],
                      plan.options.cost.token_cost * tokens + plan.options.cost.square_cost * squares);
            ASSERT_TRUE(source.lengths_only || plan.pack_targets[pack] == targets);
        }
    }
    for (std::uint64_t s = 0; s < fed.size(); ++s) {
        const std::uint64_t lost = fate.contains(s) ? fate[s].tokens_lost : 0;
        const std::uint64_t kept = source.sample_tokens[s] - lost;
        for (std::uint64_t t = 0; t < fed[s].size(); ++t) {
            ASSERT_EQ(fed[s][t], t < kept ? 1 : 0) << "sample " << s << " token " << t;
            ASSERT_EQ(predicted[s][t], t > 0 && t < kept && is_loss_token(source, s, t) ? 1 : 0);
        }
    }
}

TEST(BuildPlanTest, EveryTokenIsFedOnceAnEpochAndEveryTargetPredictedOnce) {
    Dice dice(11);
    for (int i = 0; i < 1500; ++i) {
        SCOPED_TRACE("case " + std::to_string(i));
        const PlanOptions options = random_options(dice);
        const TestSource source = random_source(dice);
        const BatchPlan plan = build_plan(options, source);
        ASSERT_EQ(plan.num_epochs(), options.epochs);
        EXPECT_EQ(plan.pack_targets.empty(), source.lengths_only);
        for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
            expect_every_token_once(plan, source, epoch);
            if (HasFatalFailure()) return;
        }
        ASSERT_NO_THROW(validate_plan(plan, source));
        ASSERT_NO_THROW(validate_plan(plan, std::span<const SourceLengths>{}));
    }
}

TEST(BuildPlanTest, EqualInputsGiveEqualPlans) {
    Dice dice(12);
    for (int i = 0; i < 50; ++i) {
        const PlanOptions options = random_options(dice);
        const TestSource source = random_source(dice);
        EXPECT_EQ(build_plan(options, source), build_plan(options, source));
    }
}

TEST(BuildPlanTest, StepsNeverCrossAnEpochAndOnlyTheLastIsShort) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(1, 777, 256);
    PlanOptions options;
    options.token_budget = 256;
    options.packs_per_step = 5;
    options.epochs = 3;
    const BatchPlan plan = build_plan(options, source);
    const std::uint64_t packs = plan.step_begin[plan.epoch_begin[1]];
    for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
        EXPECT_EQ(plan.epoch_begin[epoch + 1] - plan.epoch_begin[epoch], (packs + 4) / 5);
        EXPECT_EQ(plan.step_begin[plan.epoch_begin[epoch + 1]], packs * (epoch + 1));
        EXPECT_EQ(plan.epoch_of(plan.epoch_begin[epoch]), epoch);
        EXPECT_EQ(plan.epoch_of(plan.epoch_begin[epoch + 1] - 1), epoch);
    }
    EXPECT_EQ(plan.epoch_of(plan.num_steps()), plan.num_epochs());
}

std::vector<std::uint64_t> samples_of_epoch(const BatchPlan& plan, std::uint64_t epoch) {
    const auto begin = plan.pack_begin[plan.step_begin[plan.epoch_begin[epoch]]];
    const auto end = plan.pack_begin[plan.step_begin[plan.epoch_begin[epoch + 1]]];
    return {plan.segment_sample.begin() + static_cast<std::ptrdiff_t>(begin),
            plan.segment_sample.begin() + static_cast<std::ptrdiff_t>(end)};
}

TEST(BuildPlanTest, NeighbouringSeedsShareNoEpoch) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(2, 300, 256);
    for (const auto mode : {PlanMode::pack, PlanMode::bucket}) {
        std::set<std::vector<std::uint64_t>> orders;
        for (std::uint64_t seed = 40; seed < 46; ++seed) {
            PlanOptions options;
            options.mode = mode;
            options.token_budget = 4096;
            options.seed = seed;
            options.epochs = 4;
            const BatchPlan plan = build_plan(options, source);
            for (std::uint64_t epoch = 0; epoch < 4; ++epoch) orders.insert(samples_of_epoch(plan, epoch));
        }
        EXPECT_EQ(orders.size(), 24U);
    }
}

TEST(BuildPlanTest, PackShapesAreTheSameInEveryEpochAndTheirMembersAreNot) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(3, 2000, 128);
    PlanOptions options;
    options.token_budget = 512;
    options.epochs = 2;
    const BatchPlan plan = build_plan(options, source);
    std::multiset<std::multiset<std::uint32_t>> shapes[2];
    std::set<std::set<std::uint64_t>> members[2];
    for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
        const auto last = plan.step_begin[plan.epoch_begin[epoch + 1]];
        for (auto pack = plan.step_begin[plan.epoch_begin[epoch]]; pack < last; ++pack) {
            const auto begin = static_cast<std::ptrdiff_t>(plan.pack_begin[pack]);
            const auto end = static_cast<std::ptrdiff_t>(plan.pack_begin[pack + 1]);
            shapes[epoch].emplace(plan.segment_tokens.begin() + begin, plan.segment_tokens.begin() + end);
            members[epoch].emplace(plan.segment_sample.begin() + begin, plan.segment_sample.begin() + end);
        }
    }
    EXPECT_EQ(shapes[0], shapes[1]);
    std::vector<std::set<std::uint64_t>> common;
    std::set_intersection(members[0].begin(), members[0].end(), members[1].begin(), members[1].end(),
                          std::back_inserter(common));
    EXPECT_LT(common.size(), members[0].size() / 10);
}

TEST(BuildPlanTest, ShuffledPlansHideNoLengthCurriculum) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(4, 50000, 1024);
    PlanOptions options;
    options.token_budget = 1024;
    const BatchPlan plan = build_plan(options, source);
    // Mean cost of a pack, by fifths of the epoch; and longer segments stand neither first nor last in a
    // pack.
    const auto mean_cost = [&](std::uint64_t begin, std::uint64_t end) {
        double sum = 0;
        for (std::uint64_t pack = begin; pack < end; ++pack) sum += static_cast<double>(plan.pack_cost[pack]);
        return sum / static_cast<double>(end - begin);
    };
    const double mean = mean_cost(0, plan.num_packs());
    for (std::uint64_t part = 0; part < 5; ++part) {
        EXPECT_NEAR(mean_cost(plan.num_packs() * part / 5, plan.num_packs() * (part + 1) / 5), mean,
                    mean * 0.01);
    }
    std::uint64_t longer_first = 0;
    std::uint64_t longer_last = 0;
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
        const std::uint32_t first = plan.segment_tokens[plan.pack_begin[pack]];
        const std::uint32_t last = plan.segment_tokens[plan.pack_begin[pack + 1] - 1];
        longer_first += first > last ? 1 : 0;
        longer_last += last > first ? 1 : 0;
    }
    EXPECT_NEAR(static_cast<double>(longer_first), static_cast<double>(longer_last),
                0.1 * static_cast<double>(plan.num_packs()));
}

TEST(BuildPlanTest, PredictablePlansFollowTheCorpusWhateverTheSeed) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(5, 500, 256);
    PlanOptions options;
    options.token_budget = 256;
    options.predictable = true;
    options.epochs = 2;
    const BatchPlan plan = build_plan(options, source);
    const auto first = samples_of_epoch(plan, 0);
    EXPECT_TRUE(std::is_sorted(first.begin(), first.end()));
    EXPECT_EQ(samples_of_epoch(plan, 1), first);
    options.seed = 9;
    EXPECT_EQ(build_plan(options, source), plan);
}

TEST(BuildPlanTest, SeveralSourcesAreOneRowEach) {
    TestSource first;
    first.sample_tokens = {5, 6, 0};
    TestSource second;
    second.name = "second";
    second.sample_tokens = {7, 300};
    const std::vector<SourceLengths> sources = {first.view(), second.view()};
    PlanOptions options;
    options.token_budget = 100;
    const BatchPlan plan = build_plan(options, sources);
    ASSERT_EQ(plan.sources.size(), 2U);
    EXPECT_EQ(plan.sources[1].sample_base, 3U);
    EXPECT_EQ(plan.sources[1].num_samples, 2U);
    EXPECT_EQ(plan.dispositions,
              (std::vector<Disposition>{{2, DispositionKind::empty, 0}, {4, DispositionKind::split, 0}}));
    validate_plan(plan, sources);
}

TEST(BuildPlanTest, OneLengthsOnlySourceLeavesTargetsUncounted) {
    TestSource first;
    first.sample_tokens = {5};
    TestSource second = first;
    second.lengths_only = true;
    const std::vector<SourceLengths> sources = {first.view(), second.view()};
    const BatchPlan plan = build_plan(PlanOptions{}, sources);
    EXPECT_TRUE(plan.pack_targets.empty());
    validate_plan(plan, sources);
}

TEST(BuildPlanTest, NothingToPlanIsAnError) {
    TestSource source;
    expect_error(ErrorCode::invalid_argument, "nothing to plan", [&] { build_plan(PlanOptions{}, source); });
    source.sample_tokens = {0, 0};
    expect_error(ErrorCode::invalid_argument, "nothing to plan", [&] { build_plan(PlanOptions{}, source); });
    expect_error(ErrorCode::invalid_argument, "nothing to plan",
                 [&] { build_plan(PlanOptions{}, std::span<const SourceLengths>{}); });
}

TEST(BuildPlanTest, ALongSampleIsNamedUnderThePolicyError) {
    TestSource source;
    source.sample_tokens = {10, 5000};
    PlanOptions options;
    options.long_policy = LongPolicy::error;
    expect_error(ErrorCode::invalid_argument, "sample 1 of 'test' has 5000 tokens",
                 [&] { build_plan(options, source); });
}

TEST(BuildPlanTest, SamplesWithoutTargetsAreStillFed) {
    TestSource source;
    source.sample_tokens = {1, 1, 1};
    const BatchPlan plan = build_plan(PlanOptions{}, source);
    EXPECT_EQ(plan.num_segments(), 3U);
    EXPECT_EQ(plan.pack_targets, (std::vector<std::uint32_t>{0}));
    for (const Disposition& row : plan.dispositions) EXPECT_EQ(row.kind, DispositionKind::no_target);
    validate_plan(plan, source);
}

/// As many lengths as wanted in the memory of a few: the same pages mapped again and again.
class RepeatedLengths {
  public:
    RepeatedLengths(std::uint64_t count, std::uint32_t tokens) : count_(count) {
        const int memory = memfd_create("lengths", 0);
        const std::vector<std::uint32_t> block(block_bytes / sizeof(tokens), tokens);
        EXPECT_EQ(write(memory, block.data(), block_bytes), static_cast<ssize_t>(block_bytes));
        bytes_ = (count * sizeof(tokens) + block_bytes - 1) / block_bytes * block_bytes;
        base_ = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        EXPECT_NE(base_, MAP_FAILED);
        for (std::size_t at = 0; at < bytes_; at += block_bytes) {
            EXPECT_NE(mmap(static_cast<std::byte*>(base_) + at, block_bytes, PROT_READ,
                           MAP_SHARED | MAP_FIXED | MAP_POPULATE, memory, 0),
                      MAP_FAILED);
        }
        close(memory);
    }
    ~RepeatedLengths() { munmap(base_, bytes_); }
    RepeatedLengths(const RepeatedLengths&) = delete;
    RepeatedLengths& operator=(const RepeatedLengths&) = delete;
    std::span<const std::uint32_t> view() const { return {static_cast<const std::uint32_t*>(base_), count_}; }

  private:
    static constexpr std::size_t block_bytes = std::size_t{64} << 20U;
    std::uint64_t count_;
    std::size_t bytes_ = 0;
    void* base_ = nullptr;
};

#ifndef LOCKSTEP_THREAD_SANITIZER  // Which keeps 64 GB for the 16 that are looked at.
// Looks at 2^32 lengths, so it takes a few seconds; the plan itself would need 30 GB.
TEST(BuildPlanTest, ManyBillionSamplesHaveFates) {
    const RepeatedLengths lengths((std::uint64_t{1} << 32U) + 5, 5);
    SourceLengths source;
    source.sample_tokens = lengths.view();
    const Fates fates = decide_fates(effective_options(PlanOptions()), std::span(&source, 1));
    EXPECT_EQ(fates.segments.size(), (std::uint64_t{1} << 32U) + 5);
    EXPECT_FALSE(is_narrow(fates.segments.size()));
    PlanOptions lazarus;
    lazarus.compat = PlanCompat::lazarus;
    lazarus.mode = PlanMode::bucket;
    expect_error(ErrorCode::invalid_argument, "fewer than 2^32",
                 [&] { build_plan(lazarus, std::span(&source, 1)); });
}
#endif

// Drawn one after another, filled by threads in any order.
TEST(BuildPlanTest, ChunksAreFilledApartFromBeingDrawn) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(4, 9000, 512);
    const SourceLengths lengths = source.view();
    PlanOptions options;
    options.token_budget = 512;
    options.epochs = 2;
    options.packs_per_step = 1;
    const BatchPlan plan = build_plan(options, source);
    PlanBuilder builder(options, std::span(&lengths, 1));
    std::vector<Fingerprint> leaves;
    for (std::uint64_t epoch = 0; epoch < 2; ++epoch) {
        builder.begin_epoch(epoch);
        std::vector<PlanChunk> chunks(builder.num_chunks());
        ASSERT_GE(chunks.size(), 2U);
        for (PlanChunk& chunk : chunks) chunk.wide_sample.assign(3, 7);  // Of a builder before this one.
        for (std::uint64_t c = 0; c < chunks.size(); ++c) builder.draw_chunk(c, chunks[c]);
        std::vector<std::future<Fingerprint>> filled;
        for (auto last_first = chunks.rbegin(); last_first != chunks.rend(); ++last_first) {
            filled.push_back(std::async(std::launch::async, [&builder, &chunk = *last_first] {
                builder.fill_chunk(chunk);
                return fingerprint_chunk(chunk.columns());
            }));
        }
        for (auto leaf = filled.rbegin(); leaf != filled.rend(); ++leaf) leaves.push_back(leaf->get());
    }
    EXPECT_EQ(leaves, plan.fingerprints.chunks);
}

// What counts segments is narrow or wide; the plan is the same.
TEST(BuildPlanTest, WideNumbersGiveTheSamePlan) {
    const auto chunks = [](const PlanOptions& options, std::span<const SourceLengths> sources,
                           NumberWidth width) {
        PlanBuilder builder(options, sources, width);
        std::vector<Fingerprint> all;
        PlanChunk chunk;
        for (std::uint64_t epoch = 0; epoch < builder.frame().options.epochs; ++epoch) {
            builder.begin_epoch(epoch);
            const std::vector<std::uint32_t> arrival = builder.arrival_tokens();
            all.push_back(FingerprintBuilder("arrival").add_array(std::span(arrival)).finish());
            for (std::uint64_t c = 0; c < builder.num_chunks(); ++c) {
                builder.make_chunk(c, chunk);
                all.push_back(fingerprint_chunk(chunk.columns()));
            }
        }
        return all;
    };
    TestSource a, b;
    a.sample_tokens = long_tailed_lengths(1, 1500, 3000);  // Some are split.
    b.sample_tokens = long_tailed_lengths(2, 400, 1024);
    for (std::size_t i = 0; i < 1500; ++i) a.sample_score.push_back(static_cast<double>(i * 7919 % 101));
    SourceLengths first = a.view(), second = b.view();
    std::size_t compared = 0;
    const auto compare = [&](PlanOptions options, std::vector<SourceLengths> sources) {
        options.token_budget = 1024;
        options.epochs = 3;
        options.packs_per_step = 2;
        const auto narrow = chunks(options, sources, NumberWidth::fitting);
        EXPECT_GT(narrow.size(), 5U);
        EXPECT_EQ(narrow, chunks(options, sources, NumberWidth::wide)) << compared;
        ++compared;
    };
    for (const PackingPolicy packing :
         {PackingPolicy::automatic, PackingPolicy::best_fit_decreasing, PackingPolicy::patterns,
          PackingPolicy::first_fit, PackingPolicy::best_fit, PackingPolicy::first_fit_decreasing,
          PackingPolicy::in_order, PackingPolicy::concatenate}) {
        PlanOptions options;
        options.packing = packing;
        compare(options, {first});
    }
    for (const PackOrder order :
         {PackOrder::in_order, PackOrder::short_to_long, PackOrder::length_stages, PackOrder::score_stages}) {
        PlanOptions options;
        options.order = order;
        options.stages = order == PackOrder::length_stages || order == PackOrder::score_stages ? 3 : 0;
        compare(options, {first});
    }
    for (const PackOrder order : {PackOrder::shuffle, PackOrder::in_order, PackOrder::buckets_interleaved}) {
        PlanOptions options;
        options.mode = PlanMode::bucket;
        options.order = order;
        options.bucket_edges = {64, 256, 512};
        options.bucket_overflow_max = 1024;
        compare(options, {first});
    }
    first.source.weight = 3;
    second.source.weight = 1;
    compare(PlanOptions(), {first, second});
    EXPECT_EQ(compared, 16U);
}

TEST(BuildPlanTest, SampleIdsAreNarrowUpTo2To32Samples) {
    const auto narrow = [](std::initializer_list<std::uint64_t> counts) {
        std::vector<PlanSource> sources;
        for (const std::uint64_t count : counts) sources.emplace_back().num_samples = count;
        return samples_are_narrow(sources);
    };
    constexpr std::uint64_t limit = std::uint64_t{1} << 32U;
    EXPECT_TRUE(narrow({limit}));  // The last id is 2^32 − 1.
    EXPECT_FALSE(narrow({limit + 1}));
    EXPECT_TRUE(narrow({limit - 7, 7}));
    EXPECT_FALSE(narrow({limit - 7, 8}));
    EXPECT_FALSE(narrow({~std::uint64_t{0}, ~std::uint64_t{0}}));
}

// The names of three plans. A change here is a change of the format: every plan in the world gets another
// name.
TEST(BuildPlanTest, GoldenFingerprints) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(2024, 5000, 4096);
    Dice dice(2024);
    PlanOptions options;
    options.token_budget = 2048;
    options.epochs = 2;
    options.long_policy = LongPolicy::split;
    EXPECT_EQ(build_plan(options, source).fingerprints.plan.hex(),
              "ee06984b5e0b4a2472e5b8b25323c9070f33989d18bf1f819b53ed32ff203f44");
    options.mode = PlanMode::bucket;
    add_random_spans(source, dice);
    EXPECT_EQ(build_plan(options, source).fingerprints.plan.hex(),
              "fc551a81c600e317f1f8add56d9e4d573c530f149df1a5fa3cb2f9f628a843a2");
    options.mode = PlanMode::pack;
    options.predictable = true;
    EXPECT_EQ(build_plan(options, source).fingerprints.plan.hex(),
              "6acbe540ba08cff4930610f473295b9db3b562a33054ddc740015d3c24416766");
}

}  // namespace
}  // namespace lockstep
