#include "io/run/state_digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <span>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

Cursor some_cursor() {
    Cursor cursor;
    cursor.plan.bytes[0] = 1;
    cursor.model.bytes[0] = 2;
    cursor.numerics = "fma256";
    cursor.next_step = 7;
    cursor.epoch = 1;
    cursor.targets_seen = 1000;
    cursor.scale_exponent = 42;
    cursor.clean_steps = 5;
    cursor.skipped_in_a_row = 1;
    cursor.ledger_root.bytes[0] = 3;
    return cursor;
}

std::vector<float> values(std::size_t count, float first) {
    std::vector<float> v(count);
    for (std::size_t i = 0; i < count; ++i) v[i] = first + static_cast<float>(i);
    return v;
}

Fingerprint root_of(std::span<const float> all) {
    std::vector<Fingerprint> leaves;
    for (std::size_t begin = 0; begin < all.size(); begin += state_leaf_elements) {
        leaves.push_back(state_leaf(all.subspan(begin, std::min(state_leaf_elements, all.size() - begin))));
    }
    return state_tree_root(leaves);
}

TEST(StateDigestTest, EveryFieldCounts) {
    Fingerprint weights, m, v;
    weights.bytes[0] = 4;
    m.bytes[0] = 5;
    v.bytes[0] = 6;
    std::set<Fingerprint> seen = {state_digest(some_cursor(), weights, m, v)};
    const std::function<void(Cursor&)> changes[] = {
        [](Cursor& c) { c.plan.bytes[31] = 1; },
        [](Cursor& c) { c.model.bytes[31] = 1; },
        [](Cursor& c) { c.numerics = "fma257"; },
        [](Cursor& c) { ++c.next_step; },
        [](Cursor& c) { ++c.epoch; },
        [](Cursor& c) { ++c.targets_seen; },
        [](Cursor& c) { c.scale_exponent = -42; },
        [](Cursor& c) { ++c.clean_steps; },
        [](Cursor& c) { ++c.skipped_in_a_row; },
        [](Cursor& c) { c.ledger_root.bytes[31] = 1; },
    };
    for (const auto& change : changes) {
        Cursor cursor = some_cursor();
        change(cursor);
        EXPECT_TRUE(seen.insert(state_digest(cursor, weights, m, v)).second);
    }
    EXPECT_TRUE(seen.insert(state_digest(some_cursor(), m, weights, v)).second);
    EXPECT_TRUE(seen.insert(state_digest(some_cursor(), weights, v, m)).second);
}

TEST(StateDigestTest, TheTreeKnowsItsLeavesAndTheirOrder) {
    const Fingerprint a = state_leaf(values(3, 0));
    const Fingerprint b = state_leaf(values(3, 1));
    EXPECT_NE(a, b);
    EXPECT_NE(state_leaf(values(2, 0)), a);
    const auto root = [](const std::vector<Fingerprint>& leaves) { return state_tree_root(leaves); };
    EXPECT_NE(root({a, b}), root({b, a}));
    EXPECT_NE(root({a}), root({a, a}));
    EXPECT_NE(root({a}), a);
    // The bits count, not the values.
    EXPECT_NE(state_leaf(std::vector<float>{0.0F}), state_leaf(std::vector<float>{-0.0F}));
}

TEST(StateDigestTest, AStoredGenerationGivesTheSameForEveryWorldSize) {
    const TemporaryDirectory run;
    constexpr std::size_t elements = state_leaf_elements + 5000;
    const std::vector<float> state[3] = {values(elements, 0), values(elements, 0.5F),
                                         values(elements, 0.25F)};
    Cursor cursor = some_cursor();
    cursor.next_step = 0;
    cursor.ledger_root = empty_ledger_root();
    const Fingerprint expected =
        state_digest(cursor, root_of(state[0]), root_of(state[1]), root_of(state[2]));
    for (const int world : {1, 3}) {
        Manifest manifest;
        manifest.cursor = cursor;
        manifest.state_elements = elements;
        for (int rank = 0; rank < world; ++rank) {
            const std::size_t begin =
                elements * static_cast<std::size_t>(rank) / static_cast<std::size_t>(world);
            const std::size_t end =
                elements * static_cast<std::size_t>(rank + 1) / static_cast<std::size_t>(world);
            const auto part = [&](const std::vector<float>& all) {
                return std::span(all).subspan(begin, end - begin);
            };
            manifest.shards.push_back(write_shard(generation_directory(run.path(), 0), Rank{rank},
                                                  WorldSize{world}, cursor, begin, part(state[0]),
                                                  part(state[1]), part(state[2])));
        }
        EXPECT_EQ(state_digest_of(GenerationReader::open(run.path(), manifest), elements), expected) << world;
    }
}

// Fixed for ever: a change here means that old runs no longer verify.
TEST(StateDigestTest, GoldenValue) {
    const Fingerprint root = root_of(values(10, 1));
    EXPECT_EQ(state_digest(some_cursor(), root, root, root).hex(),
              "1dd46d99a6129f1dc27dc28972113ddf89926116e25fd42eb849d87ca5b9e4e0");
}

}  // namespace
}  // namespace lockstep
