// plan/lazarus/plan.h
//
// Lazarus mode (PlanCompat::lazarus): a plan with exactly the microbatches that
// Lazarus would make, a pack a microbatch. What its rules allow and ours do not is
// allowed only here, and counted: packs of one sample over the budget, and samples
// that drop_last leaves out of an epoch.
//
// Lazarus' lengths are one ordered map; here that is the sources one after another.
// docs/lazarus.md says how its settings map to ours.

#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/dispositions.h"
#include "plan/lazarus/sampler.h"
#include "plan/plan_chunk.h"

namespace lockstep {

/// What Lazarus mode takes: bucket mode; orders shuffle and buckets-interleaved (both Lazarus' interleaving)
/// or short-to-long; long samples dropped; no cap of segments. @throws Error{invalid_argument} naming the
/// option. Called by check_options.
void check_lazarus_options(const PlanOptions& options);

/// `predictable` is Lazarus' preset of that name: short-to-long and drop_last; the seed stays. Idempotent.
/// Called by effective_options.
PlanOptions effective_lazarus_options(const PlanOptions& options);

/// The sampler's settings, from a plan's effective options.
LazarusSampling lazarus_sampling_of(const PlanOptions& options);

/// The part of build_plan for PlanCompat::lazarus; throws what build_plan does.
BatchPlan build_lazarus_plan(const PlanOptions& options, std::span<const SourceLengths> sources);

/// A plan in Lazarus mode of the epochs given, each over the rows of fates.segments.
/// @param options  effective.
BatchPlan assemble_lazarus_plan(const PlanOptions& options, std::vector<std::string> algorithms,
                                std::span<const SourceLengths> sources, Fates fates,
                                const std::function<LazarusEpoch(std::uint64_t epoch)>& epoch_at);

/// Most samples that drop_last leaves out of an epoch; 0 in plans without.
std::uint64_t lazarus_left_out_max(const PlanOptions& options);

/// Every bucket gives the same packs in every epoch, full but for its last one; under drop_last all are full.
/// With lengths, exactly as many samples are left out as do not fill a batch. Knows nothing of other plans.
class LazarusTails {
  public:
    /// @param head  of sound structure; outlives this.
    explicit LazarusTails(const BatchPlan& head);

    /// All chunks of the plan, in order. @throws Error{corrupt_data} naming epoch, bucket, expected and
    /// found.
    void add(const PlanChunkColumns& chunk);
    /// @param sources  all of the plan's, or none. @throws as add.
    void finish(std::span<const SourceLengths> sources) const;

  private:
    void begin_epoch();
    void end_epoch();

    const BatchPlan& head_;
    const bool applies_;
    LazarusSampling sampling_;
    std::uint64_t epoch_ = 0;
    std::vector<bool> ended_;                         ///< (buckets) by a pack that is not full.
    std::vector<std::uint64_t> packs_, first_packs_;  ///< (buckets) of this and of the first epoch.
};

/// Packs whose padded size is over the budget; 0 in other modes.
std::uint64_t lazarus_packs_over_budget(const PlanOptions& options, const PlanChunkColumns& chunk);
/// Samples that drop_last left out of a plan of so many segments, all epochs.
std::uint64_t lazarus_left_out(const BatchPlan& head, std::uint64_t num_segments);

}  // namespace lockstep
