// plan/dispositions.h
//
// What becomes of each sample: the segments it is trained in, and a row for every
// sample that is not trained whole. The first arrow of the road, and the only one
// that may lose tokens; it says which.
//
// Splitting repeats the previous piece's last token as a piece's first, which then
// predicts nothing new but is seen: every token but a sample's first stays a target.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/batch_plan.h"

namespace lockstep {

/// Number of a segment within one epoch. An epoch holds fewer than 2^32 segments.
using SegmentIndex = std::uint32_t;

/// The segments of one epoch, ascending by (sample, offset). Columns of equal length.
struct SegmentTable {
    std::vector<std::uint64_t> sample;   ///< Global sample id.
    std::vector<std::uint32_t> offset;   ///< First token, within the sample.
    std::vector<std::uint32_t> tokens;   ///< [1, segment_tokens_max]
    std::vector<std::uint32_t> targets;  ///< Empty if no source has loss spans: then tokens − 1 each.

    std::size_t size() const { return tokens.size(); }
};

struct Fates {
    SegmentTable segments;
    std::vector<Disposition> dispositions;  ///< Ascending by sample.
};

/// Cut every sample into segments of at most segment_tokens_max(options) tokens.
///
/// Samples of a source are numbered after those of the sources before it. An empty sample is not planned; one
/// without targets is. Pieces of a split sample are as long as the limit allows, the last one at least two
/// tokens.
///
/// @throws Error{invalid_argument} naming a sample of 2^32 tokens or more, or over the limit under
/// LongPolicy::error (or
///         under split with a limit of 1), or 2^32 segments or more; Error{corrupt_data} naming a sample
///         whose loss spans are not ascending, disjoint and within it.
Fates decide_fates(const PlanOptions& options, std::span<const SourceLengths> sources);

/// Targets of a segment of a source's sample: tokens after the segment's first that lie in a loss span.
/// @pre The segment lies within the sample, whose loss spans are sound.
std::uint32_t segment_targets(const SourceLengths& source, std::uint64_t sample_in_source,
                              std::uint32_t offset, std::uint32_t tokens);

}  // namespace lockstep
