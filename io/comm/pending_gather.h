// io/comm/pending_gather.h
//
// A gather that goes on beside other work: messages of any length from every rank
// to root. No rank waits for another before it asks for the messages with `wait`.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "io/comm/communicator.h"

namespace lockstep {

class PendingGather {
  public:
    /// Every rank makes one, with the same root. @param tag  it takes this one and the next; of two that are
    /// under way at a time each has its own.
    PendingGather(Communicator& comm, std::vector<std::byte> mine, Rank root, int tag);
    /// Given up unless done.
    ~PendingGather();
    PendingGather(const PendingGather&) = delete;
    PendingGather& operator=(const PendingGather&) = delete;

    /// True once done: on root all messages are there, elsewhere this rank's has left. Makes progress.
    bool test();
    /// @throws Error{peer_lost} at the deadline.
    void wait();
    /// In rank order on root, empty elsewhere. @pre done.
    std::vector<std::vector<std::byte>> take();

  private:
    bool go_on(bool wait);

    Communicator& comm_;
    Rank root_;
    int tag_;
    std::vector<std::vector<std::byte>> messages_;  ///< On root all, elsewhere this rank's alone.
    std::vector<std::uint64_t> lengths_;
    std::vector<std::unique_ptr<PendingTransfer>> length_transfers_, message_transfers_;
    std::size_t lengths_done_ = 0, messages_done_ = 0;
};

}  // namespace lockstep
