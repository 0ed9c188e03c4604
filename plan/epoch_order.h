// plan/epoch_order.h
//
// One epoch in training order: which segments make which pack, which packs make which
// step. Everything that all epochs share (stages, length classes, pack shapes) is
// computed once; an epoch is then a matter of permuting by (seed, epoch).
//
// Memory is one epoch's index: for each segment a number in the classes in the epoch's
// order, one in the result, and one more while another epoch is to come; for each pack two
// in the result; 4 bytes each, 8 from 2^32 segments on. Beside it the lists of lengths, few
// but where hardly two packs are equal.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "io/base/large_pages.h"
#include "plan/balance.h"
#include "plan/dispositions.h"
#include "plan/plan_options.h"
#include "plan/segment_index.h"

namespace lockstep {

/// Lists are short and of any length: copied in blocks, so that no processor guesses where each ends.
inline constexpr std::size_t list_block = 8;
/// Both sides hold list_block numbers at least, whatever `size`. @return the end of the copy.
template <class Number>
Number* copy_list(const std::uint32_t* from, std::size_t size, Number* to) {
    std::copy_n(from, list_block, to);
    for (std::size_t i = list_block; i < size; ++i) to[i] = from[i];
    return to + size;
}

/// What packs made of shapes share: the lengths of their segments, in training order.
template <class Index = NarrowIndex>
struct LengthList {
    Index begin;         ///< Into EpochOrder::list_tokens.
    std::uint32_t size;  ///< Segments.
    PackWork work;       ///< Of one such pack.
};

template <class Index = NarrowIndex>
struct EpochOrder {
    LargeVector<Index> segments;             ///< In training order.
    LargeVector<Index> pack_begin{0};        ///< (packs + 1) into segments.
    std::vector<Index> step_begin{0};        ///< (steps + 1) in packs.
    std::vector<std::uint16_t> pack_bucket;  ///< (packs) bucket mode only.
    /// (packs) into lists, if packs were made of shapes; else empty. Looking up every segment's length is a
    /// walk all over memory.
    LargeVector<Index> pack_list;
    std::vector<LengthList<Index>> lists;
    std::vector<std::uint32_t> list_tokens;  ///< [tokens]; ends in list_block numbers of no list.

    std::size_t num_packs() const { return pack_begin.size() - 1; }
    std::size_t num_steps() const { return step_begin.size() - 1; }
    std::span<const Index> pack(std::size_t p) const {
        return std::span(segments).subspan(pack_begin[p], pack_begin[p + 1] - pack_begin[p]);
    }
    /// Lengths of the segments of packs [begin, end), in training order.
    void lengths_of_packs(std::size_t begin, std::size_t end, std::span<const std::uint32_t> segment_tokens,
                          std::vector<std::uint32_t>& lengths) const;
    void clear();
};

/// Rows of one epoch.
struct EpochCounts {
    std::uint64_t segments = 0;
    std::uint64_t packs = 0;
    std::uint64_t steps = 0;
};

/// The epochs of a plan, asked for once each, in ascending order.
template <class Index = NarrowIndex>
class EpochSequence {
  public:
    virtual ~EpochSequence() = default;
    /// Known before the epoch is made.
    virtual EpochCounts counts(std::uint64_t epoch) const = 0;
    /// Makes epoch `epoch`: 0, then each the one after the last made.
    virtual void make(std::uint64_t epoch, EpochOrder<Index>& order) = 0;
};

/// Epochs of a plan without a mixture: each holds every segment once.
///
/// @param options  effective (effective_options), any mode and order; compat none.
/// @param table    outlives the result.
/// @param segment_score  (segments) of each segment's sample, for PackOrder::score_stages; else empty.
/// @throws Error{invalid_argument} naming a bucket in use that pads beyond the budget (sort_into_buckets).
template <class Index = NarrowIndex>
std::unique_ptr<EpochSequence<Index>> make_epochs(const PlanOptions& options, const SegmentTable& table,
                                                  std::span<const double> segment_score);

}  // namespace lockstep
