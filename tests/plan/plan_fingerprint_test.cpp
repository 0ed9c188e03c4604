#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "plan/batch_plan.h"
#include "plan/plan_chunk.h"
#include "tests/plan/plan_support.h"

namespace lockstep {
namespace {

BatchPlan sample_plan(PlanMode mode) {
    TestSource source;
    source.sample_tokens = long_tailed_lengths(1, 120, 200);
    source.sample_tokens[7] = 0;
    source.sample_tokens[9] = 500;
    Dice dice(1);
    add_random_spans(source, dice);
    PlanOptions options;
    options.mode = mode;
    options.token_budget = 256;
    options.packs_per_step = 3;
    options.epochs = 2;
    options.long_policy = LongPolicy::split;
    options.bucket_edges = {16, 64};
    options.bucket_overflow_max = 256;
    return build_plan(options, source);
}

/// Collects fingerprints and fails on a repetition.
class Distinct {
  public:
    void add(const BatchPlan& plan, const std::string& what) {
        EXPECT_TRUE(seen_.insert(fingerprint_plan(plan).plan).second) << "not distinguished: " << what;
    }
    std::size_t size() const { return seen_.size(); }

  private:
    std::set<Fingerprint> seen_;
};

template <class T>
void add_one_to_each(const BatchPlan& plan, std::vector<T> BatchPlan::*column, const std::string& name,
                     Distinct& distinct) {
    for (std::size_t i = 0; i < (plan.*column).size(); ++i) {
        BatchPlan changed = plan;
        ++(changed.*column)[i];
        distinct.add(changed, name + "[" + std::to_string(i) + "]");
    }
}

/// Moves each inner boundary by one, in both directions, where there is room.
void move_each_boundary(const BatchPlan& plan, std::vector<std::uint64_t> BatchPlan::*column,
                        const std::string& name, Distinct& distinct) {
    for (std::size_t i = 1; i + 1 < (plan.*column).size(); ++i) {
        BatchPlan changed = plan;
        ++(changed.*column)[i];
        if ((changed.*column)[i] <= (plan.*column)[i + 1]) distinct.add(changed, name + " up");
        changed = plan;
        --(changed.*column)[i];
        if ((changed.*column)[i] >= (plan.*column)[i - 1]) distinct.add(changed, name + " down");
    }
}

TEST(PlanFingerprintTest, EveryColumnAndBoundaryCounts) {
    for (const auto mode : {PlanMode::pack, PlanMode::bucket}) {
        const BatchPlan plan = sample_plan(mode);
        Distinct distinct;
        distinct.add(plan, "the plan itself");
        add_one_to_each(plan, &BatchPlan::segment_sample, "segment_sample", distinct);
        add_one_to_each(plan, &BatchPlan::segment_offset, "segment_offset", distinct);
        add_one_to_each(plan, &BatchPlan::segment_tokens, "segment_tokens", distinct);
        add_one_to_each(plan, &BatchPlan::pack_targets, "pack_targets", distinct);
        add_one_to_each(plan, &BatchPlan::pack_cost, "pack_cost", distinct);
        add_one_to_each(plan, &BatchPlan::pack_bucket, "pack_bucket", distinct);
        add_one_to_each(plan, &BatchPlan::pack_pad_tokens, "pack_pad_tokens", distinct);
        move_each_boundary(plan, &BatchPlan::pack_begin, "pack_begin", distinct);
        move_each_boundary(plan, &BatchPlan::step_begin, "step_begin", distinct);
        move_each_boundary(plan, &BatchPlan::epoch_begin, "epoch_begin", distinct);
        for (std::size_t i = 0; i + 1 < plan.num_segments(); ++i) {
            BatchPlan changed = plan;
            std::swap(changed.segment_sample[i], changed.segment_sample[i + 1]);
            std::swap(changed.segment_offset[i], changed.segment_offset[i + 1]);
            std::swap(changed.segment_tokens[i], changed.segment_tokens[i + 1]);
            distinct.add(changed, "order of segments");
        }
        EXPECT_GT(distinct.size(), 5 * plan.num_segments() / 2);
    }
}

TEST(PlanFingerprintTest, EveryOptionAndSettingCounts) {
    const BatchPlan plan = sample_plan(PlanMode::bucket);
    const std::vector<std::pair<const char*, std::function<void(BatchPlan&)>>> changes = {
        {"nothing", [](BatchPlan&) {}},
        {"mode", [](BatchPlan& p) { p.options.mode = PlanMode::pack; }},
        {"token_budget", [](BatchPlan& p) { ++p.options.token_budget; }},
        {"packs_per_step", [](BatchPlan& p) { ++p.options.packs_per_step; }},
        {"epochs", [](BatchPlan& p) { ++p.options.epochs; }},
        {"seed", [](BatchPlan& p) { ++p.options.seed; }},
        {"packing", [](BatchPlan& p) { p.options.packing = PackingPolicy::best_fit_decreasing; }},
        {"order", [](BatchPlan& p) { p.options.order = PackOrder::in_order; }},
        {"long_policy", [](BatchPlan& p) { p.options.long_policy = LongPolicy::drop; }},
        {"balance", [](BatchPlan& p) { p.options.balance = !p.options.balance; }},
        {"predictable", [](BatchPlan& p) { p.options.predictable = true; }},
        {"token_cost", [](BatchPlan& p) { ++p.options.cost.token_cost; }},
        {"square_cost", [](BatchPlan& p) { ++p.options.cost.square_cost; }},
        {"bucket_edges", [](BatchPlan& p) { ++p.options.bucket_edges[1]; }},
        {"fewer bucket_edges", [](BatchPlan& p) { p.options.bucket_edges.pop_back(); }},
        {"bucket_overflow_max", [](BatchPlan& p) { ++p.options.bucket_overflow_max; }},
        {"algorithm", [](BatchPlan& p) { p.algorithms[0] += "1"; }},
        {"fewer algorithms", [](BatchPlan& p) { p.algorithms.pop_back(); }},
        {"algorithms joined",
         [](BatchPlan& p) {
             p.algorithms[0] += p.algorithms[1];
             p.algorithms.erase(p.algorithms.begin() + 1);
         }},
        {"lengths", [](BatchPlan& p) { ++p.sources[0].lengths.bytes[31]; }},
        {"tokenizer", [](BatchPlan& p) { ++p.sources[0].tokenizer.bytes[31]; }},
        {"tokenizer_hash", [](BatchPlan& p) { p.sources[0].tokenizer_hash = "x"; }},
        {"corpus", [](BatchPlan& p) { ++p.sources[0].corpus.bytes[31]; }},
        {"sample_base", [](BatchPlan& p) { ++p.sources[0].sample_base; }},
        {"num_samples", [](BatchPlan& p) { ++p.sources[0].num_samples; }},
        {"another source", [](BatchPlan& p) { p.sources.emplace_back(); }},
        {"disposition sample", [](BatchPlan& p) { ++p.dispositions[0].sample; }},
        {"disposition kind", [](BatchPlan& p) { p.dispositions[0].kind = DispositionKind::dropped; }},
        {"disposition tokens_lost", [](BatchPlan& p) { ++p.dispositions[0].tokens_lost; }},
        {"fewer dispositions", [](BatchPlan& p) { p.dispositions.pop_back(); }},
        {"no targets", [](BatchPlan& p) { p.pack_targets.clear(); }},
        {"parent", [](BatchPlan& p) { p.parent = Fingerprint{}; }},
        {"from_step", [](BatchPlan& p) { ++p.from_step; }},
    };
    Distinct distinct;
    for (const auto& [what, change] : changes) {
        BatchPlan changed = plan;
        change(changed);
        distinct.add(changed, what);
    }
}

TEST(PlanFingerprintTest, TheStoredWidthDoesNotCount) {
    const BatchPlan plan = sample_plan(PlanMode::pack);
    PlanChunkColumns chunk = chunk_of(plan, 0, plan.num_steps());
    const Fingerprint wide = fingerprint_chunk(chunk);
    const std::vector<std::uint32_t> narrow(plan.segment_sample.begin(), plan.segment_sample.end());
    chunk.segment_sample = std::span<const std::uint32_t>(narrow);
    EXPECT_EQ(fingerprint_chunk(chunk), wide);
}

// A column is hashed at the least width that holds it: each step from one width to the next is another leaf.
TEST(PlanFingerprintTest, ValuesOfEveryWidthCount) {
    const BatchPlan plan = sample_plan(PlanMode::pack);
    std::set<Fingerprint> seen;
    std::size_t changes = 0;
    for (const std::uint64_t value : {0ULL, 1ULL, 0xFFULL, 0x100ULL, 0xFFFFULL, 0x10000ULL, 0xFFFFFFFFULL,
                                      0x100000000ULL, 0xFFFFFFFFFFULL, ~0ULL}) {
        for (const std::size_t place : {std::size_t{0}, plan.pack_cost.size() - 1}) {
            BatchPlan changed = plan;
            std::ranges::fill(changed.pack_cost, 0);
            changed.pack_cost[place] = value;
            seen.insert(fingerprint_chunk(changed, 0, plan.num_steps()));
            changes += value == 0 && place > 0 ? 0 : 1;
        }
    }
    EXPECT_EQ(seen.size(), changes);
}

TEST(PlanFingerprintTest, NamesForPeopleDoNotCount) {
    BatchPlan plan = sample_plan(PlanMode::pack);
    plan.sources[0].name = "elsewhere";
    EXPECT_EQ(fingerprint_plan(plan), plan.fingerprints);
}

/// A plan with one pack a step whose segments are these samples, a token each.
BatchPlan plan_of(const std::vector<std::vector<std::uint64_t>>& packs) {
    BatchPlan plan;
    for (const auto& pack : packs) {
        for (const std::uint64_t sample : pack) {
            plan.segment_sample.push_back(sample);
            plan.segment_offset.push_back(0);
            plan.segment_tokens.push_back(1);
        }
        plan.pack_begin.push_back(plan.num_segments());
        plan.pack_cost.push_back(1);
        plan.step_begin.push_back(plan.num_packs());
    }
    plan.epoch_begin.push_back(plan.num_steps());
    return plan;
}

TEST(PlanFingerprintTest, PlansThatCollideInLazarusDoNotHere) {
    std::ifstream file(LOCKSTEP_TEST_DATA "/lazarus/fingerprint-collisions.json");
    const auto golden = nlohmann::json::parse(file);
    ASSERT_EQ(golden.at("cases").size(), 3U);
    for (const auto& pair : golden.at("cases")) {
        ASSERT_EQ(pair.at("fp_a"), pair.at("fp_b"));
        std::map<std::string, std::uint64_t> number;
        const auto read = [&](const char* name) {
            std::vector<std::vector<std::uint64_t>> packs;
            for (const auto& batch : pair.at(name)) {
                packs.emplace_back();
                for (const auto& id : batch)
                    packs.back().push_back(number.emplace(id, number.size()).first->second);
            }
            return plan_of(packs);
        };
        EXPECT_NE(fingerprint_plan(read("plan_a")).plan, fingerprint_plan(read("plan_b")).plan);
    }
    // The same samples, cut elsewhere.
    EXPECT_NE(fingerprint_plan(plan_of({{0, 1}, {2}})).plan, fingerprint_plan(plan_of({{0}, {1, 2}})).plan);
}

TEST(PlanFingerprintTest, ChunksTileTheEpochsAndRecomputeAlone) {
    TestSource source;
    source.sample_tokens.assign(2500, 4);
    PlanOptions options;
    options.token_budget = 4;
    options.packs_per_step = 1;
    options.epochs = 2;
    const BatchPlan plan = build_plan(options, source);
    const PlanFingerprints& tree = plan.fingerprints;
    EXPECT_EQ(tree.chunk_begin, (std::vector<std::uint64_t>{0, 1024, 2048, 2500, 3524, 4548, 5000}));
    for (std::size_t c = 0; c < tree.chunks.size(); ++c) {
        EXPECT_EQ(fingerprint_chunk(plan, tree.chunk_begin[c], tree.chunk_begin[c + 1]), tree.chunks[c]);
    }
}

TEST(PlanFingerprintTest, AChangeMovesOnlyItsPathInTheTree) {
    TestSource source;
    source.sample_tokens.assign(2500, 4);
    PlanOptions options;
    options.token_budget = 4;
    options.packs_per_step = 1;
    options.epochs = 2;
    BatchPlan plan = build_plan(options, source);
    std::swap(plan.segment_sample[1100], plan.segment_sample[1101]);
    const PlanFingerprints changed = fingerprint_plan(plan);
    for (std::size_t c = 0; c < changed.chunks.size(); ++c) {
        EXPECT_EQ(changed.chunks[c] == plan.fingerprints.chunks[c], c != 1);
    }
    EXPECT_NE(changed.epochs[0], plan.fingerprints.epochs[0]);
    EXPECT_EQ(changed.epochs[1], plan.fingerprints.epochs[1]);
    EXPECT_EQ(changed.settings, plan.fingerprints.settings);
    EXPECT_NE(changed.order, plan.fingerprints.order);
    EXPECT_NE(changed.plan, plan.fingerprints.plan);
}

}  // namespace
}  // namespace lockstep
