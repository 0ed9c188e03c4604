// io/corpus/corpus_rewrite.h
//
// One corpus from the samples of others: merged, or a part. Tokens are copied as
// they are stored, and keep their provenance.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "io/corpus/corpus.h"

namespace lockstep {

/// What the new corpus calls a source of an input.
using SourceName = std::function<std::string(const Corpus& input, const SourceFile& source)>;

/// The samples of all inputs for which `keep` says yes, in order. Scores stay if all inputs have them.
/// @throws Error{invalid_argument} if the inputs have different tokenizers, or nothing is kept;
///         Error{corrupt_data} if an id would stand twice.
PublishedCorpus rewrite_corpus(const std::filesystem::path& path, std::span<const Corpus> inputs,
                               const std::function<bool(std::size_t input, std::uint64_t sample)>& keep,
                               const SourceName& name, Overwrite overwrite);

}  // namespace lockstep
