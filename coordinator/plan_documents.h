// coordinator/plan_documents.h
//
// The JSON files of a plan's folder, as values (docs/formats/plan.md).

#pragma once

#include <nlohmann/json.hpp>

#include "plan/batch_plan.h"
#include "plan/epoch_order.h"

namespace lockstep {

/// metadata.json. Looks at the plan's head alone.
nlohmann::json metadata_of(const BatchPlan& head, const EpochCounts& total);
/// fingerprints.json, but for its record of the other files.
nlohmann::json fingerprints_of(const BatchPlan& head);
/// stats.json.
nlohmann::json stats_json(const PlanStats& stats);

}  // namespace lockstep
