#include "worker/exact_sum.h"

#include <algorithm>

#include "io/base/contract.h"

namespace lockstep {

ExactSum::ExactSum(Communicator& comm, ThreadPool& pool, std::size_t state_elements,
                   std::span<const StateSlice> padding)
    : pool_(pool),
      state_elements_(state_elements),
      slice_(state_slice(state_elements, comm.rank(), comm.size())),
      sum_(state_elements, 0),
      exchange_(comm, pool, state_elements, padding) {}

std::size_t ExactSum::bytes(std::size_t state_elements, WorldSize world_size) {
    return state_elements * sizeof(std::int64_t) + SliceExchange::bytes(state_elements, world_size);
}

void ExactSum::clear() {
    empty_ = true;
    last_pack_ = false;
    discarded_ = false;
}

void ExactSum::begin_last_pack() {
    last_pack_ = true;
}

ExactFlags ExactSum::add(std::size_t offset, std::span<const float> gradient, int exponent,
                         std::uint64_t packs_in_step) {
    LOCKSTEP_EXPECTS(offset <= state_elements_ && gradient.size() <= state_elements_ - offset);
    const ExactFlags flags = accumulate_exact(pool_, gradient, exponent, packs_in_step, empty_,
                                              std::span(sum_).subspan(offset, gradient.size()));
    if (last_pack_) exchange_.release(sum_, offset, gradient.size());
    return flags;
}

void ExactSum::end_pack() {
    empty_ = false;
}

ExactGradient ExactSum::reduce_scatter(int exponent) {
    if (empty_) std::fill(sum_.begin(), sum_.end(), 0);
    exchange_.complete(sum_);
    last_pack_ = false;
    return {std::span(sum_).subspan(slice_.begin, slice_.size()), exponent};
}

void ExactSum::discard() {
    if (discarded_) return;
    exchange_.complete(sum_);
    clear();
    discarded_ = true;
}

}  // namespace lockstep
