// What holds for every plan, over more than 10^5 random inputs: drawn with fixed seeds, and
// shrunk to the smallest that fails.

#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <sstream>
#include <utility>

#include "plan/dispositions.h"
#include "plan/mixture.h"
#include "plan/packing.h"
#include "plan/plan_builder.h"
#include "plan/plan_chunk.h"
#include "plan/plan_revision.h"
#include "plan/plan_slice.h"
#include "plan/plan_structure.h"
#include "plan/shard.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

using Lengths = std::vector<std::uint32_t>;

/// Runs `property` on `cases` random inputs; the same ones everywhere.
template <class Property>
void expect_for_all(int cases, const Property& property) {
    rc::detail::TestParams params;
    params.seed = 20240613;
    params.maxSuccess = cases;
    params.maxSize = 48;
    rc::detail::TestMetadata metadata;
    metadata.id = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    metadata.description = metadata.id;
    const auto result = rc::detail::checkTestable(property, metadata, params);
    if (result.template is<rc::detail::SuccessResult>()) {
        EXPECT_EQ(result.template get<rc::detail::SuccessResult>().numSuccess, cases);
        return;
    }
    std::ostringstream text;
    rc::detail::printResultMessage(result, text);
    ADD_FAILURE() << text.str();
}

struct Input {
    std::vector<TestSource> sources;
    PlanOptions options;

    std::vector<SourceLengths> views() const {
        std::vector<SourceLengths> list;
        for (const TestSource& source : sources) list.push_back(source.view());
        return list;
    }
    bool lengths_only() const {
        return std::ranges::any_of(sources, [](const TestSource& source) { return source.lengths_only; });
    }
    bool mixture() const {
        return std::ranges::any_of(
            sources, [](const TestSource& source) { return source.weight > 0 || source.passes > 0; });
    }
};

template <class Value>
Value one_of(Dice& dice, std::initializer_list<Value> values) {
    return std::data(values)[dice.roll(0, values.size() - 1)];
}

std::uint32_t roll32(Dice& dice, std::uint64_t low, std::uint64_t high) {
    return static_cast<std::uint32_t>(dice.roll(low, high));
}

enum class Kind { pack, bucket, lazarus, mixture };

PlanOptions random_options(Dice& dice, Kind kind) {
    PlanOptions options;
    options.token_budget = dice.roll(0, 9) == 0 ? roll32(dice, 1, 3) : roll32(dice, 4, 80);
    options.packs_per_step = roll32(dice, 1, 5);
    options.epochs = dice.roll(1, 3);
    options.seed = dice.roll(0, std::uint64_t{1} << 40U);
    options.long_policy =
        one_of(dice, {LongPolicy::automatic, LongPolicy::automatic, LongPolicy::split, LongPolicy::split,
                      LongPolicy::truncate, LongPolicy::drop, LongPolicy::error});
    options.balance = dice.coin();
    options.cost = {dice.roll(0, 5), dice.roll(1, 3)};
    options.packing = static_cast<PackingPolicy>(dice.roll(0, kind == Kind::mixture ? 6 : 7));
    if (dice.coin()) options.segments_per_pack_max = roll32(dice, 1, 5);
    options.stages = roll32(dice, 1, 5);
    options.predictable = dice.roll(0, 9) == 0;
    switch (kind) {
        case Kind::pack:
            options.order = one_of(dice, {PackOrder::shuffle, PackOrder::in_order, PackOrder::short_to_long,
                                          PackOrder::length_stages, PackOrder::score_stages});
            return options;
        case Kind::mixture:
            options.order = one_of(dice, {PackOrder::shuffle, PackOrder::in_order});
            return options;
        case Kind::bucket:
            options.order = one_of(dice, {PackOrder::shuffle, PackOrder::in_order, PackOrder::short_to_long,
                                          PackOrder::buckets_interleaved});
            break;
        case Kind::lazarus:
            options.compat = PlanCompat::lazarus;
            options.order =
                one_of(dice, {PackOrder::shuffle, PackOrder::buckets_interleaved, PackOrder::short_to_long});
            options.long_policy = one_of(dice, {LongPolicy::automatic, LongPolicy::drop});
            options.segments_per_pack_max = 0;
            options.drop_last = dice.coin();
            break;
    }
    options.mode = PlanMode::bucket;
    options.bucket_edges.clear();
    std::uint32_t edge = 0;
    for (std::uint64_t edges = dice.roll(0, 3); edges > 0; --edges) {
        edge += roll32(dice, 1, 12);
        options.bucket_edges.push_back(edge);
    }
    options.bucket_overflow_max = edge + roll32(dice, 1, 50);
    if (dice.roll(0, 3) > 0) {
        options.token_budget = std::max(options.token_budget, options.bucket_overflow_max);
    }
    return options;
}

/// The lengths shrink by themselves; all else follows from `seed`.
Input random_input(const Lengths& lengths, std::uint64_t seed) {
    Dice dice(seed);
    const auto kind = one_of(
        dice, {Kind::pack, Kind::pack, Kind::pack, Kind::bucket, Kind::bucket, Kind::lazarus, Kind::mixture});
    Input input;
    input.options = random_options(dice, kind);
    // Now and then more steps than a leaf of the fingerprint tree covers.
    const bool large = dice.roll(0, 999) == 0 && !lengths.empty();
    const std::size_t copies = large ? 2500 / lengths.size() + 1 : 1;
    if (large) {
        input.options.packs_per_step = 1;
        input.options.segments_per_pack_max = kind == Kind::lazarus ? 0 : 1;
    }
    input.sources.resize(dice.roll(1, 3));
    const bool scores = kind == Kind::pack && input.options.order == PackOrder::score_stages;
    const bool weights = dice.coin();
    for (std::size_t i = 0; i < lengths.size() * copies; ++i) {
        TestSource& source = input.sources[i % input.sources.size()];
        source.sample_tokens.push_back(lengths[i % lengths.size()]);
        if (scores) source.sample_score.push_back(static_cast<double>(dice.roll(0, 20)) / 4);
    }
    for (std::size_t i = 0; i < input.sources.size(); ++i) {
        TestSource& source = input.sources[i];
        source.name = "source" + std::to_string(i);
        source.lengths_only = dice.roll(0, 7) == 0;
        if (!source.lengths_only && dice.roll(0, 2) == 0) add_random_spans(source, dice);
        if (kind == Kind::mixture) {
            if (weights) {
                source.weight = dice.roll(1, 9);
                if (dice.coin()) source.passes_max = roll32(dice, 1, 4);
            } else {
                source.passes = roll32(dice, 1, 4);
            }
        }
    }
    return input;
}

Input draw_input() {
    const auto lengths = *rc::gen::container<Lengths>(rc::gen::inRange<std::uint32_t>(0, 97));
    return random_input(lengths, *rc::gen::noShrink(rc::gen::arbitrary<std::uint32_t>()));
}

// --- What ought to become of a sample, told again without the planner's code ---

std::uint32_t tokens_of_longest_segment(const PlanOptions& options) {
    if (options.mode == PlanMode::pack) return options.token_budget;
    if (options.compat == PlanCompat::lazarus) return options.bucket_overflow_max;
    return std::min(options.token_budget, options.bucket_overflow_max);
}

LongPolicy policy_for(const Input& input, const TestSource& source) {
    if (input.options.compat == PlanCompat::lazarus) return LongPolicy::drop;
    if (input.options.long_policy != LongPolicy::automatic) return input.options.long_policy;
    return source.loss_span_begin.empty() ? LongPolicy::split : LongPolicy::error;
}

/// How many of a sample's tokens are fed.
std::uint32_t planned_tokens(const Input& input, const TestSource& source, std::size_t sample) {
    const std::uint32_t tokens = source.sample_tokens[sample];
    const std::uint32_t longest = tokens_of_longest_segment(input.options);
    if (tokens <= longest) return tokens;
    const LongPolicy policy = policy_for(input, source);
    return policy == LongPolicy::drop ? 0 : policy == LongPolicy::truncate ? longest : tokens;
}

bool is_trained(const TestSource& source, std::size_t sample, std::uint32_t token) {
    if (token == 0) return false;
    if (source.loss_span_begin.empty()) return true;
    for (std::uint64_t i = source.loss_span_begin[sample]; i < source.loss_span_begin[sample + 1]; ++i) {
        if (token >= source.loss_spans[2 * i] && token < source.loss_spans[2 * i + 1]) return true;
    }
    return false;
}

/// Upper edge of the bucket that holds a length.
std::uint32_t padded_length(const PlanOptions& options, std::uint32_t tokens) {
    for (const std::uint32_t edge : options.bucket_edges) {
        if (tokens <= edge) return edge;
    }
    return options.bucket_overflow_max;
}

/// Whether this must be refused; mixtures may be refused for their quotas as well.
bool must_be_refused(const Input& input) {
    const PlanOptions& options = input.options;
    const std::uint32_t longest = tokens_of_longest_segment(options);
    bool anything = false;
    std::map<std::uint32_t, std::uint64_t> padded;
    for (const TestSource& source : input.sources) {
        std::uint64_t tokens = 0;
        for (std::size_t i = 0; i < source.sample_tokens.size(); ++i) {
            const std::uint32_t length = source.sample_tokens[i];
            const LongPolicy policy = policy_for(input, source);
            if (length > longest &&
                (policy == LongPolicy::error || (policy == LongPolicy::split && longest < 2))) {
                return true;
            }
            const std::uint32_t planned = planned_tokens(input, source, i);
            tokens += planned;
            if (planned == 0 || options.mode == PlanMode::pack) continue;
            // A split sample's full pieces, and what is left.
            if (planned > longest) ++padded[padded_length(options, longest)];
            const std::uint32_t last = planned <= longest ? planned : (planned - 2) % (longest - 1) + 2;
            ++padded[padded_length(options, last)];
        }
        if (input.mixture() && tokens == 0) return true;
        anything = anything || tokens > 0;
    }
    if (!anything) return true;
    if (options.compat == PlanCompat::lazarus) {
        const bool drop_last = options.drop_last || options.predictable;
        return drop_last && std::ranges::none_of(padded, [&](const auto& bucket) {
                   return bucket.second >= std::max(options.token_budget / bucket.first, 1U);
               });
    }
    return std::ranges::any_of(padded,
                               [&](const auto& bucket) { return bucket.first > options.token_budget; });
}

/// The plan, or none where there cannot be one.
std::optional<BatchPlan> plan_of(const Input& input, const std::vector<SourceLengths>& views) {
    try {
        BatchPlan plan = build_plan(input.options, views);
        RC_ASSERT(!must_be_refused(input));
        return plan;
    } catch (const Error& error) {
        RC_LOG() << error.what() << '\n';
        RC_ASSERT(error.code() == ErrorCode::invalid_argument);
        const std::string text = error.what();
        const bool for_its_quotas = input.mixture() && (text.find("gets no sample") != std::string::npos ||
                                                        text.find("gets none of") != std::string::npos);
        RC_ASSERT(for_its_quotas || must_be_refused(input));
        return std::nullopt;
    }
}

/// How often each token was fed, and predicted.
struct Tally {
    explicit Tally(const Input& input) {
        for (const TestSource& source : input.sources) {
            for (const std::uint32_t tokens : source.sample_tokens) {
                fed.emplace_back(tokens, 0);
                predicted.emplace_back(tokens, 0);
            }
        }
    }
    std::vector<std::vector<std::uint32_t>> fed, predicted;  ///< (samples)(tokens)
};

/// Tallies the steps [begin, end), and checks the packs by themselves.
void tally_steps(const Input& input, const BatchPlan& plan, std::uint64_t begin, std::uint64_t end,
                 Tally& tally) {
    const PlanOptions& options = plan.options;
    for (std::uint64_t pack = plan.step_begin[begin]; pack < plan.step_begin[end]; ++pack) {
        std::uint64_t tokens = 0, squares = 0, targets = 0, padded = 0;
        const std::uint64_t segments = plan.pack_begin[pack + 1] - plan.pack_begin[pack];
        for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s) {
            const std::uint64_t sample = plan.segment_sample[s];
            const std::uint32_t offset = plan.segment_offset[s];
            const std::uint32_t length = plan.segment_tokens[s];
            const std::size_t source = plan.source_of(sample);
            RC_ASSERT(sample < tally.fed.size());
            RC_ASSERT(offset + length <= tally.fed[sample].size());
            for (std::uint32_t token = offset; token < offset + length; ++token) {
                // The first token of a later piece is the last one of the piece before, seen again.
                if (token > offset || offset == 0) ++tally.fed[sample][token];
                if (token > offset &&
                    is_trained(input.sources[source], sample - plan.sources[source].sample_base, token)) {
                    ++tally.predicted[sample][token];
                    ++targets;
                }
            }
            tokens += length;
            squares += std::uint64_t{length} * length;
            if (options.mode == PlanMode::bucket) padded += padded_length(options, length);
        }
        const bool one_over = options.compat == PlanCompat::lazarus && segments == 1;
        RC_ASSERT(segments > 0);
        RC_ASSERT(one_over || std::max(tokens, padded) <= options.token_budget);
        RC_ASSERT(options.segments_per_pack_max == 0 || segments <= options.segments_per_pack_max);
        RC_ASSERT(plan.pack_cost[pack] ==
                  options.cost.token_cost * tokens + options.cost.square_cost * squares);
        if (options.mode == PlanMode::bucket) RC_ASSERT(plan.pack_pad_tokens[pack] == padded - tokens);
        if (!input.lengths_only()) RC_ASSERT(plan.pack_targets[pack] == targets);
    }
}

/// Every token of every sample that is planned comes `times` times; of a sample not planned, never.
template <class Times>
void check_tally(const Input& input, const Tally& tally, const Times& times_of) {
    std::size_t sample = 0;
    for (const TestSource& source : input.sources) {
        for (std::size_t i = 0; i < source.sample_tokens.size(); ++i, ++sample) {
            const std::uint32_t planned = planned_tokens(input, source, i);
            const std::uint32_t times = times_of(sample);
            for (std::uint32_t token = 0; token < source.sample_tokens[i]; ++token) {
                const std::uint32_t expected = token < planned ? times : 0;
                RC_ASSERT(tally.fed[sample][token] == expected);
                RC_ASSERT(tally.predicted[sample][token] == (is_trained(source, i, token) ? expected : 0));
            }
        }
    }
}

void check_coverage(const Input& input, const BatchPlan& plan) {
    RC_ASSERT(plan.num_epochs() == input.options.epochs);
    RC_ASSERT(plan.pack_targets.empty() == input.lengths_only());
    if (input.mixture()) {
        Tally tally(input);
        tally_steps(input, plan, 0, plan.num_steps(), tally);
        const auto times = [&](std::size_t sample) {
            return tally.fed[sample].empty() ? 0 : tally.fed[sample][0];
        };
        check_tally(input, tally, times);
        std::size_t sample = 0;
        for (const TestSource& source : input.sources) {
            std::uint32_t least = ~std::uint32_t{0}, most = 0;
            for (std::size_t i = 0; i < source.sample_tokens.size(); ++i, ++sample) {
                if (planned_tokens(input, source, i) == 0) continue;
                least = std::min(least, times(sample));
                most = std::max(most, times(sample));
            }
            if (source.passes > 0) {
                RC_ASSERT(least == source.passes && most == source.passes);
            } else {
                RC_ASSERT(most - least <= 1);
                RC_ASSERT(most <= (source.passes_max > 0 ? source.passes_max : input.options.epochs));
            }
        }
        return;
    }
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
        Tally tally(input);
        tally_steps(input, plan, plan.epoch_begin[epoch], plan.epoch_begin[epoch + 1], tally);
        // drop_last leaves whole samples out.
        check_tally(input, tally, [&](std::size_t sample) -> std::uint32_t {
            return plan.options.drop_last && !tally.fed[sample].empty() ? std::min(tally.fed[sample][0], 1U)
                                                                        : 1;
        });
    }
}

/// Full steps, but for the last of an epoch or a stage.
void check_steps(const BatchPlan& plan) {
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
        std::uint64_t short_steps = 0;
        for (std::uint64_t step = plan.epoch_begin[epoch]; step < plan.epoch_begin[epoch + 1]; ++step) {
            const std::uint64_t packs = plan.step_begin[step + 1] - plan.step_begin[step];
            RC_ASSERT(packs >= 1 && packs <= plan.options.packs_per_step);
            if (packs < plan.options.packs_per_step) ++short_steps;
        }
        RC_ASSERT(short_steps <= std::max(plan.options.stages, 1U));
    }
}

/// Made chunk by chunk, last chunk of an epoch first, it is the same plan.
void check_chunks(const Input& input, const std::vector<SourceLengths>& views, const BatchPlan& plan) {
    if (input.options.compat == PlanCompat::lazarus) return;
    PlanBuilder builder(input.options, views);
    RC_ASSERT(builder.frame().epoch_begin == plan.epoch_begin);
    RC_ASSERT(builder.total().segments == plan.num_segments());
    RC_ASSERT(builder.total().packs == plan.num_packs());
    RC_ASSERT(builder.frame().dispositions == plan.dispositions);
    std::size_t first_leaf = 0;
    PlanChunk chunk;
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
        builder.begin_epoch(epoch);
        for (std::uint64_t c = builder.num_chunks(); c-- > 0;) {
            builder.make_chunk(c, chunk);
            const std::size_t leaf = first_leaf + c;
            RC_ASSERT(chunk.first_step == plan.fingerprints.chunk_begin[leaf]);
            RC_ASSERT(fingerprint_chunk(chunk.columns()) == plan.fingerprints.chunks[leaf]);
            const PlanChunkColumns made = chunk.columns();
            const PlanChunkColumns rows =
                chunk_of(plan, plan.fingerprints.chunk_begin[leaf], plan.fingerprints.chunk_begin[leaf + 1]);
            RC_ASSERT(made.first_pack == rows.first_pack);
            RC_ASSERT(made.num_segments() == rows.num_segments());
            RC_ASSERT(std::ranges::equal(made.segment_offset, rows.segment_offset));
            RC_ASSERT(std::ranges::equal(made.segment_tokens, rows.segment_tokens));
            RC_ASSERT(std::ranges::equal(made.pack_cost, rows.pack_cost));
            for (std::uint64_t s = 0; s < made.num_segments(); ++s)
                RC_ASSERT(made.sample(s) == rows.sample(s));
        }
        first_leaf += builder.num_chunks();
    }
    RC_ASSERT(first_leaf == plan.fingerprints.chunks.size());
    RC_ASSERT(fingerprint_plan(plan) == plan.fingerprints);
}

TEST(PlanPropertiesTest, EveryTokenIsFedAndPredictedAsOftenAsItShould) {
    int built = 0, cases = 0;
    expect_for_all(45000, [&] {
        const Input input = draw_input();
        const auto views = input.views();
        ++cases;
        const auto plan = plan_of(input, views);
        if (!plan) return;
        ++built;
        check_coverage(input, *plan);
        check_steps(*plan);
        check_chunks(input, views, *plan);
        validate_plan(*plan, views);
        validate_plan(*plan, std::span<const SourceLengths>{});
        if (input.options.compat == PlanCompat::none)
            RC_ASSERT(decide_dispositions(plan->options, views) == plan->dispositions);
        RC_ASSERT(build_plan(input.options, views) == *plan);
    });
    EXPECT_GT(built, cases / 2) << "most inputs should give plans";
}

// --- Shards and slices ---

TEST(PlanPropertiesTest, ShardsPartitionEveryStepAndResumingIsASuffix) {
    expect_for_all(20000, [] {
        const Input input = draw_input();
        const auto plan = plan_of(input, input.views());
        if (!plan) return;
        Dice dice(plan->options.seed);
        const std::uint64_t resumed = dice.roll(0, plan->num_steps());
        for (int world = 1; world <= 9; ++world) {
            std::vector<Rank> pack_rank;
            for (std::uint64_t step = 0; step < plan->num_steps(); ++step) {
                const std::uint64_t begin = plan->step_begin[step];
                const std::uint64_t packs = plan->step_begin[step + 1] - begin;
                const auto ranks =
                    assign_packs(std::span(plan->pack_cost).subspan(begin, packs), WorldSize{world});
                RC_ASSERT(ranks.size() == packs);
                std::vector<std::uint64_t> held(static_cast<std::size_t>(world), 0);
                for (const Rank rank : ranks) {
                    RC_ASSERT(rank.value >= 0 && rank.value < world);
                    ++held[static_cast<std::size_t>(rank.value)];
                }
                const auto size = static_cast<std::uint64_t>(world);
                RC_ASSERT(std::ranges::max(held) <= (packs + size - 1) / size);
                pack_rank.insert(pack_rank.end(), ranks.begin(), ranks.end());
            }
            // One step through shard_of: each pack at exactly one rank.
            const std::uint64_t step = dice.roll(0, plan->num_steps() - 1);
            std::vector<std::uint64_t> of_all;
            for (int rank = 0; rank < world; ++rank) {
                const auto packs = shard_of(*plan, Step{step}, Rank{rank}, WorldSize{world});
                RC_ASSERT(std::ranges::is_sorted(packs));
                for (const std::uint64_t pack : packs) {
                    RC_ASSERT(pack_rank[pack] == Rank{rank});
                    of_all.push_back(pack);
                }
            }
            RC_ASSERT(of_all.size() == plan->step_begin[step + 1] - plan->step_begin[step]);

            const Rank rank{static_cast<int>(dice.roll(0, static_cast<std::uint64_t>(world) - 1))};
            const auto at = static_cast<std::size_t>(rank.value);
            const WorldSize ranks{world};
            const std::uint64_t steps = plan->num_steps();
            const PlanSlice whole = slices_of(chunk_of(*plan, 0, steps), pack_rank, ranks)[at];
            const PlanSlice rest =
                slices_of(chunk_of(*plan, resumed, steps),
                          std::span(pack_rank).subspan(plan->step_begin[resumed]), ranks)[at];
            check_slice(rest);
            const auto is_suffix = [](const auto& tail, const auto& all) {
                return tail.size() <= all.size() && std::equal(tail.rbegin(), tail.rend(), all.rbegin());
            };
            RC_ASSERT(is_suffix(rest.pack, whole.pack));
            RC_ASSERT(is_suffix(rest.segment_sample, whole.segment_sample));
            RC_ASSERT(is_suffix(rest.segment_offset, whole.segment_offset));
            RC_ASSERT(is_suffix(rest.segment_tokens, whole.segment_tokens));
            RC_ASSERT(rest.pack.size() == whole.pack.size() - whole.step_pack_begin[resumed]);
            for (std::uint64_t s = resumed; s <= plan->num_steps(); ++s) {
                RC_ASSERT(rest.step_pack_begin[s - resumed] + whole.step_pack_begin[resumed] ==
                          whole.step_pack_begin[s]);
            }
        }
    });
}

// --- Changed plans ---

/// Another value in one row of one column. @return the column's name; empty if it has no rows.
std::string change_one_value(BatchPlan& plan, Dice& dice) {
    const auto change = [&](auto& column, const char* name) -> std::string {
        if (column.empty()) return {};
        auto& value = column[dice.roll(0, column.size() - 1)];
        using Value = std::decay_t<decltype(value)>;
        const Value before = value;
        switch (dice.roll(0, 3)) {
            case 0:
                ++value;
                break;
            case 1:
                --value;
                break;
            case 2:
                value = column[dice.roll(0, column.size() - 1)];
                break;
            default:
                value = static_cast<Value>(dice.roll(0, ~std::uint64_t{0} - 1));
        }
        return value == before ? std::string() : name;
    };
    switch (dice.roll(0, 9)) {
        case 0:
            return change(plan.segment_sample, "segment_sample");
        case 1:
            return change(plan.segment_offset, "segment_offset");
        case 2:
            return change(plan.segment_tokens, "segment_tokens");
        case 3:
            return change(plan.pack_begin, "pack_begin");
        case 4:
            return change(plan.pack_targets, "pack_targets");
        case 5:
            return change(plan.pack_cost, "pack_cost");
        case 6:
            return change(plan.pack_bucket, "pack_bucket");
        case 7:
            return change(plan.pack_pad_tokens, "pack_pad_tokens");
        case 8:
            return change(plan.step_begin, "step_begin");
        default:
            return change(plan.epoch_begin, "epoch_begin");
    }
}

bool is_rejected(const BatchPlan& plan, const std::vector<SourceLengths>& views) {
    try {
        validate_plan(plan, views);
        return false;
    } catch (const Error& error) {
        RC_ASSERT(error.code() == ErrorCode::corrupt_data || error.code() == ErrorCode::fingerprint_mismatch);
        return true;
    }
}

TEST(PlanPropertiesTest, OneOtherValueAnywhereIsFound) {
    int found = 0;
    expect_for_all(20000, [&] {
        const Input input = draw_input();
        const auto views = input.views();
        const auto plan = plan_of(input, views);
        if (!plan) return;
        Dice dice(plan->options.seed + 1);
        for (int change = 0; change < 4; ++change) {
            BatchPlan changed = *plan;
            const std::string column = change_one_value(changed, dice);
            if (column.empty()) continue;
            RC_LOG() << column << '\n';
            RC_ASSERT(is_rejected(changed, views));
            ++found;
            // With fingerprints that fit, where the column is not free: among equally long samples that need
            // not all come, it is no error which of them do; nor where a stage or a mixture's epoch ends.
            const bool one_may_replace_another =
                column == "segment_sample" && (input.mixture() || plan->options.drop_last);
            const bool free_bounds =
                (column == "step_begin" && (plan->options.stages > 0 || input.mixture())) ||
                (column == "epoch_begin" && input.mixture());
            if (one_may_replace_another || free_bounds) continue;
            try {
                check_structure(changed);
                changed.fingerprints = fingerprint_plan(changed);
            } catch (const Error&) {
                continue;
            }
            RC_ASSERT(is_rejected(changed, views));
        }
    });
    EXPECT_GT(found, 20000);
}

// --- Revisions ---

/// Told segment by segment from the plan and the exclusion.
void check_revision(const Input& input, const BatchPlan& plan, const Exclusion& exclusion,
                    const BatchPlan& revised) {
    RC_ASSERT(revised.parent == plan.fingerprints.plan);
    RC_ASSERT(revised.from_step == exclusion.from_step);
    RC_ASSERT(revised.options == plan.options);
    RC_ASSERT(revised.sources == plan.sources);
    RC_ASSERT(revised.dispositions == plan.dispositions);
    RC_ASSERT(revised.step_begin == plan.step_begin);
    RC_ASSERT(revised.epoch_begin == plan.epoch_begin);
    RC_ASSERT(revised.pack_bucket == plan.pack_bucket);
    RC_ASSERT(revised.num_packs() == plan.num_packs());
    const std::set<std::uint64_t> samples(exclusion.samples.begin(), exclusion.samples.end());
    const std::set<std::uint64_t> steps(exclusion.steps.begin(), exclusion.steps.end());
    std::vector<bool> step_changed(plan.num_steps(), false);
    std::uint64_t at = 0;
    for (std::uint64_t step = 0; step < plan.num_steps(); ++step) {
        for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
            bool changed = false;
            std::uint64_t targets = 0;
            for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s) {
                const std::uint64_t sample = plan.segment_sample[s];
                if (step >= exclusion.from_step && (steps.contains(step) || samples.contains(sample))) {
                    changed = true;
                    continue;
                }
                RC_ASSERT(at < revised.num_segments());
                RC_ASSERT(revised.segment_sample[at] == sample);
                RC_ASSERT(revised.segment_offset[at] == plan.segment_offset[s]);
                RC_ASSERT(revised.segment_tokens[at] == plan.segment_tokens[s]);
                const std::size_t source = plan.source_of(sample);
                for (std::uint32_t t = 1; t < plan.segment_tokens[s]; ++t) {
                    if (is_trained(input.sources[source], sample - plan.sources[source].sample_base,
                                   plan.segment_offset[s] + t)) {
                        ++targets;
                    }
                }
                ++at;
            }
            RC_ASSERT(revised.pack_begin[pack + 1] == at);
            if (!plan.pack_targets.empty()) RC_ASSERT(revised.pack_targets[pack] == targets);
            if (changed) {
                step_changed[step] = true;
                continue;
            }
            RC_ASSERT(revised.pack_cost[pack] == plan.pack_cost[pack]);
            if (!plan.pack_pad_tokens.empty())
                RC_ASSERT(revised.pack_pad_tokens[pack] == plan.pack_pad_tokens[pack]);
        }
    }
    RC_ASSERT(at == revised.num_segments());
    const PlanFingerprints& tree = plan.fingerprints;
    RC_ASSERT(revised.fingerprints.settings == tree.settings);
    for (std::size_t c = 0; c < tree.chunks.size(); ++c) {
        const auto begin = step_changed.begin() + static_cast<std::ptrdiff_t>(tree.chunk_begin[c]);
        const auto end = step_changed.begin() + static_cast<std::ptrdiff_t>(tree.chunk_begin[c + 1]);
        const bool changed = std::find(begin, end, true) != end;
        RC_ASSERT((revised.fingerprints.chunks[c] != tree.chunks[c]) == changed);
    }
}

TEST(PlanPropertiesTest, RevisionsDifferOnlyWhereTheyShould) {
    int revisions = 0;
    expect_for_all(15000, [&] {
        const Input input = draw_input();
        const auto views = input.views();
        auto plan = plan_of(input, views);
        if (!plan) return;
        const SegmentTargets targets = [&](std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens) {
            const std::size_t source = plan->source_of(sample);
            return segment_targets(views[source], sample - plan->sources[source].sample_base, offset, tokens);
        };
        Dice dice(plan->options.seed + 2);
        // A revision of a revision now and then.
        for (int generation = 0; generation < 2; ++generation) {
            Exclusion exclusion;
            exclusion.from_step = dice.roll(0, plan->num_steps() - 1);
            bool possible = false;
            std::set<std::uint64_t> samples, steps;
            const std::uint64_t first = plan->pack_begin[plan->step_begin[exclusion.from_step]];
            if (first < plan->num_segments()) {
                for (std::uint64_t i = dice.roll(0, 3); i > 0; --i)
                    samples.insert(plan->segment_sample[dice.roll(first, plan->num_segments() - 1)]);
            }
            const bool absent = dice.roll(0, 9) == 0;
            if (absent) samples.insert(plan->sources.back().sample_base + plan->sources.back().num_samples);
            for (std::uint64_t i = dice.roll(0, 2); i > 0; --i) {
                const std::uint64_t step = dice.roll(exclusion.from_step, plan->num_steps() - 1);
                if (plan->pack_begin[plan->step_begin[step]] < plan->pack_begin[plan->step_begin[step + 1]])
                    steps.insert(step);
            }
            exclusion.samples.assign(samples.begin(), samples.end());
            exclusion.steps.assign(steps.begin(), steps.end());
            possible = !absent && samples.size() + steps.size() > 0;
            try {
                const Revision revision = revise_plan(*plan, exclusion, targets);
                RC_ASSERT(possible);
                check_revision(input, *plan, exclusion, revision.plan);
                validate_plan(revision.plan, views);
                ++revisions;
                plan = revision.plan;
            } catch (const Error& error) {
                RC_LOG() << error.what() << '\n';
                RC_ASSERT(error.code() == ErrorCode::invalid_argument);
                RC_ASSERT(!possible);
            }
        }
    });
    EXPECT_GT(revisions, 7500);
}

// --- Packing ---

TEST(PlanPropertiesTest, AutomaticNeverNeedsMorePacksThanBestFitDecreasing) {
    expect_for_all(20000, [] {
        auto lengths = *rc::gen::container<Lengths>(rc::gen::inRange<std::uint32_t>(1, 97));
        if (lengths.empty()) return;
        Dice dice(*rc::gen::noShrink(rc::gen::arbitrary<std::uint32_t>()));
        PackLimits limits{roll32(dice, std::ranges::max(lengths), 160), 0};
        if (dice.roll(0, 2) == 0) limits.segments_max = roll32(dice, 1, 6);
        const LengthClasses classes = classify_lengths(lengths);
        const auto sizes = classes.sizes();
        const std::uint64_t bound = packs_lower_bound(classes.tokens, sizes, limits);
        std::map<PackingPolicy, std::uint64_t> packs;
        for (const auto policy :
             {PackingPolicy::automatic, PackingPolicy::best_fit_decreasing, PackingPolicy::patterns,
              PackingPolicy::first_fit, PackingPolicy::best_fit, PackingPolicy::first_fit_decreasing}) {
            const PackShapes shapes = pack_shapes(classes, lengths, limits, policy);
            std::vector<std::uint64_t> used(classes.num_classes(), 0);
            for (std::size_t s = 0; s < shapes.num_shapes(); ++s) {
                std::uint64_t tokens = 0;
                for (const std::uint32_t length_class : shapes.shape(s)) {
                    tokens += classes.tokens[length_class];
                    used[length_class] += shapes.shape_packs[s];
                }
                RC_ASSERT(tokens <= limits.tokens_max);
                RC_ASSERT(limits.segments_max == 0 || shapes.shape(s).size() <= limits.segments_max);
            }
            RC_ASSERT(used == sizes);
            packs[policy] = shapes.num_packs();
            RC_ASSERT(packs[policy] >= bound);
        }
        RC_ASSERT(packs[PackingPolicy::automatic] <= packs[PackingPolicy::best_fit_decreasing]);
    });
}

}  // namespace
}  // namespace lockstep
