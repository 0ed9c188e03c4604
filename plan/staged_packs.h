// plan/staged_packs.h
//
// A stage: segments that are packed, shuffled and balanced among themselves. An epoch is
// one stage, several in a curriculum, or one for each quota block of a mixture.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

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

    /// Append the stage's packs and steps; its last step may be short.
    /// @param last  the stage is not asked again, so what it holds may be used up.
    void append_to(EpochOrder<Index>& order, EpochDraws& draws, bool last);

  private:
    void pack(const PlanOptions& options, std::span<const std::uint32_t> segment_tokens);
    void learn_costs();
    void append_shapes(EpochOrder<Index>& order, EpochDraws& draws, bool last);
    void shuffle_identities(EpochDraws& draws, bool last);
    /// Append the lists of an epoch, of length classes in place of tokens, and say which one each pack has,
    /// counted from the first of them. @return segments of all packs.
    std::uint64_t append_lists(EpochOrder<Index>& order, EpochDraws& draws, std::span<Index> pack_list);
    void append_layout(EpochOrder<Index>& order, EpochDraws& draws);

    const PlanOptions& options_;
    const SegmentTable& table_;
    LengthClasses<Index> classes_;  ///< Members are segments of the table.
    std::vector<Index> class_end_;  ///< Members of class c in use: [classes_.begin[c], class_end_[c]).
    PackShapes shapes_;             ///< Unless packed in order.
    PackLayout<Index> layout_;      ///< If packed in order.
    std::uint64_t num_packs_ = 0;
    std::vector<std::uint64_t> pack_cost_;  ///< (packs) if packed in order; empty without balance.
    // Kept from one epoch to the next, for their memory.
    LargeVector<Index> shuffled_;           ///< As the members of the classes.
    std::vector<Index> next_;               ///< (classes) the next of them to be given out.
    std::vector<std::uint64_t> list_cost_;  ///< (lists of the stage) of one pack; empty without balance.
};

}  // namespace lockstep
