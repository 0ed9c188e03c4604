// coordinator/verify.h
//
// The proof (P3): over plan, corpus and ledger, every planned token was fed once
// and every target trained once; over the shards, the state is the one recorded.
// Replays nothing through the worker's code: what a pack must hold is derived here
// a second time.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/plan_input.h"
#include "io/base/fingerprint.h"
#include "plan/plan_view.h"

namespace lockstep {

struct VerifyReport {
    std::uint64_t steps = 0;  ///< Covered by the newest generation.
    std::uint64_t steps_planned = 0;
    std::uint64_t packs = 0;
    std::uint64_t tokens = 0;
    std::uint64_t targets_trained = 0;
    std::uint64_t packs_without_target = 0;
    std::uint64_t packs_skipped = 0;  ///< Not finite; recorded, not trained.
    std::uint64_t ledger_segments = 0;
    std::vector<std::uint64_t> generations;  ///< Retained and checked.
    Fingerprint plan;                        ///< In force at the newest generation's last step.
    std::uint64_t revisions = 0;             ///< Changes of plan on the way.
    Fingerprint model;                       ///< Settings the newest generation was trained with.
    std::string numerics;
    Fingerprint ledger_root;
    Fingerprint state_digest;
    std::vector<std::string> problems;  ///< Failed proofs, at most 20; empty: proven.
    std::uint64_t num_problems = 0;

    bool proven() const { return num_problems == 0; }
};

/// A plan of a run's chain: the run's own from step 0, then its revisions.
struct ChainedPlan {
    std::uint64_t from_step = 0;
    PlanView plan;
};

/// Every record is checked against the plan that was in force at its step; a revision must agree with the
/// plan before it on every step before its own.
/// @param plans   ascending by from_step, the first from step 0; validated and bound to `inputs`
///                (bind_sources, plan_store.h).
/// @throws Error{corrupt_data} when a digest fails (exit 65); failed proofs with sound digests are `problems`
/// (exit 1).
VerifyReport verify_run(const std::filesystem::path& run, const std::vector<ChainedPlan>& plans,
                        const std::vector<PlanInput>& inputs);
/// A run that was never revised.
VerifyReport verify_run(const std::filesystem::path& run, const BatchPlan& plan,
                        const std::vector<PlanInput>& inputs);

/// Two runs that must be the same: state digest and ledger root at their newest generations. Adds to
/// `report.problems`.
void compare_runs(VerifyReport& report, const std::filesystem::path& other_run);

}  // namespace lockstep
