// plan/validate_plan.h
//
// The proof that a plan is sound: structure, coverage, targets, fingerprints, a chunk at
// a time, so that what it holds is a few bits or bytes a sample, not the plan
// (docs/scale.md).

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/lazarus/plan.h"
#include "plan/plan_coverage.h"
#include "plan/plan_structure.h"
#include "plan/plan_view.h"

namespace lockstep {

/// Structure: monotone offsets, budgets, buckets, segments inside their samples (when `sources` bring
/// lengths), epochs cover each planned token exactly once and equal targets, dispositions agree, fingerprints
/// recompute.
///
/// All functions throw Error{corrupt_data} or {fingerprint_mismatch}, naming the field and the first step
/// that differs.
class PlanValidation {
  public:
    /// Checks the head, and that the sources are the plan's and give its dispositions.
    /// @param plan     its head and `sources` outlive this. Its chunks are fetched only to say where an error
    ///                 is, and need not be proven.
    /// @param sources  all of the plan's, or none.
    PlanValidation(PlanView plan, std::span<const SourceLengths> sources);
    PlanValidation(const PlanValidation&) = delete;
    PlanValidation& operator=(const PlanValidation&) = delete;

    /// All chunks of the plan, in order. @pre As StructureCheck::add. After it the chunk may be walked
    /// freely.
    void add(const PlanChunkColumns& chunk);
    /// What only the whole plan tells; fingerprints last, so that what is wrong is named before that
    /// something is.
    void finish();

  private:
    void check_targets_of_packs(const PlanChunkColumns& chunk);
    void check_targets_of_epochs(const PlanChunkColumns& chunk);
    void check_fingerprints();

    const PlanView plan_;
    const BatchPlan& head_;
    const std::span<const SourceLengths> sources_;
    StructureCheck structure_;
    LazarusTails tails_;
    SourceCursor source_;
    std::optional<EpochCoverage> epochs_;     ///< Of plans that are no mixture,
    std::optional<MixtureCoverage> mixture_;  ///< and of those that are one.
    std::vector<Fingerprint> leaves_;
    std::uint64_t epoch_ = 0, epoch_targets_ = 0;  ///< The epoch of the next chunk.
    std::optional<std::uint64_t> first_epoch_targets_;
};

/// The whole of a plan in memory. @throws as PlanValidation.
void validate_plan(const BatchPlan& plan, std::span<const SourceLengths> sources);

/// Build the plan again from its own options and these sources, and compare.
/// @return why that can't be done; empty if it was.
/// @throws Error{fingerprint_mismatch} naming the first step and field that differ.
std::string check_rebuilt_plan(const PlanView& plan, std::span<const SourceLengths> sources);

}  // namespace lockstep
