// plan/balance.h
//
// Balance: which packs share a step. Packs of equal tokens differ in work, and a
// step takes as long as its slowest rank; so packs of similar cost are brought
// together, at plan time, without any run-time communication.
//
// Sorting a whole epoch by cost would be a curriculum. Packs are shuffled first, then
// sorted only inside windows of a few steps, and the steps of a window are shuffled
// again: a pack never leaves its window.

#pragma once

#include <cstdint>
#include <span>

#include "plan/plan_options.h"
#include "plan/segment_index.h"
#include "plan/shuffle.h"

namespace lockstep {

/// Steps a window of balance holds.
inline constexpr std::uint64_t balance_window_steps = 16;

/// The work of a pack while its segments are added.
struct PackWork {
    std::uint64_t tokens = 0;
    std::uint64_t squares = 0;  ///< Σ segment tokens².

    void add(std::uint64_t segment_tokens) {
        tokens += segment_tokens;
        squares += segment_tokens * segment_tokens;
    }
    /// token_cost · tokens + square_cost · squares.
    /// @pre Within the budget the model was checked for (check_options), so it does not wrap.
    std::uint64_t cost(const CostModel& model) const {
        return model.token_cost * tokens + model.square_cost * squares;
    }
};

/// Draws of one epoch, used up by one stage after another.
struct PackDraws {
    PackDraws(std::uint64_t seed, std::uint64_t epoch)
        : order(seed, "pack-order", epoch), steps(seed, "step-order", epoch) {}
    DrawSequence order, steps;
};

/// Put the packs of a stage into training order; every packs_per_step of them make a step.
///
/// PackOrder::in_order and short_to_long leave them as they are. Others permute them by (seed, epoch); with
/// `balance` every window of balance_window_steps full steps is sorted by cost (ties: order after the
/// shuffle), cut into steps, and the steps are permuted. The last window may hold fewer steps; the packs of a
/// last, short step stay as shuffled.
///
/// @param packs  (num_packs) numbers that index `cost`; packs of equal content may share one.
/// @param cost   of a pack by its number; only read with `balance`.
template <class Index>
void order_packs(std::span<Index> packs, std::span<const std::uint64_t> cost, const PlanOptions& options,
                 PackDraws& draws);

}  // namespace lockstep
