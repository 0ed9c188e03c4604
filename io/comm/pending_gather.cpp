#include "io/comm/pending_gather.h"

#include <span>
#include <utility>

#include "io/base/contract.h"

namespace lockstep {

PendingGather::PendingGather(Communicator& comm, std::vector<std::byte> mine, Rank root, int tag)
    : comm_(comm), root_(root), tag_(tag) {
    if (comm.rank() != root) {
        lengths_.push_back(mine.size());
        messages_.push_back(std::move(mine));
        length_transfers_.push_back(comm.send(std::as_bytes(std::span(lengths_)), root, tag_));
        message_transfers_.push_back(comm.send(messages_.front(), root, tag_ + 1));
        return;
    }
    const auto world = static_cast<std::size_t>(comm.size().value);
    lengths_.resize(world);
    messages_.resize(world);
    length_transfers_.resize(world);
    message_transfers_.resize(world);
    for (std::size_t peer = 0; peer < world; ++peer) {
        const Rank from{static_cast<int>(peer)};
        if (from == root) {
            messages_[peer] = std::move(mine);
        } else {
            length_transfers_[peer] =
                comm.receive(std::as_writable_bytes(std::span(lengths_).subspan(peer, 1)), from, tag_);
        }
    }
}

PendingGather::~PendingGather() {
    if (messages_done_ == message_transfers_.size()) return;
    keep_until_exit(std::move(messages_));
    keep_until_exit(std::move(lengths_));
}

/// In rank order and up to the first that is not there, so that asking often is cheap in a large world too.
bool PendingGather::go_on(bool wait) {
    const auto done = [wait](std::unique_ptr<PendingTransfer>& transfer) {
        if (!transfer) return true;
        if (wait) transfer->wait();
        if (!wait && !transfer->test()) return false;
        transfer.reset();
        return true;
    };
    for (; lengths_done_ < length_transfers_.size(); ++lengths_done_) {
        const Rank from{static_cast<int>(lengths_done_)};
        const bool receives = comm_.rank() == root_ && from != root_;
        if (!done(length_transfers_[lengths_done_])) break;
        if (!receives) continue;
        messages_[lengths_done_].resize(lengths_[lengths_done_]);
        message_transfers_[lengths_done_] = comm_.receive(messages_[lengths_done_], from, tag_ + 1);
    }
    while (messages_done_ < lengths_done_ && done(message_transfers_[messages_done_])) ++messages_done_;
    return messages_done_ == message_transfers_.size();
}

bool PendingGather::test() {
    return go_on(false);
}

void PendingGather::wait() {
    go_on(true);
}

std::vector<std::vector<std::byte>> PendingGather::take() {
    LOCKSTEP_EXPECTS(messages_done_ == message_transfers_.size());
    if (comm_.rank() != root_) return {};
    return std::exchange(messages_, {});
}

}  // namespace lockstep
