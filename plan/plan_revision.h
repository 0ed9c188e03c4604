// plan/plan_revision.h
//
// A revision: a plan without some samples or steps from one step on. It names its
// parent; what is left out leaves a hole, so that no number ever shifts and a run
// can change over to it between two steps (docs/formats/plan.md, "Revisions").

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/plan_view.h"

namespace lockstep {

struct Exclusion {
    std::uint64_t from_step = 0;
    std::vector<std::uint64_t> samples;  ///< Global ids; all their segments from from_step on.
    std::vector<std::uint64_t> steps;    ///< Each at or after from_step; all their packs become empty.
};

/// Targets of a segment. Only asked where the plan alone does not tell: packs whose tokens are not all
/// trained.
using SegmentTargets =
    std::function<std::uint32_t(std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens)>;

struct RevisionCounts {
    std::uint64_t segments_removed = 0;
    std::uint64_t tokens_removed = 0;
    std::uint64_t packs_changed = 0;
    std::uint64_t packs_emptied = 0;  ///< Of those changed.
};

/// Steps before from_step, and packs that hold nothing excluded, stay as they are to the bit; so do their
/// chunks' fingerprints. Rows are made from the plan's when they are asked for, a chunk at a time.
class PlanRevision {
  public:
    /// Goes through the plan once.
    /// @param plan     of sound structure; like `targets`, what it borrows outlives this.
    /// @param targets  may be empty if no pack needs it.
    /// @throws Error{invalid_argument} naming a sample that does not exist or has no segment from there on,
    ///         a step outside [from_step, steps) or already empty, a sample or step given twice, an
    ///         exclusion of nothing, or a pack whose targets cannot be told without `targets`.
    PlanRevision(PlanView plan, const Exclusion& exclusion, const SegmentTargets& targets);
    ~PlanRevision();
    PlanRevision(const PlanRevision&) = delete;
    PlanRevision& operator=(const PlanRevision&) = delete;

    const RevisionCounts& counts() const;
    PlanView view();  ///< Of the revision; borrows from this.

  private:
    class Rows;
    std::unique_ptr<Rows> rows_;
};

/// Proves that a plan is its parent less whole segments from its from_step on, and nothing else: pack by
/// pack, what is kept in its order. Targets of a pack that lost some are only bounded: which were trained its
/// corpus tells, and validate_plan with it.
/// @throws Error{invalid_argument} if the plan is no revision; Error{fingerprint_mismatch} if it is one of
///         another plan; Error{corrupt_data} naming the first step and pack that is more or other than that.
RevisionCounts check_revision(const PlanView& parent, const PlanView& revision);

/// The same of a plan in memory. @throws as PlanRevision.
struct Revision : RevisionCounts {
    BatchPlan plan;
};
Revision revise_plan(const BatchPlan& plan, const Exclusion& exclusion, const SegmentTargets& targets);

}  // namespace lockstep
