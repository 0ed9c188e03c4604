// coordinator/run_plans.h
//
// The plans of a run's record against the folders they are found in.

#pragma once

#include <cstdint>
#include <filesystem>

#include "coordinator/plan_file.h"
#include "coordinator/run_record.h"

namespace lockstep {

/// `found` is what a folder holds, `wanted` what the record names.
/// @throws Error{fingerprint_mismatch} naming record, folder, expected and found.
void require_plan_of_run(const PlanInForce& wanted, const std::filesystem::path& folder,
                         const Fingerprint& found);

/// One of a run's plans, to be served from. @throws as PlanFile::open and require_plan_of_run.
PlanFile open_plan_of_run(const PlanInForce& wanted, const std::filesystem::path& folder);

/// The plan to go on with may differ from the one behind the run's state only in steps that are to come.
/// @param before  the plan behind the state, where it is found now.
/// @param cursor  the next step to run.
/// @throws Error{fingerprint_mismatch} naming the first step that differs.
void check_revision(const PlanInForce& before, const std::filesystem::path& revision, std::uint64_t cursor);

}  // namespace lockstep
