// coordinator/plan_tokenizers.h
//
// What a plan's folder remembers of the tokenizers of its corpora, so that a start
// with another one can say what changed. The plan itself has their fingerprints.

#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "coordinator/plan_store.h"

namespace lockstep {

/// For metadata.json: the parts of each input's tokenizer (ingest/tokenizer_parts.h); null for lengths alone.
nlohmann::json tokenizer_records(const std::vector<PlanInput>& inputs);
/// What is wrong with the records of a metadata.json; empty: nothing, or an older plan's, which has none.
std::string problem_of_tokenizer_records(const nlohmann::json& metadata, std::size_t num_sources);

/// Comes before bind_sources and validate_plan, which only see that it is another tokenizer.
/// @throws Error{fingerprint_mismatch} naming the source and, as far as the folder records the parts, those
///         that changed.
void require_same_tokenizers(const std::filesystem::path& directory, const std::vector<PlanSource>& sources,
                             const std::vector<PlanInput>& inputs);

}  // namespace lockstep
