// plan/plan_columns.h
//
// A plan as named columns, and back. What makes the columns durable or sends
// them is not known here.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "plan/batch_plan.h"

namespace lockstep {

using PlanColumn = std::variant<std::vector<std::uint8_t>, std::vector<std::uint16_t>,
                                std::vector<std::uint32_t>, std::vector<std::uint64_t>>;

struct PlanColumns {
    std::map<std::string, PlanColumn>
        columns;  ///< "segment_sample", … (DESIGN §4.3). Narrowest documented type.
    std::map<std::string, std::string>
        texts;  ///< "options" (canonical JSON-like text), "source/0/name", fingerprints as hex, …
};

PlanColumns to_columns(const BatchPlan& plan);

/// @throws Error{corrupt_data, incompatible_version} naming the column or text that is missing, of another
/// type, or wrong. Does not recompute fingerprints (validate_plan does); takes them from the texts.
BatchPlan from_columns(const PlanColumns& columns);

}  // namespace lockstep
