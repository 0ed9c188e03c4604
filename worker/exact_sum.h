// worker/exact_sum.h
//
// The gradient of a step as an exact sum over its packs (DESIGN §6): each pack's
// gradient is rounded once to int64 and added; ranks then exchange slices. Any
// order, rank or algorithm gives the same bits.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "io/base/large_pages.h"
#include "io/comm/communicator.h"
#include "kernels/exact_accumulate.h"
#include "kernels/thread_pool.h"
#include "worker/model/state_layout.h"
#include "worker/slice_exchange.h"

namespace lockstep {

class ExactSum {
  public:
    /// @param state_elements  of the flat state; a multiple of state_block.
    /// @param padding         its elements that no pack adds, ascending ranges.
    ExactSum(Communicator& comm, ThreadPool& pool, std::size_t state_elements,
             std::span<const StateSlice> padding = {});

    /// What an object takes on rank 0.
    static std::size_t bytes(std::size_t state_elements, WorldSize world_size);

    StateSlice slice() const { return slice_; }

    /// Forget what was added.
    void clear();
    /// This rank's last pack of the step follows: what it adds goes on its way to other ranks at once.
    void begin_last_pack();
    /// Add elements [offset, offset + gradient.size()) of a pack's gradient at scale 2^exponent. Every pack
    /// adds every element but padding once, then calls end_pack.
    ExactFlags add(std::size_t offset, std::span<const float> gradient, int exponent,
                   std::uint64_t packs_in_step);
    void end_pack();

    /// Collective. The sum over ranks of this rank's slice (slice().size()); valid until clear().
    ExactGradient reduce_scatter(int exponent);
    /// Collective, in the place of reduce_scatter when the step's sum is of no use: nothing stays under way.
    /// Again before clear() it does nothing.
    void discard();

  private:
    ThreadPool& pool_;
    std::size_t state_elements_;
    StateSlice slice_;
    LargeVector<std::int64_t> sum_;  ///< (state_elements)
    SliceExchange exchange_;
    bool empty_ = true;
    bool last_pack_ = false;
    bool discarded_ = false;
};

}  // namespace lockstep
