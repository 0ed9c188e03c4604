#include "worker/exact_sum.h"

#include <algorithm>

#include "io/base/contract.h"

namespace lockstep {

namespace {

// Large enough for full bandwidth, small enough to stay out of the way of the weights.
constexpr std::size_t chunk_elements = std::size_t{1} << 21U;  // 16 MiB
constexpr int exchange_tag = 100;

std::size_t chunks_of(std::size_t elements) {
    return (elements + chunk_elements - 1) / chunk_elements;
}

}  // namespace

ExactSum::ExactSum(Communicator& comm, ThreadPool& pool, std::size_t state_elements)
    : comm_(comm),
      pool_(pool),
      state_elements_(state_elements),
      slice_(state_slice(state_elements, comm.rank(), comm.size())),
      sum_(state_elements, 0) {
    if (comm.size().value > 1) arrived_.resize(std::min(chunk_elements, slice_.size()));
}

std::size_t ExactSum::bytes(std::size_t state_elements, WorldSize world_size) {
    const std::size_t slice = state_slice(state_elements, Rank{0}, world_size).size();
    const std::size_t arrived = world_size.value > 1 ? std::min(chunk_elements, slice) : 0;
    return (state_elements + arrived) * sizeof(std::int64_t);
}

void ExactSum::clear() {
    empty_ = true;
}

ExactFlags ExactSum::add(std::size_t offset, std::span<const float> gradient, int exponent,
                         std::uint64_t packs_in_step) {
    LOCKSTEP_EXPECTS(offset <= state_elements_ && gradient.size() <= state_elements_ - offset);
    return accumulate_exact(pool_, gradient, exponent, packs_in_step, empty_,
                            std::span(sum_).subspan(offset, gradient.size()));
}

void ExactSum::end_pack() {
    empty_ = false;
}

void ExactSum::exchange_with(Rank to, Rank from) {
    const StateSlice theirs = state_slice(state_elements_, to, comm_.size());
    const std::size_t rounds = std::max(chunks_of(theirs.size()), chunks_of(slice_.size()));
    for (std::size_t round = 0; round < rounds; ++round) {
        const auto chunk = [&](const StateSlice& slice) {
            const std::size_t begin = std::min(slice.end, slice.begin + round * chunk_elements);
            return std::span(sum_).subspan(begin, std::min(chunk_elements, slice.end - begin));
        };
        const std::span<std::int64_t> outgoing = chunk(theirs);
        const std::span<std::int64_t> mine = chunk(slice_);
        const std::span<std::int64_t> incoming = std::span(arrived_).first(mine.size());
        std::unique_ptr<PendingTransfer> receive, send;
        if (!incoming.empty()) receive = comm_.receive(std::as_writable_bytes(incoming), from, exchange_tag);
        if (!outgoing.empty()) send = comm_.send(std::as_bytes(outgoing), to, exchange_tag);
        if (receive) {
            receive->wait();
            add_integers(pool_, incoming, mine);
        }
        if (send) send->wait();
    }
}

ExactGradient ExactSum::reduce_scatter(int exponent) {
    if (empty_) std::fill(sum_.begin(), sum_.end(), 0);
    const int world = comm_.size().value;
    const int me = comm_.rank().value;
    // Pairwise: in round d everyone sends to the rank d above and hears from the rank d below.
    for (int distance = 1; distance < world; ++distance) {
        exchange_with(Rank{(me + distance) % world}, Rank{(me - distance + world) % world});
    }
    return {std::span(sum_).subspan(slice_.begin, slice_.size()), exponent};
}

}  // namespace lockstep
