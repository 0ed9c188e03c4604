// plan/sequential_packing.h
//
// Packing segment by segment, in arrival order or longest first: the policies that
// every other system has, here for comparison and for those who need them.
//
// Changing any tie-break below is a plan format change ("packing" in algorithms).

#pragma once

#include <cstdint>
#include <span>

#include "plan/packing.h"

namespace lockstep {

/// All: @param segment_tokens (num_segments) in arrival order, each in [1, limits.tokens_max] [tokens].
/// @return Every segment exactly once; no empty pack; no pack over the limits.

/// A new pack when the next segment does not fit; arrival order throughout. O(n).
template <class Index = NarrowIndex>
PackLayout<Index> pack_in_order(std::span<const std::uint32_t> segment_tokens, PackLimits limits);

/// Each segment into the first pack with room. O(n log n).
template <class Index = NarrowIndex>
PackLayout<Index> first_fit(std::span<const std::uint32_t> segment_tokens, PackLimits limits);

/// Longest first (equal lengths in arrival order), each into the first pack with room. O(n log n).
template <class Index = NarrowIndex>
PackLayout<Index> first_fit_decreasing(std::span<const std::uint32_t> segment_tokens, PackLimits limits);

/// Each segment into the pack that it leaves with the least room; of equal ones the one opened first.
/// O(n log n).
template <class Index = NarrowIndex>
PackLayout<Index> best_fit(std::span<const std::uint32_t> segment_tokens, PackLimits limits);

/// The same packs as lists of length classes, one shape a pack, in order.
template <class Index>
PackShapes shapes_of_layout(const PackLayout<Index>& layout, const LengthClasses<Index>& classes,
                            std::span<const std::uint32_t> segment_tokens);

}  // namespace lockstep
