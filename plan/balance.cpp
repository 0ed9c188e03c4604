#include "plan/balance.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace lockstep {

namespace {

/// Sort one window of whole steps by cost and give its steps a random order.
void balance_window(std::span<std::uint32_t> window, std::uint32_t packs_per_step,
                    std::span<const std::uint64_t> pack_cost, DrawSequence& draws) {
    std::vector<std::pair<std::uint64_t, std::size_t>> by_cost(window.size());
    for (std::size_t i = 0; i < window.size(); ++i) by_cost[i] = {pack_cost[window[i]], i};
    std::sort(by_cost.begin(), by_cost.end());

    std::vector<std::uint32_t> steps(window.size() / packs_per_step);
    std::iota(steps.begin(), steps.end(), 0U);
    shuffle_values(std::span(steps), draws);

    const std::vector<std::uint32_t> shuffled(window.begin(), window.end());
    auto out = window.begin();
    for (const std::uint32_t step : steps) {
        const std::size_t begin = std::size_t{step} * packs_per_step;
        for (std::size_t i = begin; i < begin + packs_per_step; ++i) *out++ = shuffled[by_cost[i].second];
    }
}

}  // namespace

std::vector<std::uint32_t> order_packs(std::size_t num_packs, std::span<const std::uint64_t> pack_cost,
                                       const PlanOptions& options, PackDraws& draws) {
    std::vector<std::uint32_t> order(num_packs);
    std::iota(order.begin(), order.end(), 0U);
    if (options.order == PackOrder::in_order || options.order == PackOrder::short_to_long) return order;
    shuffle_values(std::span(order), draws.order);
    if (!options.balance) return order;

    const std::uint64_t full_steps = order.size() / options.packs_per_step;
    for (std::uint64_t step = 0; step < full_steps; step += balance_window_steps) {
        const std::uint64_t steps = std::min(balance_window_steps, full_steps - step);
        balance_window(
            std::span(order).subspan(step * options.packs_per_step, steps * options.packs_per_step),
            options.packs_per_step, pack_cost, draws.steps);
    }
    return order;
}

}  // namespace lockstep
