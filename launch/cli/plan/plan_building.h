// launch/cli/plan/plan_building.h
//
// Options of a plan, shared by `batchplan build` and `train --build-plan`.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "coordinator/plan_writer.h"
#include "launch/cli/invocation.h"
#include "launch/cli/world.h"

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
    std::optional<std::uint32_t> segments_per_pack, stages;
    std::vector<std::string> source_passes, repeat_max;  ///< NAME=K
    bool no_balance = false;
    int threads = 0;  ///< Of each rank; 0: cores over ranks on the node.
    bool predictable = false, drop_last = false, force = false;
};

/// @param group  heading in --help.
std::vector<CLI::Option*> add_plan_options(CLI::App& verb, PlanBuildArguments& arguments,
                                           const std::string& group);

/// Build, save, say what came of it. Collective with `comm`: all its ranks make chunks, rank 0 writes and
/// speaks.
/// @param comm  null: this process alone, of the ranks of `world`.
BuiltPlanFolder build_and_save_plan(const Invocation& invocation, const PlanBuildArguments& arguments,
                                    const World& world, Communicator* comm);

/// What people want to know of a plan, and the same as JSON.
void describe_plan(const Invocation& invocation, const BatchPlan& plan, const PlanStats& stats);
nlohmann::ordered_json plan_json(const BatchPlan& plan, const PlanStats& stats);

}  // namespace lockstep
