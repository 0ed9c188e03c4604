// launch/cli/plan/plan_verbs.h
//
// Verbs of `batchplan` beyond building and checking, and what they share.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/plan_file.h"
#include "coordinator/plan_store.h"
#include "launch/cli/invocation.h"

namespace lockstep {

void add_plan_step(CLI::App& noun, Invocation& invocation);     // plan_step.cpp
void add_plan_where(CLI::App& noun, Invocation& invocation);    // plan_where.cpp
void add_plan_diff(CLI::App& noun, Invocation& invocation);     // plan_diff_verb.cpp
void add_plan_exclude(CLI::App& noun, Invocation& invocation);  // plan_exclude.cpp
void add_plan_exports(CLI::App& noun, Invocation& invocation);  // plan_exports.cpp: shard, export

/// Source of a global sample id, and the id within it. @pre The sample exists.
struct SamplePlace {
    std::size_t source = 0;
    std::uint64_t sample = 0;
};
SamplePlace place_of_sample(const BatchPlan& head, std::uint64_t sample);

/// The plan's sources, opened: [NAME=]FILE arguments in any order, checked to be those the plan was built
/// from. @param need_corpora  lengths files will not do.
/// @throws Error{invalid_argument, fingerprint_mismatch} naming the source.
std::vector<PlanInput> open_plan_sources(const PlanFile& plan, const std::vector<std::string>& arguments,
                                         bool need_corpora);

/// "17" is a global sample id, "web:17" the sample 17 of source 'web'.
/// @throws Error{invalid_argument} naming what does not exist.
std::uint64_t parse_sample(const BatchPlan& head, const std::string& text);

/// Global ids of these keys, in their order. @throws Error{invalid_argument} naming a key that no source has
/// or several have.
std::vector<std::uint64_t> find_keys(const BatchPlan& head, const std::vector<PlanInput>& inputs,
                                     const std::vector<std::string>& keys);

}  // namespace lockstep
