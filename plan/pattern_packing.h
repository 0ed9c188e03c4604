// plan/pattern_packing.h
//
// Packing by patterns: where segments are mid-sized, a few to a pack, no order of
// greedy choices fills packs well; choosing good combinations of lengths and how often
// to use each does. This is the cutting-stock problem, solved by column generation:
// a linear program over the patterns found so far, and a knapsack that finds the next.
//
// Lengths are rounded up to a grid of at most 1,024 units a pack, so every pattern of the
// program can be filled with true lengths. Fractions of patterns are rounded down; what
// is left over is packed best-fit decreasing.
//
// Inside the program doubles are used with + − × ÷ in a fixed order; prices are rounded to
// integers before the knapsack, multiplicities are integers, and it stops by iteration
// count: equal inputs give equal packs everywhere. Changing any of this is a plan format
// change ("packing" in algorithms).
//
// Source: Gilmore and Gomory 1961, "A linear programming approach to the cutting-stock
// problem".

#pragma once

#include <cstdint>
#include <span>

#include "plan/packing.h"

namespace lockstep {

/// Arguments as best_fit_decreasing.
/// @return Every segment in exactly one pack, within the limits; about as many packs as the linear program's
///         optimum on the grid, plus at most one for each of its length classes (1,024). May be more than
///         best-fit decreasing needs where that is already optimal.
///
/// Independent of the number of segments: O(iterations · (classes² + 1,024 · classes)).
PackShapes pack_by_patterns(std::span<const std::uint32_t> class_tokens,
                            std::span<const std::uint64_t> class_segments, PackLimits limits);

}  // namespace lockstep
