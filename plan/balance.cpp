#include "plan/balance.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

namespace lockstep {

namespace {

/// Sorts windows by cost, equal ones as they stand, and gives their steps a random order.
template <class Index>
class WindowBalancer {
  public:
    WindowBalancer(std::uint32_t packs_per_step, std::span<const std::uint64_t> cost)
        : packs_per_step_(packs_per_step), cost_(cost) {}

    /// @param window  packs of whole steps.
    void balance(std::span<Index> window, DrawSequence& draws) {
        packs_.resize(window.size());
        for (std::size_t i = 0; i < window.size(); ++i) packs_[i] = {cost_[window[i]], window[i]};
        if (packs_.size() < radix_packs_min) {
            std::ranges::stable_sort(packs_, {}, &Pack::cost);
        } else {
            sort_by_digits();
        }
        steps_.resize(window.size() / packs_per_step_);
        std::iota(steps_.begin(), steps_.end(), 0U);
        shuffle_values(std::span(steps_), draws);
        auto out = window.begin();
        for (const std::uint32_t step : steps_) {
            const std::size_t begin = std::size_t{step} * packs_per_step_;
            for (std::size_t i = begin; i < begin + packs_per_step_; ++i) *out++ = packs_[i].number;
        }
    }

  private:
    struct Pack {
        std::uint64_t cost;
        Index number;
    };
    /// From here on counting is faster than comparing.
    static constexpr std::size_t radix_packs_min = 48;

    /// Radix sort, byte by byte of what costs differ in.
    void sort_by_digits() {
        std::uint64_t least = packs_.front().cost;
        std::uint64_t most = least;
        for (const Pack& pack : packs_) {
            least = std::min(least, pack.cost);
            most = std::max(most, pack.cost);
        }
        sorted_.resize(packs_.size());
        for (int shift = 0; shift < 64 && (most - least) >> shift != 0; shift += 8) {
            std::array<Index, 256> next{};
            const auto digit = [&](const Pack& pack) { return (pack.cost - least) >> shift & 255U; };
            for (const Pack& pack : packs_) ++next[digit(pack)];
            std::exclusive_scan(next.begin(), next.end(), next.begin(), Index{0});
            for (const Pack& pack : packs_) sorted_[next[digit(pack)]++] = pack;
            packs_.swap(sorted_);
        }
    }

    std::uint32_t packs_per_step_;
    std::span<const std::uint64_t> cost_;
    std::vector<Pack> packs_, sorted_;
    std::vector<std::uint32_t> steps_;
};

}  // namespace

template <class Index>
void order_packs(std::span<Index> packs, std::span<const std::uint64_t> cost, const PlanOptions& options,
                 PackDraws& draws) {
    if (options.order == PackOrder::in_order || options.order == PackOrder::short_to_long) return;
    shuffle_values(packs, draws.order);
    if (!options.balance) return;

    const std::uint64_t full_steps = packs.size() / options.packs_per_step;
    WindowBalancer<Index> balancer(options.packs_per_step, cost);
    for (std::uint64_t step = 0; step < full_steps; step += balance_window_steps) {
        const std::uint64_t steps = std::min(balance_window_steps, full_steps - step);
        balancer.balance(packs.subspan(step * options.packs_per_step, steps * options.packs_per_step),
                         draws.steps);
    }
}

template void order_packs(std::span<NarrowIndex>, std::span<const std::uint64_t>, const PlanOptions&,
                          PackDraws&);
template void order_packs(std::span<WideIndex>, std::span<const std::uint64_t>, const PlanOptions&,
                          PackDraws&);

}  // namespace lockstep
