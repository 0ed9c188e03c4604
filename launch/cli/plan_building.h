// launch/cli/plan_building.h
//
// Options of a plan, shared by `batchplan build` and `train --build-plan`.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/plan_store.h"
#include "launch/cli/invocation.h"

namespace lockstep {

struct PlanBuildArguments {
    std::vector<std::string> inputs;  ///< [NAME=]FILE
    std::string output;
    std::uint64_t epochs = 1;
    std::uint32_t budget = 4096;
    std::uint32_t packs_per_step = 8;
    std::uint64_t seed = 42;
    std::string compat = "none", mode = "pack", packing = "auto", order = "shuffle", long_policy = "auto",
                cost, jsonl = "auto";
    std::vector<std::uint32_t> bucket_edges;
    std::optional<std::uint32_t> bucket_overflow_max;
    bool predictable = false, drop_last = false, force = false;
};

/// @param group  heading in --help.
std::vector<CLI::Option*> add_plan_options(CLI::App& verb, PlanBuildArguments& arguments,
                                           const std::string& group);

struct BuiltPlan {
    BatchPlan plan;
    PlanStats stats;
    SavedPlan saved;
    double seconds = 0;  ///< Building and fingerprinting, without files.
};

/// Build, save, say what came of it.
BuiltPlan build_and_save_plan(const Invocation& invocation, const PlanBuildArguments& arguments);

/// What people want to know of a plan, and the same as JSON.
void describe_plan(const Invocation& invocation, const BatchPlan& plan, const PlanStats& stats);
nlohmann::ordered_json plan_json(const BatchPlan& plan, const PlanStats& stats);

}  // namespace lockstep
