// io/comm/communicator.h
//
// The few ways ranks talk. An interface, so that a world of one is complete
// without MPI and a test can stand in for a cluster.
//
// Every operation is nonblocking underneath and has a deadline: when it passes,
// the operation throws Error{peer_lost} naming the operation, the phase set by
// `set_phase` and the ranks not heard from, instead of waiting for ever.
// Collectives are called by all ranks in the same order. All calls are made by
// one thread. Domain types encode themselves to bytes.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/base/ids.h"

namespace lockstep {

/// A send or receive under way. Its buffer belongs to the caller and must stay
/// until it is done. Destroying an unfinished one cancels interest, it never blocks,
/// and does not end the use of the buffer: see keep_until_exit.
class PendingTransfer {
  public:
    virtual ~PendingTransfer() = default;
    /// True once done; makes progress.
    virtual bool test() = 0;
    /// @throws Error{peer_lost} at the deadline.
    virtual void wait() = 0;
};

class Communicator {
  public:
    virtual ~Communicator() = default;

    virtual Rank rank() const = 0;
    virtual WorldSize size() const = 0;

    /// What the run is doing ("step 120: exchange"), for error messages.
    virtual void set_phase(std::string phase) = 0;
    /// Deadline of each single operation. Default 600 s.
    virtual void set_timeout(std::chrono::milliseconds timeout) = 0;

    /// What is known of a rank that fell silent ("rank 2 on host n3, last in step 12"), for error messages.
    /// Asked once, when an operation is given up. Must not communicate.
    virtual void set_witness(std::function<std::string(Rank)>) {}

    virtual void barrier() = 0;
    /// Root's bytes to everyone; sizes must agree on all ranks. Any length (chunked beyond 2^30 bytes).
    virtual void broadcast(std::span<std::byte> bytes, Rank root) = 0;
    /// Element-wise over ranks, result on every rank.
    virtual void sum(std::span<std::int64_t> values) = 0;  ///< Wraps modulo 2^64.
    virtual void max(std::span<std::int64_t> values) = 0;
    /// Equal-sized blocks: rank r's `mine` lands at all[r · mine.size()] on every rank.
    virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
    /// Blocks of different sizes (may be 0), known to all: block r is `sizes[r]` bytes, laid end to end in
    /// rank order in `all`. `mine` may alias its own block of `all`.
    virtual void all_gather_v(std::span<const std::byte> mine, std::span<std::byte> all,
                              std::span<const std::uint64_t> sizes) = 0;
    /// Messages of any length from every rank to root, in rank order; empty vector elsewhere.
    virtual std::vector<std::vector<std::byte>> gather(std::span<const std::byte> mine, Rank root) = 0;

    /// Tags in [0, 32000). Any length. Lengths must match on both sides.
    virtual std::unique_ptr<PendingTransfer> send(std::span<const std::byte> bytes, Rank to, int tag) = 0;
    virtual std::unique_ptr<PendingTransfer> receive(std::span<std::byte> bytes, Rank from, int tag) = 0;

    /// End the whole job at once with this exit code; for errors after which ranks can no longer agree.
    [[noreturn]] virtual void abort(int exit_code) = 0;
};

/// For buffers of transfers nobody waits for any more: peers may still ask for them, so they stay as long as
/// the process.
template <class T>
void keep_until_exit(T buffers) {
    static_cast<void>(new T(std::move(buffers)));
}

/// Typed views of the byte operations.
template <class T>
void broadcast_array(Communicator& comm, std::span<T> values, Rank root) {
    comm.broadcast(std::as_writable_bytes(values), root);
}

/// A vector whose length only root knows: length first, then the bytes.
void broadcast_bytes(Communicator& comm, std::vector<std::byte>& bytes, Rank root);

}  // namespace lockstep
