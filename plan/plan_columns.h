// plan/plan_columns.h
//
// A plan as named columns, and back. What makes the columns durable or sends
// them is not known here.

#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "plan/batch_plan.h"

namespace lockstep {

using PlanColumn = std::variant<std::vector<std::uint8_t>, std::vector<std::uint16_t>,
                                std::vector<std::uint32_t>, std::vector<std::uint64_t>>;

/// Names, types and meaning: docs/formats/plan.md.
struct PlanColumns {
    /// "segment_sample", … Narrowest documented type.
    std::map<std::string, PlanColumn> columns;
    /// "options", "source/0/name", fingerprints as hexadecimal digits, …
    std::map<std::string, std::string> texts;
};

/// Canonical JSON of the options, the text "options": keys sorted, no spaces, integers, names of enumerators.
std::string text_of_options(const PlanOptions& options);

PlanColumns to_columns(const BatchPlan& plan);

/// The same without the columns that grow with steps (is_body_column), which are not looked at.
PlanColumns head_to_columns(const BatchPlan& plan);

/// The plan's structure is checked (plan_structure.h): it may be walked without further care. Memory is
/// bounded by the size of the columns. Does not recompute fingerprints (validate_plan does); takes them as
/// they are.
/// @throws Error{corrupt_data, incompatible_version} naming the column or text that is missing, of another
///         type, or wrong.
BatchPlan from_columns(const PlanColumns& columns);

/// Names of the columns that grow with steps: step_begin, pack_…, segment_….
bool is_body_column(std::string_view name);

/// A plan without its body columns, for readers that map those: options, sources, epochs, dispositions,
/// fingerprints. Column and text checks as from_columns; `columns` may hold body columns, which are left.
BatchPlan head_from_columns(const PlanColumns& columns);

}  // namespace lockstep
