// plan/packing.h
//
// Packing: place variable-length segments into packs of fixed token capacity,
// so that a step computes on real tokens rather than padding. Here: what packs are made
// of, best-fit decreasing (best_fit_decreasing.cpp), and the choice among the policies. Others
// have their own files: pattern_packing, sequential_packing.
//
// Best-fit decreasing needs lengths alone, and equal lengths and equally full packs
// are interchangeable: it runs over (distinct length, room left) with counts, not
// over segments. What it gives are pack shapes, lists of length classes; which
// segment of a class goes where is decided afterwards, and anew for each epoch.
//
// The result is part of the plan and therefore of its fingerprint. Changing any
// tie-break below is a plan format change ("packing" in algorithms).
//
// Source: best-fit decreasing, as applied to language-model training data in
// Ding et al. 2024, "Fewer Truncations Improve Language Modeling",
// arXiv:2404.10830.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "io/base/large_pages.h"
#include "plan/plan_options.h"
#include "plan/segment_index.h"

namespace lockstep {

/// Segments grouped by pack, in compressed-row form.
///
/// Pack p holds segments[pack_begin[p] .. pack_begin[p + 1]), in training order.
template <class Index = NarrowIndex>
struct PackLayout {
    std::vector<Index> segments;       ///< (num_segments) indices into the input.
    std::vector<Index> pack_begin{0};  ///< (num_packs + 1) first 0, last num_segments.

    std::size_t num_packs() const { return pack_begin.size() - 1; }
    std::span<const Index> pack(std::size_t p) const {
        return std::span(segments).subspan(pack_begin[p], pack_begin[p + 1] - pack_begin[p]);
    }
};

/// Segments grouped by equal length.
template <class Index = NarrowIndex>
struct LengthClasses {
    std::vector<std::uint32_t> tokens;  ///< (classes) distinct lengths, descending [tokens].
    std::vector<Index> begin{0};        ///< (classes + 1) into members.
    LargeVector<Index> members;         ///< (num_segments) by class; inside a class ascending.

    std::size_t num_classes() const { return tokens.size(); }
    std::vector<std::uint64_t> sizes() const;  ///< (classes) segments of each.
};

/// O(n) for lengths up to about 4n, O(n log n) beyond.
/// @pre Index can count them.
template <class Index = NarrowIndex>
LengthClasses<Index> classify_lengths(std::span<const std::uint32_t> segment_tokens);

/// What packs hold, up to the identity of segments.
///
/// Shape s is the list of classes item_class[shape_begin[s] .. shape_begin[s + 1]), longest first, and there
/// are shape_packs[s] ≥ 1 packs of it.
struct PackShapes {
    std::vector<std::uint32_t> item_class;
    std::vector<std::uint64_t> shape_begin{0};
    std::vector<std::uint64_t> shape_packs;

    std::size_t num_shapes() const { return shape_packs.size(); }
    std::uint64_t num_packs() const;
    void append(const PackShapes& more);
    std::span<const std::uint32_t> shape(std::size_t s) const {
        return std::span(item_class).subspan(shape_begin[s], shape_begin[s + 1] - shape_begin[s]);
    }
};

/// What a pack may hold.
struct PackLimits {
    std::uint32_t tokens_max;        ///< Token budget, in [1, 2^31) [tokens].
    std::uint32_t segments_max = 0;  ///< 0: as many as fit.
};

/// Best-fit decreasing: longest class first, each segment into the fullest pack with room. Among packs with
/// equal room, those that came to it last are taken first; shapes are listed fullest pack first, then in the
/// order they came to their room. The number of packs does not depend on either rule.
///
/// @param class_tokens    (classes) distinct, descending, in [1, limits.tokens_max].
/// @param class_segments  (classes) segments of each, ≥ 1.
///
/// Steps taken: one per (class, group of equal packs), at most one per segment.
PackShapes best_fit_decreasing(std::span<const std::uint32_t> class_tokens,
                               std::span<const std::uint64_t> class_segments, PackLimits limits);

/// Best-fit decreasing that opens fresh packs with care. As many equal segments as fit may leave a remainder
/// that only scarce lengths fill; of millions of packs that adds up. So a remainder is left only if there is
/// a segment of just that length for each such pack, none promised twice; else the packs take one segment
/// less and wait until lengths are down to two thirds of their room, so that the one which then goes in
/// leaves a third, a length of which there are many. Arguments, cost and order of shapes as
/// best_fit_decreasing.
PackShapes thrifty_best_fit(std::span<const std::uint32_t> class_tokens,
                            std::span<const std::uint64_t> class_segments, PackLimits limits);

/// Best-fit decreasing; the thrifty one where the gap to the lower bound exceeds one pack; patterns where it
/// still exceeds 0.5 %. Whichever needs the fewest packs, of equal ones the first named.
PackShapes pack_automatically(std::span<const std::uint32_t> class_tokens,
                              std::span<const std::uint64_t> class_segments, PackLimits limits);

/// Shapes by any policy but in_order and concatenate, whose packs depend on who neighbours whom.
///
/// @param classes         of `segment_tokens`.
/// @param segment_tokens  (num_segments) in arrival order, each in [1, limits.tokens_max] [tokens].
/// @return Every segment of every class in exactly one pack, no pack over the limits.
template <class Index>
PackShapes pack_shapes(const LengthClasses<Index>& classes, std::span<const std::uint32_t> segment_tokens,
                       PackLimits limits, PackingPolicy policy);

/// Packs that no packing can do without: the L2 bound of Martello and Toth 1990, "Lower bounds and reduction
/// procedures for the bin packing problem", never below ceil(tokens / tokens_max) or
/// ceil(segments / segments_max).
///
/// @param class_tokens, class_segments  as best_fit_decreasing.
std::uint64_t packs_lower_bound(std::span<const std::uint32_t> class_tokens,
                                std::span<const std::uint64_t> class_segments, PackLimits limits);

}  // namespace lockstep
