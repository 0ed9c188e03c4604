// plan/plan_diff.h
//
// What distinguishes two plans: the first place where their orders part, found
// through the fingerprint tree (equal nodes are not looked into), and the settings
// that differ.

#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "plan/plan_view.h"

namespace lockstep {

/// The first difference, from the outside in.
struct PlanDifference {
    std::string field;  ///< "segment_sample", "segments of the pack", "steps of the epoch", …
    std::uint64_t epoch = 0;
    std::uint64_t step = 0;
    std::optional<std::uint64_t> pack;     ///< In the whole plan.
    std::optional<std::uint64_t> segment;  ///< In its pack.
    std::string a, b;                      ///< The values; "none" where one has no such thing.

    std::string text()
        const;  ///< "epoch 0, step 12, pack 96, segment 3: segment_sample is 5, 7 in the other"
};

/// First difference of the orders in steps [0, step_end); none: they are the same there. What is no order
/// (options, sources) is not compared.
std::optional<PlanDifference> first_difference(
    const PlanView& a, const PlanView& b, std::uint64_t step_end = std::numeric_limits<std::uint64_t>::max());

/// One line of a summary.
struct SettingDifference {
    std::string what;  ///< "option token_budget", "source 0 'web': corpus", "steps", …
    std::string a, b;
};
/// Options, algorithms, sources, dispositions, parent and counts that differ; empty for equal plans.
std::vector<SettingDifference> setting_differences(const PlanView& a, const PlanView& b);

/// Leaves the two trees do not share, of the longer tree's.
struct ChunkCounts {
    std::uint64_t differing = 0;
    std::uint64_t chunks = 0;
};
ChunkCounts count_differing_chunks(const PlanView& a, const PlanView& b);

}  // namespace lockstep
