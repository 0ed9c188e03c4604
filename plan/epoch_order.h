// plan/epoch_order.h
//
// One epoch in training order: which segments make which pack, which packs make which
// step. Everything that all epochs share (stages, length classes, pack shapes) is
// computed once; an epoch is then a matter of permuting by (seed, epoch).
//
// Memory is one epoch's index: for each segment a number in the classes in the epoch's
// order, and one more while another epoch is to come; for each pack its begin and its
// list of lengths; 4 bytes each, 8 from 2^32 segments on. What packs hold is drawn when
// somebody writes them down, and never all there at once. Mixtures and buckets hold it
// whole instead: a number for each segment in training order.

#pragma once

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

template <class Index = NarrowIndex>
struct EpochOrder {
    LargeVector<Index> pack_begin{0};        ///< (packs + 1) into the segments in training order.
    std::vector<Index> step_begin{0};        ///< (steps + 1) in packs.
    std::vector<std::uint16_t> pack_bucket;  ///< (packs) bucket mode only.
    LargeVector<Index> segments;  ///< In training order, if the sequence holds them whole; else empty.

    std::size_t num_packs() const { return pack_begin.size() - 1; }
    std::size_t num_steps() const { return step_begin.size() - 1; }
    std::span<const Index> pack(std::size_t p) const {
        return std::span(segments).subspan(pack_begin[p], pack_begin[p + 1] - pack_begin[p]);
    }
    void clear();
};

/// Where to write down what a run of packs holds, in training order.
template <class Index = NarrowIndex>
struct PackContents {
    std::span<Index> segments;
    std::span<std::uint32_t> tokens;  ///< (segments) their lengths; empty: not wanted.
    std::span<PackWork> work;         ///< (packs); empty: not wanted.

    /// Packs [pack_begin, pack_end) of these, which hold segments [segment_begin, segment_end) of these.
    PackContents part(std::size_t pack_begin, std::size_t pack_end, std::size_t segment_begin,
                      std::size_t segment_end) const;
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
    /// Known before the epoch is begun.
    virtual EpochCounts counts(std::uint64_t epoch) const = 0;
    /// Begins epoch `epoch`: 0, then each the one after the last. Its packs and steps are known then.
    virtual void begin_epoch(std::uint64_t epoch, EpochOrder<Index>& order) = 0;
    /// What packs [begin, end) of the epoch begun hold. Cheap for runs that ascend; one that comes before
    /// the last drawn is looked for from the epoch's start.
    /// @param order  as begin_epoch left it.
    virtual void draw(const EpochOrder<Index>& order, std::size_t begin, std::size_t end,
                      const PackContents<Index>& contents) = 0;
    /// Begins epoch `epoch` and writes down all its segments, for who wants them in memory.
    void make(std::uint64_t epoch, EpochOrder<Index>& order);
};

/// For sequences that hold their segments whole.
template <class Index>
void copy_contents(const EpochOrder<Index>& order, const SegmentTable& table, std::size_t begin,
                   std::size_t end, const PackContents<Index>& contents);

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
