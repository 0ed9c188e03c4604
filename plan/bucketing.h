// plan/bucketing.h
//
// Bucket mode: segments of similar length share a pack, and the budget counts every
// segment at its bucket's upper edge. The rules of assignment and capacity are
// Lazarus'; nothing is dropped at the tail, no pack is over its budget, and the
// order of samples in a length cache decides nothing but their numbers.
//
// The padding is a quantity of the plan, for comparison and for consumers that pad;
// our kernels never compute it.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/packing.h"
#include "plan/plan_options.h"

namespace lockstep {

/// Half-open below, closed above: bucket i holds lengths in (edges[i − 1], edges[i]], the last one the
/// lengths above every edge.
class LengthBuckets {
  public:
    /// @pre `edges` ascend and lie below overflow_max (check_options).
    LengthBuckets(std::span<const std::uint32_t> edges, std::uint32_t overflow_max);

    std::size_t size() const { return uppers_.size(); }
    /// First bucket whose edge is at least `tokens`; the last one also for lengths beyond overflow_max.
    std::uint16_t index_of(std::uint32_t tokens) const;
    /// Tokens a segment of the bucket counts in the padded budget.
    std::uint32_t upper(std::size_t bucket) const { return uppers_[bucket]; }
    /// Segments a pack of the bucket may hold: as many as fit padded, at most segments_max unless that is 0.
    std::uint32_t capacity(std::size_t bucket, std::uint32_t token_budget, std::uint32_t segments_max) const {
        const std::uint32_t fitting = token_budget / uppers_[bucket];
        return segments_max == 0 ? fitting : std::min(fitting, segments_max);
    }

  private:
    std::vector<std::uint32_t> uppers_;  ///< The edges and overflow_max.
};

/// Segments of one epoch sorted into buckets: the part that every epoch shares.
template <class Index>
struct BucketMembers {
    std::vector<Index> begin{0};  ///< (buckets + 1) into members.
    std::vector<Index> members;   ///< (num_segments) by bucket; inside a bucket ascending.
};

/// @throws Error{invalid_argument} naming the first bucket in use whose upper edge exceeds the token budget,
/// and its
///         first segment's length.
template <class Index>
BucketMembers<Index> sort_into_buckets(std::span<const std::uint32_t> segment_tokens,
                                       const PlanOptions& options);

/// Packs of one epoch, bucket by bucket; only a bucket's last pack may hold fewer than its capacity.
template <class Index>
struct BucketedPacks {
    PackLayout<Index> layout;
    std::vector<std::uint16_t> pack_bucket;
};

/// Order in order: members ascending. Shuffle: members of every bucket permuted by (seed, epoch).
template <class Index>
BucketedPacks<Index> pack_buckets(const BucketMembers<Index>& members, const PlanOptions& options,
                                  std::uint64_t epoch);

/// Order in which the packs of every bucket are spread evenly over the epoch: the k-th of a bucket's n packs
/// stands at (k + u) / n, u drawn once a bucket by (seed, epoch); equal places by bucket.
/// @param pack_bucket  ascending.
template <class Index>
std::vector<Index> interleave_buckets(std::span<const std::uint16_t> pack_bucket, const PlanOptions& options,
                                      std::uint64_t epoch);

}  // namespace lockstep
