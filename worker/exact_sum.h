// worker/exact_sum.h
//
// The gradient of a step as an exact sum over its packs (DESIGN §6): each pack's
// gradient is rounded once to int64 and added; ranks then exchange slices. Any
// order, rank or algorithm gives the same bits.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "io/base/large_pages.h"
#include "io/comm/communicator.h"
#include "kernels/exact_accumulate.h"
#include "kernels/thread_pool.h"
#include "worker/model/state_layout.h"

namespace lockstep {

class ExactSum {
  public:
    /// @param state_elements  of the flat state; a multiple of state_block.
    ExactSum(Communicator& comm, ThreadPool& pool, std::size_t state_elements);

    /// What an object takes on rank 0.
    static std::size_t bytes(std::size_t state_elements, WorldSize world_size);

    StateSlice slice() const { return slice_; }

    /// Forget what was added.
    void clear();
    /// Add elements [offset, offset + gradient.size()) of a pack's gradient at scale 2^exponent. Every pack
    /// adds every element but padding once, then calls end_pack.
    ExactFlags add(std::size_t offset, std::span<const float> gradient, int exponent,
                   std::uint64_t packs_in_step);
    void end_pack();

    /// Collective. The sum over ranks of this rank's slice (slice().size()); valid until clear().
    ExactGradient reduce_scatter(int exponent);

  private:
    void exchange_with(Rank to, Rank from);

    Communicator& comm_;
    ThreadPool& pool_;
    std::size_t state_elements_;
    StateSlice slice_;
    LargeVector<std::int64_t> sum_;      ///< (state_elements)
    std::vector<std::int64_t> arrived_;  ///< One chunk of a peer's contribution.
    bool empty_ = true;
};

}  // namespace lockstep
