// plan/bucket_edges.h
//
// The bucket edges that pad least, exactly: dynamic programming over the distinct
// lengths instead of percentiles and powers of two.
//
// With distinct lengths l_1 < … < l_m and C_j samples no longer than l_j, a bucket
// over (l_i, l_j] counts l_j · (C_j − C_i) padded tokens. That cost satisfies the
// quadrangle inequality, so the best last cut moves only forward with j, and a
// layer costs O(m log m) by divide and conquer (Yao 1980, "Efficient dynamic
// programming using quadrangle inequalities").

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/length_analysis.h"

namespace lockstep {

/// Distinct lengths up to which edges are exact; above, lengths that are near each other are joined first.
inline constexpr std::size_t bucket_edge_candidates_max = 65536;
inline constexpr std::uint32_t bucket_count_max = 256;

struct BucketEdges {
    std::vector<std::uint32_t> edges;  ///< Ascending; one fewer than the buckets, or less if less will do.
    std::uint32_t overflow_max = 0;    ///< Upper edge of the last bucket.
    std::uint64_t tokens = 0;          ///< Of all samples in buckets.
    std::uint64_t padded_tokens = 0;   ///< At these edges.
    std::uint32_t granularity = 1;  ///< > 1: candidates were this far apart, the edges may not be the best.

    double efficiency() const;  ///< tokens / padded_tokens; 1 when there are none.
};

/// Edges that minimise the padded tokens of at most `num_buckets` buckets. Equal sums: the smaller edge.
///
/// @param lengths       ascending, as count_lengths gives them; those of 0 or beyond `overflow_max` take no
///                      part.
/// @param num_buckets   in [1, bucket_count_max], the overflow bucket included.
/// @param overflow_max  ≥ 1, pad target of the last bucket [tokens].
///
/// @throws Error{invalid_argument} out of range, no samples, or 2^64 padded tokens or more.
/// O(num_buckets · distinct · log distinct) time, 4 bytes times num_buckets · distinct of memory.
BucketEdges optimal_bucket_edges(std::span<const LengthCount> lengths, std::uint32_t num_buckets,
                                 std::uint32_t overflow_max);

}  // namespace lockstep
