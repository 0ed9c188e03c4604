#include "worker/slice_exchange.h"

#include <algorithm>

#include "io/base/contract.h"
#include "kernels/exact_accumulate.h"

namespace lockstep {

namespace {

// Large enough for full bandwidth, small enough to stay out of the way of the weights.
constexpr std::size_t chunk_elements = std::size_t{1} << 21U;  // 16 MiB
constexpr int first_tag = 1000;                                // Above those of single messages.
constexpr int end_tag = 32000;

std::size_t overlap(StateSlice a, StateSlice b) {
    const std::size_t begin = std::max(a.begin, b.begin);
    const std::size_t end = std::min(a.end, b.end);
    return begin < end ? end - begin : 0;
}

}  // namespace

SliceExchange::SliceExchange(Communicator& comm, ThreadPool& pool, std::size_t state_elements,
                             std::span<const StateSlice> padding)
    : comm_(comm), pool_(pool), padding_(padding.begin(), padding.end()) {
    const int world = comm.size().value;
    if (world == 1) return;
    for (int rank = 0; rank < world; ++rank) {
        const StateSlice slice = state_slice(state_elements, Rank{rank}, comm.size());
        int tag = first_tag;
        for (std::size_t begin = slice.begin; begin < slice.end; begin += chunk_elements) {
            LOCKSTEP_EXPECTS(tag < end_tag);
            if (Rank{rank} == comm.rank()) own_.push_back(chunks_.size());
            chunks_.push_back(
                {{begin, std::min(slice.end, begin + chunk_elements)}, Rank{rank}, tag++, 0, nullptr});
        }
    }
    // So that no step asks for memory.
    under_way_.reserve(chunks_.size());
    // Backward ends with the first elements.
    std::reverse(own_.begin(), own_.end());
    if (!own_.empty()) {
        arrived_.resize(
            std::min(chunk_elements, state_slice(state_elements, comm.rank(), comm.size()).size()));
    }
    begin_again();
}

std::size_t SliceExchange::bytes(std::size_t state_elements, WorldSize world_size) {
    if (world_size.value == 1) return 0;
    return std::min(chunk_elements, largest_slice(state_elements, world_size)) * sizeof(std::int64_t);
}

std::size_t SliceExchange::without_padding(StateSlice range) const {
    std::size_t elements = range.size();
    auto gap = std::ranges::upper_bound(padding_, range.begin, {}, &StateSlice::end);
    for (; gap != padding_.end() && gap->begin < range.end; ++gap) elements -= overlap(*gap, range);
    return elements;
}

void SliceExchange::begin_again() {
    for (Chunk& chunk : chunks_) {
        chunk.missing = without_padding(chunk.range);
        chunk.sent.reset();
    }
    under_way_.clear();
    received_ = 0;
}

void SliceExchange::send_if_whole(Chunk& chunk, std::span<std::int64_t> sum) {
    if (chunk.missing > 0 || chunk.sent || chunk.owner == comm_.rank()) return;
    const auto part = sum.subspan(chunk.range.begin, chunk.range.size());
    chunk.sent = comm_.send(std::as_bytes(part), chunk.owner, chunk.tag);
    under_way_.push_back(chunk.sent.get());
}

/// Peers' contributions, chunk by chunk of the own slice; of each, from the rank below to the one above.
void SliceExchange::receive_more(std::span<std::int64_t> sum, bool wait) {
    const auto peers = static_cast<std::size_t>(comm_.size().value - 1);
    while (received_ < own_.size() * peers) {
        const Chunk& chunk = chunks_[own_[received_ / peers]];
        const std::span<std::int64_t> incoming = std::span(arrived_).first(chunk.range.size());
        if (!receiving_) {
            const int distance = 1 + static_cast<int>(received_ % peers);
            const int from = (comm_.rank().value - distance + comm_.size().value) % comm_.size().value;
            receiving_ = comm_.receive(std::as_writable_bytes(incoming), Rank{from}, chunk.tag);
        }
        if (wait) {
            receiving_->wait();
        } else if (!receiving_->test() || chunk.missing > 0) {
            // What arrives before the own part is there could be overwritten by it.
            return;
        }
        receiving_.reset();
        add_integers(pool_, incoming, sum.subspan(chunk.range.begin, chunk.range.size()));
        ++received_;
    }
}

void SliceExchange::release(std::span<std::int64_t> sum, std::size_t offset, std::size_t count) {
    if (chunks_.empty()) return;
    const StateSlice released = {offset, offset + count};
    auto chunk = std::ranges::upper_bound(chunks_, offset, {}, [](const Chunk& c) { return c.range.end; });
    for (; chunk != chunks_.end() && chunk->range.begin < released.end; ++chunk) {
        const std::size_t elements = without_padding(
            {std::max(chunk->range.begin, released.begin), std::min(chunk->range.end, released.end)});
        LOCKSTEP_EXPECTS(elements <= chunk->missing);
        chunk->missing -= elements;
        send_if_whole(*chunk, sum);
    }
    // Transfers move on only while MPI is called.
    std::erase_if(under_way_, [](PendingTransfer* transfer) { return transfer->test(); });
    receive_more(sum, false);
}

void SliceExchange::complete(std::span<std::int64_t> sum) {
    // From the last, as backward would have done.
    for (std::size_t i = chunks_.size(); i-- > 0;) {
        chunks_[i].missing = 0;
        send_if_whole(chunks_[i], sum);
    }
    receive_more(sum, true);
    for (PendingTransfer* transfer : under_way_) transfer->wait();
    begin_again();
}

}  // namespace lockstep
