// plan/staged_packs.h
//
// A stage: segments that are packed, shuffled and balanced among themselves. An epoch is
// one stage, several in a curriculum, or one for each quota block of a mixture.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/base/large_pages.h"
#include "plan/balance.h"
#include "plan/epoch_order.h"
#include "plan/packing.h"
#include "plan/shuffle.h"

namespace lockstep {

/// The draws of one epoch, in the order its stages use them.
struct EpochDraws {
    EpochDraws(std::uint64_t seed, std::uint64_t epoch);
    DrawSequence identities, segments;
    PackDraws packs;
};

template <class Index>
class Stage {
  public:
    /// @param members  segments of the stage in arrival order; the same one may come more than once.
    /// @param options  effective, pack mode.
    Stage(const PlanOptions& options, const SegmentTable& table, std::vector<Index> members);
    /// Every segment of the table.
    Stage(const PlanOptions& options, const SegmentTable& table);

    std::uint64_t num_packs() const { return num_packs_; }
    /// Keep only so many packs, the fullest (the first, if packed in order), and return the segments of the
    /// others.
    std::vector<Index> give_back(std::uint64_t keep);

    /// Begin an epoch: append the stage's packs and steps, of which the last may be short.
    /// @param last  no other epoch is begun, so what the stage holds may be used up.
    void begin_epoch(EpochOrder<Index>& order, EpochDraws& draws, bool last);
    /// What packs [begin, end) of the epoch begun hold, counted from the stage's first (EpochSequence::draw).
    void draw(std::size_t begin, std::size_t end, const PackContents<Index>& contents);
    /// Begin the only epoch and append its segments too.
    void append_to(EpochOrder<Index>& order, EpochDraws& draws);

  private:
    /// What packs made of shapes share: the classes of their segments, in training order.
    struct ClassList {
        Index begin;         ///< Into list_classes_.
        std::uint32_t size;  ///< Segments.
        PackWork work;       ///< Of one such pack.
    };

    void pack(const PlanOptions& options, std::span<const std::uint32_t> segment_tokens);
    void learn_costs();
    void shuffle_identities(EpochDraws& draws, bool last);
    void make_lists(EpochDraws& draws);
    std::uint64_t segments_of_pack(std::size_t pack) const;
    void draw_from_layout(std::size_t begin, std::size_t end, const PackContents<Index>& contents) const;
    /// The next segments to be given out are those of pack `pack`.
    void go_to(std::size_t pack);
    void prefetch_list(std::size_t pack) const;
    void prefetch_classes(std::size_t pack) const;

    const PlanOptions& options_;
    const SegmentTable& table_;
    LengthClasses<Index> classes_;  ///< Members are segments of the table.
    std::vector<Index> class_end_;  ///< Members of class c in use: [classes_.begin[c], class_end_[c]).
    PackShapes shapes_;             ///< Unless packed in order.
    PackLayout<Index> layout_;      ///< If packed in order.
    std::uint64_t num_packs_ = 0;
    std::vector<std::uint64_t> pack_cost_;  ///< (packs) if packed in order; empty without balance.
    // Of the epoch begun.
    LargeVector<Index> pack_kind_;  ///< (packs) which of lists_ it has or, packed in order, which it is.
    LargeVector<Index> shuffled_;   ///< As the members of the classes.
    std::size_t drawn_ = 0;         ///< The next pack to be drawn,
    std::vector<Index> next_;       ///< (classes) and what it is given of each, into shuffled_.
    std::vector<ClassList> lists_;
    std::vector<std::uint32_t> list_classes_;   ///< And list_block more, of no list.
    std::vector<std::uint64_t> list_cost_;      ///< (lists) of one pack; empty without balance.
    std::vector<std::uint32_t> classes_drawn_;  ///< Scratch.
};

}  // namespace lockstep
