// coordinator/run_record.h
//
// run.json: what a run is, published before its first step; revisions.json: the plans
// it changed over to since (docs/formats/run.md).

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/base/fingerprint.h"
#include "plan/plan_slice.h"

namespace lockstep {

struct Manifest;

struct RunCorpus {
    std::string name;
    std::string path;  ///< Absolute.
    Fingerprint content;
};

/// A plan that decides a run's steps from `from_step` on.
struct PlanInForce {
    std::uint64_t from_step = 0;
    std::string path;  ///< Absolute.
    Fingerprint plan;
    std::optional<PlanTotals> totals;  ///< As the whole plan was last read; none in older runs.
    friend bool operator==(const PlanInForce&, const PlanInForce&) = default;
};

struct RunRecord {
    std::string settings_json;  ///< The worker's settings, as an object; not understood here.
    std::string numerics;
    Fingerprint model;      ///< Of those settings.
    std::string plan_path;  ///< Absolute.
    Fingerprint plan;
    std::optional<PlanTotals> plan_totals;
    std::vector<RunCorpus> corpora;
    std::string init_path;          ///< Absolute; the folder of the initial weights, empty if they are drawn.
    std::string init_adapter_path;  ///< Absolute; the folder of the initial adapters, if there is one.
    std::string checkpoint_every = "0";  ///< As --checkpoint-every has it; not understood here.
    std::uint64_t keep = 2;
    std::uint64_t keep_every = 0;
    /// As read: the plan above from step 0, then the revisions the run changed over to (revisions.json),
    /// ascending by from_step. Not empty.
    std::vector<PlanInForce> plans;
};

/// The plan a step was, or will be, trained from.
const PlanInForce& plan_in_force(const std::vector<PlanInForce>& plans, std::uint64_t step);
/// The plan behind a state after `steps_done` steps: the one its last step was trained from.
const PlanInForce& plan_behind(const std::vector<PlanInForce>& plans, std::uint64_t steps_done);

std::filesystem::path run_record_path(const std::filesystem::path& run);

/// @throws Error{output_exists} if the run exists already.
void write_run_record(const std::filesystem::path& run, const RunRecord& record);

/// Records the chain of plans, run.json's first, as revisions.json. @pre plans is not empty.
void write_run_revisions(const std::filesystem::path& run, const std::vector<PlanInForce>& plans);

/// @throws Error{not_found} naming the folder; Error{corrupt_data, incompatible_version}.
RunRecord read_run_record(const std::filesystem::path& run);

/// A generation must follow the plan that the run's record puts behind it, and its settings.
/// @throws Error{fingerprint_mismatch}.
void check_generation(const RunRecord& record, const Manifest& generation, const std::string& run);

}  // namespace lockstep
