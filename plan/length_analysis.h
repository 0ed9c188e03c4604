// plan/length_analysis.h
//
// What the lengths of a data set say before anything is planned: percentiles,
// histogram, what padding costs and what packing saves. Everything works on counts
// of distinct lengths, so that it costs as much for 10^8 samples as for 10^5 once
// they are counted.
//
// Percentiles, bins and bucket efficiency are defined as in Lazarus.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

struct LengthCount {
    std::uint32_t tokens = 0;
    std::uint64_t samples = 0;  ///< ≥ 1
    friend bool operator==(const LengthCount&, const LengthCount&) = default;
};

/// Distinct lengths, ascending, and how often each occurs. O(n) for lengths below 2^22, O(n log n) beyond.
std::vector<LengthCount> count_lengths(std::span<const std::uint32_t> sample_tokens);

struct LengthSummary {
    std::uint64_t samples = 0, tokens = 0;
    std::uint32_t min = 0, max = 0;
    double mean = 0, deviation = 0;  ///< Of the whole, not of a draw from it.
    std::uint32_t p10 = 0, p25 = 0, p50 = 0, p75 = 0, p90 = 0, p95 = 0, p99 = 0;
};

/// The p-th percentile is sorted[min(floor(n · p / 100), n − 1)]. @pre samples ≥ 1.
std::uint32_t length_percentile(std::span<const LengthCount> lengths, unsigned percent);
/// @throws Error{invalid_argument} without samples.
LengthSummary summarize_lengths(std::span<const LengthCount> lengths);

/// Samples with lengths in [begin, end).
struct LengthBin {
    std::uint64_t begin = 0, end = 0, samples = 0;
};

/// Bins of width max(1, (max − min + 1) / num_bins) from the shortest on, until the longest is in one; so
/// there may be more than asked for. @pre num_bins ≥ 1.
std::vector<LengthBin> equal_bins(std::span<const LengthCount> lengths, std::uint64_t num_bins);
/// Bins that end at powers of two: lengths spread over decades.
std::vector<LengthBin> doubling_bins(std::span<const LengthCount> lengths);

/// How many samples are longer than that.
std::uint64_t samples_above(std::span<const LengthCount> lengths, std::uint32_t tokens);

/// Lengths of what samples are trained as: those longer than `tokens_max` in pieces of it, each repeating one
/// token, as `--long split` cuts them. Ascending, without those of 0.
/// @throws Error{invalid_argument} if tokens_max is below 2 and a sample is longer.
std::vector<LengthCount> cut_long_samples(std::span<const LengthCount> lengths, std::uint32_t tokens_max);

struct BucketUse {
    std::uint32_t low = 0, upper = 0;  ///< Lengths in [low, upper].
    std::uint64_t samples = 0, tokens = 0, padded_tokens = 0;

    double efficiency() const;  ///< 1 when empty.
};

struct BucketUses {
    std::vector<BucketUse> buckets;
    std::uint64_t samples = 0, tokens = 0, padded_tokens = 0;

    double efficiency() const;
};

/// Samples of length 0 take no part. What is longer than the last bucket counts there, with all its tokens
/// and padded to the upper edge, as in Lazarus: cut_long_samples first for what a plan makes of it.
/// @throws Error{invalid_argument} unless edges ascend below overflow_max.
BucketUses use_of_buckets(std::span<const LengthCount> lengths, std::span<const std::uint32_t> edges,
                          std::uint32_t overflow_max);

/// What computing on these samples costs, padded and packed. Samples over the budget are cut first.
struct WasteComparison {
    std::uint64_t token_budget = 0;
    std::uint64_t segments = 0, tokens = 0;
    std::uint64_t long_samples = 0, overlap_tokens = 0;
    std::uint64_t padded_to_longest = 0;  ///< Every segment at the longest's length.
    std::uint64_t padded_to_bucket = 0;   ///< At its bucket's edge, nothing longer than the last.
    std::uint64_t packs = 0, packs_lower_bound = 0;
    std::uint64_t packed = 0;  ///< packs · token_budget
};

/// @throws Error{invalid_argument} on a budget below 2 with longer samples, or out of [1, 2^31).
WasteComparison compare_waste(std::span<const LengthCount> lengths, std::span<const std::uint32_t> edges,
                              std::uint32_t overflow_max, std::uint32_t token_budget);

/// Something to change, and what it would save.
struct LengthAdvice {
    std::string subject;             ///< "packing", "edges", "empty_buckets", … : for programs.
    std::string text;                ///< One sentence or two, with numbers.
    std::uint64_t tokens_saved = 0;  ///< Padded tokens an epoch; 0 when it is not about padding.
};

/// Most saving first.
std::vector<LengthAdvice> advise_on_lengths(std::span<const LengthCount> lengths,
                                            std::span<const std::uint32_t> edges, std::uint32_t overflow_max,
                                            std::uint32_t token_budget);

}  // namespace lockstep
