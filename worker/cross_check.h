// worker/cross_check.h
//
// Silent corruption: now and then one pack of a step is computed by two ranks, and
// what they hold of it is compared by bits. Since a pack's gradient does not depend
// on who computes it, any difference is a fault of some machine. A further
// computation says whose.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/base/digest.h"
#include "io/base/function_ref.h"
#include "io/base/ids.h"
#include "io/comm/communicator.h"
#include "kernels/thread_pool.h"
#include "worker/packed_batch.h"

namespace lockstep {

enum class CrossCheckRole : std::uint8_t { owner, checker };

/// What two computations of a pack are compared by.
struct PackImage {
    Digest gradient;  ///< Of the integers that go into the exact sum.
    std::uint64_t loss_bits = 0;

    static constexpr std::size_t words = 3;
    void put(std::span<std::int64_t, words> to) const;
    static PackImage take(std::span<const std::int64_t, words> from);
    friend bool operator==(const PackImage&, const PackImage&) = default;
};

/// Digests a pack's gradient on its way into the exact sum, as the same integers.
class GradientDigest {
  public:
    explicit GradientDigest(ThreadPool& pool) : pool_(pool) {}
    /// As ExactSum::add; tensors come in the same order on every rank.
    void add(std::size_t offset, std::span<const float> part, int exponent, std::uint64_t packs_in_step);
    Digest value() const { return stream_.value(); }

  private:
    ThreadPool& pool_;
    DigestStream stream_;
    std::vector<std::int64_t> integers_;
};

/// Who computes what at the checked steps: a function of step and world alone.
class CrossCheckPlan {
  public:
    /// @param every  check steps divisible by it; 0: none.
    CrossCheckPlan(std::uint64_t every, WorldSize world) : every_(every), world_(world) {}

    bool checks(std::uint64_t step) const { return every_ > 0 && step % every_ == 0; }
    Rank owner(std::uint64_t step) const { return rank_after(step, 0); }
    /// The next rank; in a world of one the same computes twice.
    Rank checker(std::uint64_t step) const { return rank_after(step, 1); }
    /// One that has not computed it yet, if the world has three.
    std::optional<Rank> third(std::uint64_t step) const;
    /// Which of the owner's packs of the step. @pre own_packs > 0.
    std::size_t pack(std::uint64_t step, std::size_t own_packs) const;

  private:
    Rank rank_after(std::uint64_t step, std::uint64_t distance) const;

    std::uint64_t every_;
    WorldSize world_;
};

/// A batch from one rank to another; an empty one says there is none. Local to the two.
void send_batch(Communicator& comm, const PackedBatch& batch, Rank to);
PackedBatch receive_batch(Communicator& comm, Rank from);

/// Who was wrong, of two that differ, by what was computed besides.
struct CrossCheckFinding {
    std::optional<Rank> odd;  ///< None: it cannot be told.
    std::string text;         ///< "rank 2 (host node3) is the odd one out"
};

/// Collective. @param compute  this rank's further computation, called where one is needed: a third rank
/// where the world has three, else both again.
/// @param batch  the checked batch on its owner and checker.
CrossCheckFinding find_the_odd_one(Communicator& comm, const CrossCheckPlan& plan, std::uint64_t step,
                                   const PackedBatch& batch, const PackImage& owner, const PackImage& checker,
                                   FunctionRef<PackImage(const PackedBatch&)> compute);

}  // namespace lockstep
