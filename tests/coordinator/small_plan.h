// tests/coordinator/small_plan.h
//
// Two small corpora and their plan: split samples, loss spans, and a pack that
// predicts nothing.

#pragma once

#include <algorithm>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "coordinator/plan_store.h"
#include "tests/support/small_corpus.h"

namespace lockstep {

inline constexpr std::uint32_t small_budget = 24;

/// Lengths from 1 to three budgets; everything is trained.
inline std::vector<SmallSample> plain_samples() {
    std::vector<SmallSample> samples;
    for (std::uint64_t i = 0; i < 30; ++i) samples.push_back({small_tokens(1 + i * 7 % 23, i), {}, {}});
    samples.push_back({small_tokens(3 * small_budget, 100), {}, {}});
    return samples;
}

/// Within the budget, with loss spans; the last one fills a pack and trains nothing.
inline std::vector<SmallSample> answered_samples() {
    std::vector<SmallSample> samples;
    for (std::uint32_t i = 0; i < 12; ++i) {
        const std::uint32_t tokens = 6 + i;
        samples.push_back({small_tokens(tokens, 200 + i), std::vector<LossSpan>{{0, 2}, {4, tokens}}, {}});
        samples.back().key = "answer-" + std::to_string(i);
    }
    samples.push_back({small_tokens(small_budget, 300), std::vector<LossSpan>{}, "unanswered"});
    return samples;
}

inline PlanOptions small_options() {
    PlanOptions options;
    options.token_budget = small_budget;
    options.packs_per_step = 3;
    options.epochs = 2;
    return options;
}

inline BatchPlan plan_of(const PlanOptions& options, const std::vector<PlanInput>& inputs) {
    std::vector<SourceLengths> lengths;
    for (const PlanInput& input : inputs) lengths.push_back(input.lengths());
    return build_plan(options, lengths);
}

/// Lengths alone, all the same.
struct EqualLengths {
    EqualLengths(std::size_t samples, std::uint32_t tokens) : lengths(samples, tokens) {
        source.source.name = "equal";
        source.source.lengths.bytes[0] = 1;
        source.sample_tokens = lengths;
        source.lengths_only = true;
    }
    EqualLengths(const EqualLengths&) = delete;
    EqualLengths& operator=(const EqualLengths&) = delete;
    std::span<const SourceLengths> sources() const { return {&source, 1}; }

    std::vector<std::uint32_t> lengths;
    SourceLengths source;
};

struct SmallPlan {
    std::vector<PlanInput> inputs;
    BatchPlan plan;

    explicit SmallPlan(const std::filesystem::path& folder, const PlanOptions& options = small_options()) {
        inputs.push_back(PlanInput::open(write_small_corpus(folder / "plain.h5", plain_samples()), "plain"));
        inputs.push_back(
            PlanInput::open(write_small_corpus(folder / "answered.h5", answered_samples()), "answered"));
        plan = plan_of(options, inputs);
    }
};

/// Some pack with or without targets.
inline std::uint64_t pack_with_targets(const BatchPlan& plan, bool any) {
    const auto found = std::find_if(plan.pack_targets.begin(), plan.pack_targets.end(),
                                    [&](std::uint32_t targets) { return (targets > 0) == any; });
    return static_cast<std::uint64_t>(found - plan.pack_targets.begin());
}

inline std::uint64_t step_of_pack(const BatchPlan& plan, std::uint64_t pack) {
    const auto after = std::upper_bound(plan.step_begin.begin(), plan.step_begin.end(), pack);
    return static_cast<std::uint64_t>(after - plan.step_begin.begin()) - 1;
}

}  // namespace lockstep
