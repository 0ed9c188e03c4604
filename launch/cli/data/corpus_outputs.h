// launch/cli/data/corpus_outputs.h
//
// Corpora that a verb writes: what they may replace, and how they are told.

#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "io/corpus/corpus.h"

namespace lockstep {

/// --force replaces a corpus, also a damaged one, and nothing else: no source, no other file.
/// @throws Error{output_exists}.
void require_replaceable(const std::filesystem::path& output);

/// Every output is a file of its own and none of them an input, whatever names and links they go by.
/// @throws Error{invalid_argument} naming both.
void require_apart(const std::vector<std::filesystem::path>& outputs,
                   const std::vector<std::filesystem::path>& inputs);

nlohmann::ordered_json json_of(const std::filesystem::path& path, const PublishedCorpus& corpus);

}  // namespace lockstep
