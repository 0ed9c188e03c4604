#include "io/tokenizer/merge_table.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/support/dice.h"

namespace lockstep {
namespace {

using Symbols = std::vector<std::uint32_t>;

struct Merged {
    Symbols symbols, begins;
    friend bool operator==(const Merged&, const Merged&) = default;
};

/// As the rule is told: of all pairs the one of the least rank, leftmost among equals, again and again.
Merged merged_by_the_word(const std::vector<MergeRule>& rules, const Symbols& symbols) {
    Merged result{symbols, {}};
    for (std::uint32_t i = 0; i < symbols.size(); ++i) result.begins.push_back(i);
    for (;;) {
        const MergeRule* best = nullptr;
        std::size_t place = 0;
        for (std::size_t i = 0; i + 1 < result.symbols.size(); ++i) {
            const MergeRule* found = nullptr;
            for (const MergeRule& rule : rules)
                if (rule.left == result.symbols[i] && rule.right == result.symbols[i + 1]) found = &rule;
            if (found == nullptr || (best != nullptr && found->rank >= best->rank)) continue;
            best = found;
            place = i;
        }
        if (best == nullptr) return result;
        const auto after = static_cast<std::ptrdiff_t>(place) + 1;
        result.symbols[place] = best->result;
        result.symbols.erase(result.symbols.begin() + after);
        result.begins.erase(result.begins.begin() + after);
    }
}

Merged merged_by(const MergeTable& table, const Symbols& symbols, MergeTable::Scratch& scratch) {
    Merged result{symbols, {}};
    table.merge_with_begins(result.symbols, scratch);
    result.begins = scratch.begins;
    Symbols alone = symbols;
    table.merge(alone, scratch);
    EXPECT_EQ(alone, result.symbols);
    return result;
}

enum class Ranks { ascending, any };

/// Rules over a small alphabet, of results that rules are made of in turn. With `any`, a rule may go before
/// those that make its parts, and several may have one rank.
std::vector<MergeRule> random_rules(Dice& dice, Ranks ranks) {
    const std::uint32_t letters = 1 + dice.below(4);
    const std::uint32_t count = 1 + dice.below(14);
    std::vector<MergeRule> rules;
    for (std::uint32_t i = 0; i < count; ++i) {
        const std::uint32_t known = letters + i;
        const std::uint32_t rank = ranks == Ranks::ascending ? i : dice.below(count);
        rules.push_back({dice.below(known), dice.below(known), rank, known});
    }
    return rules;
}

Symbols random_symbols(Dice& dice, const std::vector<MergeRule>& rules) {
    const auto base = static_cast<std::uint32_t>(rules.front().result);
    Symbols symbols(65 + dice.below(200));
    const std::uint32_t period = dice.below(2) == 0 ? 1 + dice.below(9) : ~0U;
    for (std::size_t i = 0; i < symbols.size(); ++i)
        symbols[i] = i < period ? dice.below(base) : symbols[i - period];
    return symbols;
}

TEST(MergeTableTest, LongWordsMergeAsTheRuleIsTold) {
    Dice dice(1);
    for (int round = 0; round < 4000; ++round) {
        const std::vector<MergeRule> rules =
            random_rules(dice, round % 2 == 0 ? Ranks::ascending : Ranks::any);
        const Symbols symbols = random_symbols(dice, rules);
        const Merged expected = merged_by_the_word(rules, symbols);
        const MergeTable table(rules);
        MergeTable::Scratch scratch;
        ASSERT_EQ(merged_by(table, symbols, scratch), expected) << "round " << round;
        for (const std::size_t window : {20U, 33U, 64U, 100U}) {
            scratch.window_symbols = window;
            ASSERT_EQ(merged_by(table, symbols, scratch), expected)
                << "round " << round << ", windows of " << window;
        }
    }
}

TEST(MergeTableTest, RunsOfOneSymbolAreCutAlikeInEveryWindow) {
    // Powers of two up to 2^6: what is left over of a run depends on where it ends.
    std::vector<MergeRule> rules;
    for (std::uint32_t i = 0; i < 6; ++i) rules.push_back({i, i, i, i + 1});
    const MergeTable table(rules);
    MergeTable::Scratch scratch;
    for (const std::size_t length : {65U, 1000U, 100'003U}) {
        const Symbols symbols(length, 0);
        Symbols expected(length / 64, 6);
        for (std::uint32_t bit = 6; bit-- > 0;)
            if ((length >> bit & 1U) != 0) expected.push_back(bit);
        for (const std::size_t window : {64U, 1000U, 1U << 15U, 1U << 20U}) {
            scratch.window_symbols = window;
            Symbols merged = symbols;
            table.merge(merged, scratch);
            EXPECT_EQ(merged, expected) << length << " in windows of " << window;
            if (window > 64) {
                EXPECT_LE(scratch.places.size(), window) << "merged in one";
            }
        }
    }
}

/// What ends a word takes all that is before it: windows that do not see the end merge otherwise, and are
/// found not to fit.
TEST(MergeTableTest, WindowsThatDoNotMeetAreMergedInOne) {
    const std::vector<MergeRule> rules = {{0, 1, 0, 1}, {0, 0, 1, 2}};
    const MergeTable table(rules);
    MergeTable::Scratch scratch;
    for (const std::size_t window : {64U, 400U}) {
        scratch.window_symbols = window;
        Symbols symbols(1000, 0);
        symbols.push_back(1);
        table.merge(symbols, scratch);
        EXPECT_EQ(symbols, Symbols{1});
    }
}

/// A rule that reaches across the whole word: windows do not meet, and the word is merged in one piece.
TEST(MergeTableTest, AChainThroughAllOfAWordIsFollowed) {
    // a + b -> a, first of all: the a in front takes every b behind it.
    const std::vector<MergeRule> rules = {{0, 1, 0, 0}, {1, 1, 1, 2}};
    const MergeTable table(rules);
    MergeTable::Scratch scratch;
    scratch.window_symbols = 64;
    Symbols symbols(20'000, 1);
    symbols[0] = 0;
    table.merge_with_begins(symbols, scratch);
    EXPECT_EQ(symbols, Symbols{0});
    EXPECT_EQ(scratch.begins, Symbols{0});
}

}  // namespace
}  // namespace lockstep
