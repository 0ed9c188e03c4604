// tests/plan/plan_support.h
//
// Seeded random inputs for the planner, and small helpers to look at what it made.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/plan_stats.h"
#include "plan/validate_plan.h"
#include "tests/support/dice.h"
#include "tests/support/error_of.h"

namespace lockstep {

/// A source that owns its columns.
struct TestSource {
    std::string name = "test";
    std::vector<std::uint32_t> sample_tokens;
    std::vector<std::uint64_t> loss_span_begin;
    std::vector<std::uint32_t> loss_spans;
    std::vector<double> sample_score;
    std::uint64_t weight = 0;
    std::uint32_t passes = 0, passes_max = 0;
    bool lengths_only = false;

    SourceLengths view() const {
        SourceLengths lengths;
        lengths.source.name = name;
        lengths.source.lengths.bytes[0] = 1;
        lengths.source.tokenizer.bytes[0] = 2;
        if (!lengths_only) lengths.source.corpus.bytes[0] = 3;
        lengths.sample_tokens = sample_tokens;
        lengths.loss_span_begin = loss_span_begin;
        lengths.loss_spans = loss_spans;
        lengths.lengths_only = lengths_only;
        lengths.sample_score = sample_score;
        lengths.source.weight = weight;
        lengths.source.passes = passes;
        lengths.source.passes_max = passes_max;
        return lengths;
    }
};

inline std::vector<SourceLengths> views_of(const std::vector<TestSource>& sources) {
    std::vector<SourceLengths> views;
    for (const TestSource& source : sources) views.push_back(source.view());
    return views;
}

/// Lengths whose logarithm is about uniform: many short, few long. Integers only, so that goldens hold
/// anywhere.
inline std::vector<std::uint32_t> long_tailed_lengths(std::uint64_t seed, std::size_t count,
                                                      std::uint64_t longest) {
    Dice dice(seed);
    std::vector<std::uint32_t> lengths(count);
    for (std::uint32_t& length : lengths) {
        std::uint64_t top = longest;
        for (std::uint64_t halvings = dice.roll(0, 6); halvings > 0 && top > 1; --halvings) top /= 2;
        length = static_cast<std::uint32_t>(dice.roll(1, top));
    }
    return lengths;
}

/// Random loss spans for every sample: ascending, disjoint, sometimes none.
inline void add_random_spans(TestSource& source, Dice& dice) {
    source.loss_span_begin = {0};
    source.loss_spans.clear();
    for (const std::uint64_t tokens : source.sample_tokens) {
        std::uint64_t position = 0;
        for (std::uint64_t spans = dice.roll(0, 3); spans > 0; --spans) {
            const std::uint64_t begin = dice.roll(position, tokens);
            const std::uint64_t end = dice.roll(begin, tokens);
            source.loss_spans.push_back(static_cast<std::uint32_t>(begin));
            source.loss_spans.push_back(static_cast<std::uint32_t>(end));
            position = end;
        }
        source.loss_span_begin.push_back(source.loss_spans.size() / 2);
    }
}

inline BatchPlan build_plan(const PlanOptions& options, const TestSource& source) {
    const SourceLengths view = source.view();
    return build_plan(options, std::span(&view, 1));
}

inline void validate_plan(const BatchPlan& plan, const TestSource& source) {
    const SourceLengths view = source.view();
    validate_plan(plan, std::span(&view, 1));
}

}  // namespace lockstep
