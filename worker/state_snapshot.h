// worker/state_snapshot.h
//
// The state of one rank at a step boundary, held still while a generation is
// written from it: this rank's slices of weights and moments, and the pieces of
// other ranks' slices that end the tree leaves which begin in this one. With it a
// thread can write and hash without asking anybody.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/base/large_pages.h"
#include "io/comm/communicator.h"
#include "io/run/checkpoint.h"
#include "kernels/thread_pool.h"
#include "worker/sharded_state.h"

namespace lockstep {

enum class SnapshotMode : std::uint8_t {
    copy,    ///< Into buffers allocated once: the state may change at once.
    borrow,  ///< No second copy: the state must not change until the generation is written.
};

/// Digests of the tree leaves that begin in one rank's slice (io/run/state_digest.h): weights, first and
/// second moments.
using StateLeaves = std::array<std::vector<Fingerprint>, 3>;

class StateSnapshot {
  public:
    /// @param state  outlives the snapshot.
    StateSnapshot(Communicator& comm, ThreadPool& pool, const ShardedState& state, SnapshotMode mode);
    ~StateSnapshot();
    StateSnapshot(const StateSnapshot&) = delete;
    StateSnapshot& operator=(const StateSnapshot&) = delete;

    /// What the copies of one rank take; 0 when borrowing.
    static std::size_t bytes(std::size_t state_elements, WorldSize world_size, SnapshotMode mode);

    /// By every rank: the state as it is now. Waits for this rank's own copy alone; the pieces of other ranks
    /// come afterwards.
    void take();
    bool awaits_tails() const { return !incoming_.empty(); }  ///< Asks nobody.
    /// True once they are here; makes progress, as long as any are under way for other ranks too.
    bool has_tails();
    /// Until they are here, and those for other ranks are gone. @throws Error{peer_lost} at the deadline.
    void wait_for_tails();

    std::size_t state_elements() const { return total_; }  ///< Of the whole flat state.
    StateSlice slice() const { return slice_; }
    std::span<const float> weights() const { return parts_[0].values; }
    std::span<const float> adam_m() const { return parts_[1].values; }
    std::span<const float> adam_v() const { return parts_[2].values; }

    /// Local; any thread, as long as nobody takes. @pre has_tails(). @param pause  called between leaves; may
    /// throw.
    StateLeaves leaves(const std::function<void()>& pause = {}) const;

  private:
    struct Part {
        LargeVector<float> copy;
        std::span<const float> values;  ///< (slice_.size())
        std::vector<float> tail;        ///< What follows the slice in the last leaf that begins in it.
    };
    std::array<std::span<const float>, 3> present() const;
    void begin_tails();
    std::vector<Fingerprint> leaves_of(const Part& part, const std::function<void()>& pause) const;

    Communicator& comm_;
    ThreadPool& pool_;
    const ShardedState& state_;
    SnapshotMode mode_;
    StateSlice slice_;
    std::size_t total_;
    std::size_t first_leaf_;  ///< First element of the first leaf that begins in the slice.
    std::array<Part, 3> parts_;
    std::vector<std::unique_ptr<PendingTransfer>> outgoing_, incoming_;  ///< Tails under way.
};

/// The state digest of the ranks' leaves, in rank order.
Fingerprint state_digest_of_leaves(const Cursor& cursor, std::span<const StateLeaves> by_rank);

}  // namespace lockstep
