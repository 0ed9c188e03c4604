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

/// Who computes the pack of one check.
struct CrossCheckRoles {
    Rank owner;                 ///< As one of its own.
    Rank checker;               ///< The next rank; in a world of one the same computes twice.
    std::optional<Rank> third;  ///< One that has not computed it yet, if the world has three.
};
CrossCheckRoles roles_for(Rank owner, WorldSize world);

/// Which steps are checked, and whose turn it is: a function of step and world alone.
class CrossCheckPlan {
  public:
    /// @param every  check steps divisible by it; 0: none.
    CrossCheckPlan(std::uint64_t every, WorldSize world) : every_(every), world_(world) {}

    bool checks(std::uint64_t step) const { return every_ > 0 && step % every_ == 0; }
    /// The first choice of an owner. @pre checks(step).
    Rank turn(std::uint64_t step) const;
    /// The first choice among a rank's packs of the step. @pre checks(step); own_packs > 0.
    std::size_t pack(std::uint64_t step, std::size_t own_packs) const;

  private:
    std::uint64_t every_;
    WorldSize world_;
};

/// Collective. The owner is the first rank, from the one whose turn it is on, that has something to check;
/// none if no rank has.
/// @param has_targets  this rank has a pack with targets in the step.
std::optional<CrossCheckRoles> agree_on_roles(Communicator& comm, const CrossCheckPlan& plan,
                                              std::uint64_t step, bool has_targets);

/// A batch from one rank to another; an empty one says there is none. Local to the two.
/// If the receiver has no room for it, it alone throws.
void send_batch(Communicator& comm, const PackedBatch& batch, Rank to);
PackedBatch receive_batch(Communicator& comm, Rank from);
inline constexpr int batch_tag = 102;  ///< Of both ways.

/// Who was wrong, of two that differ, by what was computed besides.
struct CrossCheckFinding {
    std::optional<Rank> odd;  ///< None: it cannot be told.
    std::string text;         ///< "rank 2 (host node3) is the odd one out"
};

/// Collective. @param compute  this rank's further computation, called where one is needed: a third rank
/// where the world has three, else both again.
/// @param batch  the checked batch on its owner and checker.
/// @throws AgreedError if a rank fails at it.
CrossCheckFinding find_the_odd_one(Communicator& comm, const CrossCheckRoles& roles, std::uint64_t step,
                                   const PackedBatch& batch, const PackImage& owner, const PackImage& checker,
                                   FunctionRef<PackImage(const PackedBatch&)> compute);

}  // namespace lockstep
