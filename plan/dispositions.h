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

/// The segments that every pass over the sources consists of, ascending by (sample, offset). Columns that say
/// nothing are absent: where every sample is one whole segment, only lengths are there, and those of a single
/// source are borrowed from it.
class SegmentTable {
  public:
    SegmentTable() = default;
    SegmentTable(SegmentTable&&) = default;
    SegmentTable& operator=(SegmentTable&&) = default;

    std::span<const std::uint32_t> tokens;  ///< (segments) [1, segment_tokens_max]
    std::vector<std::uint64_t> sample;      ///< Global sample ids; empty: segment i is sample i.
    std::vector<std::uint32_t> offset;      ///< First token, within the sample; empty: 0 throughout.
    std::vector<std::uint32_t> targets;     ///< Empty if no source has loss spans: then tokens − 1 each.
    std::vector<std::uint32_t> own_tokens;  ///< What `tokens` shows, unless borrowed.

    std::size_t size() const { return tokens.size(); }
    std::uint64_t sample_of(std::uint64_t segment) const {
        return sample.empty() ? segment : sample[segment];
    }
    std::uint32_t offset_of(std::uint64_t segment) const { return offset.empty() ? 0 : offset[segment]; }
    std::uint32_t targets_of(std::uint64_t segment) const {
        return targets.empty() ? tokens[segment] - 1 : targets[segment];
    }
};

struct Fates {
    SegmentTable segments;
    std::vector<Disposition> dispositions;  ///< Ascending by sample.
};

/// Cut every sample into segments of at most segment_tokens_max(options) tokens. Under
/// PackingPolicy::concatenate samples are laid end to end and cut wherever a pack is full as well; packing
/// the segments in order then gives those packs.
///
/// Samples of a source are numbered after those of the sources before it. An empty sample is not planned; one
/// without targets is. `sources` must outlive the result, which may borrow their lengths. Pieces of a split
/// sample are as long as the limit allows, the last one at least two tokens.
///
/// @throws Error{invalid_argument} naming a sample over the limit under LongPolicy::error (or under split
/// with a limit of 1); Error{corrupt_data} naming a sample whose loss spans are not ascending, disjoint and
/// within it.
Fates decide_fates(const PlanOptions& options, std::span<const SourceLengths> sources);
/// Its rows alone, without the segments. @throws as decide_fates.
std::vector<Disposition> decide_dispositions(const PlanOptions& options,
                                             std::span<const SourceLengths> sources);

/// Targets of a segment of a source's sample: tokens after the segment's first that lie in a loss span.
/// @pre The segment lies within the sample, whose loss spans are sound.
std::uint32_t segment_targets(const SourceLengths& source, std::uint64_t sample_in_source,
                              std::uint32_t offset, std::uint32_t tokens);

}  // namespace lockstep
