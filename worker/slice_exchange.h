// worker/slice_exchange.h
//
// The exchange of a step's exact sums: every rank ends with its own slice summed
// over all ranks. Chunks travel as soon as they are released, so that what backward
// has finished is on its way while it goes on; integers, so any order of arrival
// gives the same bits.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "io/comm/communicator.h"
#include "kernels/thread_pool.h"
#include "worker/model/state_layout.h"

namespace lockstep {

class SliceExchange {
  public:
    /// @param padding  ascending ranges that `release` need not name.
    SliceExchange(Communicator& comm, ThreadPool& pool, std::size_t state_elements,
                  std::span<const StateSlice> padding);

    /// Of the buffer that an object holds on rank 0.
    static std::size_t bytes(std::size_t state_elements, WorldSize world_size);

    /// Elements [offset, offset + count) of `sum` (state_elements) are all that this rank has to add; each
    /// but padding is released at most once before `complete`. Does what can be done without waiting.
    void release(std::span<std::int64_t> sum, std::size_t offset, std::size_t count);
    /// Collective. What is not released yet is released; returns when this rank's slice of `sum` is the sum
    /// over ranks and the rest of `sum` may be written again.
    /// @throws Error{peer_lost} at the deadline.
    void complete(std::span<std::int64_t> sum);

  private:
    struct Chunk {
        StateSlice range;
        Rank owner;
        int tag;
        std::size_t missing;                    ///< Elements not yet released, without padding.
        std::unique_ptr<PendingTransfer> sent;  ///< Once it is, until all are complete.
    };
    std::size_t without_padding(StateSlice range) const;
    void send_if_whole(Chunk& chunk, std::span<std::int64_t> sum);
    void receive_more(std::span<std::int64_t> sum, bool wait);
    void begin_again();

    Communicator& comm_;
    ThreadPool& pool_;
    std::vector<StateSlice> padding_;
    std::vector<Chunk> chunks_;          ///< Ascending; none in a world of one.
    std::vector<std::size_t> own_;       ///< Chunks of this rank's slice, in the order they are received.
    std::vector<std::int64_t> arrived_;  ///< One chunk of a peer's contribution.
    std::vector<PendingTransfer*> under_way_;  ///< Sent, not yet seen done.
    std::unique_ptr<PendingTransfer> receiving_;
    std::size_t received_ = 0;  ///< Contributions added: all peers' to own_[0], then to own_[1] …
};

}  // namespace lockstep
