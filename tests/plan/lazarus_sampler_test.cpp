// Lazarus' generator, buckets, sampler and packer against what Lazarus itself gave.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "plan/lazarus/packing.h"
#include "plan/lazarus/random.h"
#include "plan/lazarus/sampler.h"
#include "tests/plan/plan_support.h"

namespace lockstep {

namespace {

using nlohmann::json;

json golden(const std::string& name) {
    std::ifstream file(std::string(LOCKSTEP_TEST_DATA "/lazarus/") + name);
    return json::parse(file);
}

std::vector<int> shuffled(LazarusRandom& random, std::size_t count) {
    std::vector<int> values(count);
    std::iota(values.begin(), values.end(), 0);
    random.shuffle(std::span(values));
    return values;
}

TEST(LazarusRandomTest, DrawsAndShufflesAsCPython) {
    const json cases = golden("rng-shuffle.json").at("cases");
    ASSERT_EQ(cases.size(), 7U);
    for (const json& c : cases) {
        const auto seed = c.at("seed").get<std::uint64_t>();
        LazarusRandom words(seed, 0);
        for (const json& word : c.at("first8_u32")) EXPECT_EQ(words.next_word(), word.get<std::uint32_t>());
        LazarusRandom ten(seed, 0);
        EXPECT_EQ(shuffled(ten, 10), c.at("shuffle_range10").get<std::vector<int>>());
        LazarusRandom both(seed, 0);
        const json& pair = c.at("shuffle_range100_then_range5");
        EXPECT_EQ(shuffled(both, 100), pair[0].get<std::vector<int>>());
        EXPECT_EQ(shuffled(both, 5), pair[1].get<std::vector<int>>());
    }
}

TEST(LazarusRandomTest, AddsTheEpochToTheSeedAsIntegersDo) {
    LazarusRandom sum(43, 0);
    LazarusRandom parts(42, 1);
    EXPECT_EQ(sum.next_word(), parts.next_word());
    // 2^64 needs a third word of key; wrapping would give the generator of seed 0.
    LazarusRandom carried(~std::uint64_t{0}, 1);
    LazarusRandom zero(0, 0);
    EXPECT_NE(carried.next_word(), zero.next_word());
}

// Values of CPython 3.11: random.Random(2**64).getrandbits(32), random.Random(7).getrandbits(48).
TEST(LazarusRandomTest, WideSeedsAndDrawsAreThoseOfCPython) {
    LazarusRandom wide(~std::uint64_t{0}, 1);
    EXPECT_EQ(wide.bits(32), 4198958755U);
    LazarusRandom seven(7, 0);
    EXPECT_EQ(seven.bits(48), 266800464311352U);
}

TEST(LazarusBucketsTest, AssignsAsLazarus) {
    const json file = golden("bucket-assignment.json");
    ASSERT_EQ(file.at("cases").size(), 4U);
    for (const json& c : file.at("cases")) {
        LazarusBuckets buckets;
        buckets.edges = c.at("edges").get<std::vector<std::int64_t>>();
        buckets.overflow_max = c.at("overflow_max");
        buckets.min_length = c.at("min_length");
        buckets.check();
        EXPECT_EQ(buckets.size(), c.at("num_buckets").get<std::uint16_t>());
        for (std::size_t i = 0; i < c.at("lengths").size(); ++i) {
            const auto length = c.at("lengths")[i].get<std::uint64_t>();
            EXPECT_EQ(buckets.index_of(length), c.at("bucket_id")[i].get<std::uint16_t>()) << length;
            EXPECT_EQ(buckets.skips(length), c.at("skip")[i].get<bool>()) << length;
            EXPECT_EQ(buckets.pad_to(buckets.index_of(length)), c.at("pad_to")[i].get<std::int64_t>());
        }
        for (std::uint16_t b = 0; b < buckets.size(); ++b) {
            const auto [low, high] = buckets.range(b);
            EXPECT_EQ(low, c.at("ranges")[b][0].get<std::int64_t>());
            EXPECT_EQ(high, c.at("ranges")[b][1].get<std::int64_t>());
        }
    }
}

TEST(LazarusBucketsTest, AcceptsAndRefusesWhatLazarusDoes) {
    const json goldens = golden("bucket-assignment.json");
    for (const json& c : goldens.at("validation")) {
        LazarusBuckets buckets;
        buckets.edges = c.at("edges").get<std::vector<std::int64_t>>();
        buckets.overflow_max = c.at("overflow_max");
        buckets.min_length = c.value("min_length", 1);
        if (c.at("accepted").get<bool>()) {
            EXPECT_NO_THROW(buckets.check()) << c;
        } else {
            EXPECT_THROW(buckets.check(), Error) << c;
        }
    }
}

TEST(LazarusBucketsTest, DividesALengthAsLazarus) {
    const json goldens = golden("bucket-assignment.json");
    for (const json& c : goldens.at("from_max_length")) {
        const LazarusBuckets buckets = LazarusBuckets::of_max_length(c.at("max_length"), c.at("num_buckets"));
        EXPECT_EQ(buckets.edges, c.at("edges").get<std::vector<std::int64_t>>());
        EXPECT_EQ(buckets.overflow_max, c.at("overflow_max").get<std::int64_t>());
    }
    expect_error(ErrorCode::invalid_argument, "at least 2", [] { LazarusBuckets::of_max_length(512, 1); });
}

LazarusSampling sampling_of(const json& config) {
    LazarusSampling sampling;
    sampling.buckets.edges = config.at("bucket_edges").get<std::vector<std::int64_t>>();
    sampling.buckets.overflow_max = config.at("overflow_max");
    sampling.token_budget = config.at("token_budget");
    sampling.seed = config.at("seed");
    sampling.drop_last = config.at("drop_last");
    sampling.interleave = config.at("interleave_buckets");
    return sampling;
}

TEST(LazarusSamplerTest, GivesLazarusBatchesMetricsAndShards) {
    const json cases = golden("batch-plans.json").at("cases");
    ASSERT_EQ(cases.size(), 10U);
    for (const json& c : cases) {
        SCOPED_TRACE(c.at("name").get<std::string>());
        std::vector<std::string> ids;
        std::vector<std::uint64_t> lengths;
        for (const json& sample : c.at("lengths")) {
            ids.push_back(sample[0]);
            lengths.push_back(sample[1]);
        }
        const LazarusSampler sampler(sampling_of(c.at("config")), lengths);
        std::vector<std::string> skipped;
        for (const std::uint32_t sample : sampler.skipped()) skipped.push_back(ids[sample]);
        EXPECT_EQ(skipped, c.at("skipped").get<std::vector<std::string>>());

        for (std::size_t e = 0; e < c.at("num_epochs"); ++e) {
            const json& expected = c.at("epochs")[e];
            const LazarusEpoch epoch = sampler.epoch(e);
            ASSERT_EQ(epoch.num_batches(), expected.at("microbatches").size());
            for (std::size_t b = 0; b < epoch.num_batches(); ++b) {
                const json& microbatch = expected.at("microbatches")[b];
                std::vector<std::string> samples;
                for (const std::uint32_t sample : epoch.batch(b)) samples.push_back(ids[sample]);
                EXPECT_EQ(samples, microbatch.at("samples").get<std::vector<std::string>>());
                EXPECT_EQ(epoch.batch_bucket[b], microbatch.at("bucket_id").get<std::uint16_t>());
            }
            for (const auto& [world_size, shards] : c.at("shards").items()) {
                for (const json& shard : shards) {
                    if (!shard.at("epochs").contains(std::to_string(e))) continue;
                    EXPECT_EQ(lazarus_shard(epoch.num_batches(), shard.at("rank"), std::stoull(world_size)),
                              shard.at("epochs")
                                  .at(std::to_string(e))
                                  .at("source_index")
                                  .get<std::vector<std::uint64_t>>());
                }
            }
        }

        const LazarusMetrics metrics = sampler.metrics();
        const json& expected = c.at("metrics");
        EXPECT_EQ(metrics.total_batches, c.at("estimate_batches_per_epoch").get<std::uint64_t>());
        EXPECT_EQ(metrics.total_batches, expected.at("total_batches").get<std::uint64_t>());
        EXPECT_EQ(metrics.total_tokens, expected.at("total_tokens").get<std::uint64_t>());
        EXPECT_EQ(metrics.padded_tokens, expected.at("padded_tokens").get<std::uint64_t>());
        EXPECT_EQ(metrics.total_samples, expected.at("total_samples").get<std::uint64_t>());
        EXPECT_EQ(metrics.skipped_samples, expected.at("skipped_samples").get<std::uint64_t>());
        EXPECT_EQ(metrics.padding_waste(), expected.at("padding_waste").get<double>());
        EXPECT_EQ(metrics.efficiency(), expected.at("efficiency").get<double>());
        const auto expect_buckets = [](const auto& found, const json& by_bucket) {
            EXPECT_EQ(found.size(), by_bucket.size());
            for (const auto& [bucket, count] : found)
                EXPECT_EQ(count, by_bucket.at(std::to_string(bucket)).template get<std::uint64_t>());
        };
        expect_buckets(metrics.bucket_samples, expected.at("bucket_samples"));
        expect_buckets(metrics.bucket_batches, expected.at("bucket_counts"));
    }
}

// As CPython 3.11 orders it by Lazarus' rules: the bucket used first fills no batch and never plays.
TEST(LazarusSamplerTest, ABucketWithoutABatchNeverPlays) {
    LazarusSampling sampling;
    sampling.buckets.edges = {10, 20};
    sampling.buckets.overflow_max = 40;
    sampling.token_budget = 40;
    sampling.drop_last = true;
    const std::vector<std::uint64_t> lengths{15, 5, 5, 5, 5, 5, 5, 5, 5, 5, 30, 30, 30};
    const LazarusSampler sampler(sampling, lengths);
    EXPECT_EQ(sampler.epoch(0).samples, (std::vector<std::uint32_t>{4, 7, 8, 5, 11, 10, 9, 3, 6, 1, 12}));
    EXPECT_EQ(sampler.epoch(0).batch_bucket, (std::vector<std::uint16_t>{0, 2, 2, 0, 2}));
    EXPECT_EQ(sampler.epoch(1).samples, (std::vector<std::uint32_t>{10, 7, 9, 8, 3, 12, 4, 2, 6, 5, 11}));
    EXPECT_EQ(sampler.epoch(1).batch_bucket, (std::vector<std::uint16_t>{2, 0, 2, 0, 2}));
}

TEST(LazarusSamplerTest, RefusesARankOutsideTheWorld) {
    expect_error(ErrorCode::invalid_argument, "rank is 3", [] { lazarus_shard(10, 3, 3); });
}

LazarusPackingMode mode_of(const std::string& name) {
    if (name == "first_fit") return LazarusPackingMode::first_fit;
    return name == "best_fit" ? LazarusPackingMode::best_fit : LazarusPackingMode::greedy;
}

TEST(LazarusPackingTest, PacksAndLaysOutAsLazarus) {
    const json cases = golden("packing.json").at("cases");
    ASSERT_EQ(cases.size(), 18U);
    for (const json& c : cases) {
        SCOPED_TRACE(c.at("name").get<std::string>());
        LazarusPacking packing;
        packing.mode = mode_of(c.at("mode"));
        packing.max_length = c.at("max_length");
        packing.add_separator = !c.at("separator_token_id").is_null();
        if (packing.add_separator) packing.separator_token = c.at("separator_token_id").get<std::uint32_t>();
        std::vector<std::uint32_t> lengths;
        std::vector<LazarusSequence> sequences;
        for (const json& sequence : c.at("sequences")) {
            const auto length = sequence[1].get<std::uint32_t>();
            LazarusSequence& made = sequences.emplace_back();
            made.token_ids.assign(length, 100 + static_cast<std::uint32_t>(lengths.size()));
            made.loss_mask.assign(length, 1);
            for (std::uint32_t i = 0; i < length / 3; ++i) made.loss_mask[i] = 0;
            lengths.push_back(length);
        }
        const LazarusPacks packs = pack_as_lazarus(lengths, packing);
        EXPECT_EQ(packs.skipped.size(), c.at("num_skipped").get<std::size_t>());
        ASSERT_EQ(packs.layout.num_packs(), c.at("bins").size());
        std::uint64_t tokens = 0;
        std::uint64_t loss_tokens = 0;
        for (std::size_t p = 0; p < packs.layout.num_packs(); ++p) {
            std::vector<std::string> ids;
            for (const NarrowIndex segment : packs.layout.pack(p))
                ids.push_back(c.at("sequences")[segment][0]);
            EXPECT_EQ(ids, c.at("bins")[p].get<std::vector<std::string>>());
            const LazarusRow row = lay_out_as_lazarus(packs.layout.pack(p), sequences, packing, 0);
            EXPECT_EQ(row.tokens, c.at("total_tokens")[p].get<std::uint32_t>());
            EXPECT_EQ(packing.max_length - row.tokens, c.at("padding_tokens")[p].get<std::uint32_t>());
            EXPECT_EQ(row.loss_tokens, c.at("num_loss_tokens")[p].get<std::uint32_t>());
            if (c.contains("input_ids")) {
                EXPECT_EQ(row.token_ids, c.at("input_ids")[p].get<std::vector<std::uint32_t>>());
                EXPECT_EQ(row.loss_mask, c.at("loss_mask")[p].get<std::vector<std::uint8_t>>());
                EXPECT_EQ(row.segment_ids, c.at("segment_ids")[p].get<std::vector<std::uint32_t>>());
            }
            tokens += row.tokens;
            loss_tokens += row.loss_tokens;
        }
        const double places = static_cast<double>(packs.layout.num_packs()) * packing.max_length;
        EXPECT_EQ(
            static_cast<double>(packs.layout.segments.size()) / static_cast<double>(packs.layout.num_packs()),
            c.at("packing_ratio").get<double>());
        EXPECT_EQ(static_cast<double>(tokens) / places, c.at("efficiency").get<double>());
        EXPECT_EQ(static_cast<double>(loss_tokens) / places, c.at("loss_efficiency").get<double>());
    }
}

/// The definitions, word by word: every pack is looked at for every segment.
PackLayout<> packed_by_scanning(std::span<const std::uint32_t> lengths, const LazarusPacking& packing) {
    std::vector<NarrowIndex> order;
    for (NarrowIndex i = 0; i < lengths.size(); ++i) {
        if (lengths[i] <= packing.max_length) order.push_back(i);
    }
    if (packing.mode == LazarusPackingMode::greedy) {
        std::stable_sort(order.begin(), order.end(),
                         [&](NarrowIndex a, NarrowIndex b) { return lengths[a] > lengths[b]; });
    }
    std::vector<std::vector<NarrowIndex>> packs;
    std::vector<std::uint32_t> rooms;
    for (const NarrowIndex i : order) {
        const std::uint32_t needed = lengths[i] + (packing.add_separator ? 1 : 0);
        std::size_t best = packs.size();
        for (std::size_t p = 0; p < packs.size(); ++p) {
            if (rooms[p] < needed) continue;
            if (best == packs.size() ||
                (packing.mode == LazarusPackingMode::best_fit && rooms[p] < rooms[best])) {
                best = p;
            }
        }
        if (best == packs.size()) {
            packs.emplace_back();
            rooms.push_back(packing.max_length - lengths[i]);
        } else {
            rooms[best] -= needed;
        }
        packs[best].push_back(i);
    }
    PackLayout<> layout;
    for (const auto& pack : packs) {
        layout.segments.insert(layout.segments.end(), pack.begin(), pack.end());
        layout.pack_begin.push_back(static_cast<NarrowIndex>(layout.segments.size()));
    }
    return layout;
}

TEST(LazarusPackingTest, EqualsTheScanOfAllPacks) {
    Dice dice(11);
    for (int round = 0; round < 300; ++round) {
        LazarusPacking packing;
        packing.mode = static_cast<LazarusPackingMode>(round % 3);
        packing.max_length = static_cast<std::uint32_t>(dice.roll(1, 80));
        packing.add_separator = dice.coin();
        std::vector<std::uint32_t> lengths(dice.roll(0, 200));
        for (std::uint32_t& length : lengths) {
            length = static_cast<std::uint32_t>(dice.roll(0, packing.max_length + 3));
        }
        const PackLayout found = pack_as_lazarus(lengths, packing).layout;
        const PackLayout expected = packed_by_scanning(lengths, packing);
        ASSERT_EQ(found.pack_begin, expected.pack_begin);
        ASSERT_EQ(found.segments, expected.segments);
    }
}

TEST(LazarusPackingTest, ReservesASeparatorWithoutAnId) {
    LazarusPacking packing;
    packing.max_length = 5;
    packing.add_separator = true;
    const std::vector<std::uint32_t> lengths{2, 3, 2};
    const LazarusPacks packs = pack_as_lazarus(lengths, packing);
    EXPECT_EQ(packs.layout.segments, (std::vector<NarrowIndex>{0, 2, 1}));
    const std::vector<LazarusSequence> sequences{{{1, 1}, {1, 1}}, {{2, 2, 2}, {1, 1, 1}}, {{3, 3}, {1, 1}}};
    EXPECT_EQ(lay_out_as_lazarus(packs.layout.pack(0), sequences, packing, 0).tokens, 4U);
}

}  // namespace

}  // namespace lockstep
