// io/tokenizer/training/trained_file.h
//
// tokenizer.json and tokenizer_config.json of a vocabulary trained here.

#pragma once

#include <string>
#include <vector>

#include "io/tokenizer/training/pair_learning.h"
#include "io/tokenizer/training/tokenizer_training.h"

namespace lockstep {

struct ScoredPiece {
    std::string piece;
    double score = 0;
};

/// EOS first, then the others. @throws Error{invalid_argument}: one is empty, there twice, or a single byte.
std::vector<std::string> trained_specials(const TrainingOptions& options);

std::string byte_pair_file(const LearnedPairs& learned, const TrainingOptions& options);
/// @param pieces  by id; the first is the unknown token, then the specials.
std::string unigram_file(const std::vector<ScoredPiece>& pieces, const TrainingOptions& options);
/// @param unknown  text of the unknown token; empty: there is none.
std::string config_file(const TrainingOptions& options, const std::string& unknown);

}  // namespace lockstep
