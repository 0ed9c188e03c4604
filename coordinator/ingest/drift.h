// coordinator/ingest/drift.h
//
// Has anything a corpus was made from changed since? Its tokenizer is built again
// and its fingerprint compared; then some samples are read again from their
// recorded sources and tokenized again. What is gone cannot be compared, and is
// said, not refused.

#pragma once

#include <cstdint>
#include <string>

#include "io/corpus/corpus.h"

namespace lockstep {

struct DriftReport {
    std::uint64_t samples_checked = 0;
    std::uint64_t samples_unreadable = 0;  ///< Source absent, not readable, or too deep in a compressed file.
    std::string note;                      ///< One line for people: what could not be checked; may be empty.
};

/// @param samples  how many to tokenize again, at random.
/// @param seed     of the choice.
/// @throws Error{fingerprint_mismatch} naming what changed: the tokenizer (which part of its description),
///         the document, or the ids this version gives for an unchanged document.
DriftReport check_drift(const Corpus& corpus, std::uint64_t samples, std::uint64_t seed);

/// Which parts of two tokenizer descriptions (JSON) differ, for people: "merges: 49992 before, 49993 now,
/// first difference at 1234 'a b' / 'c d'"; empty if none.
std::string describe_tokenizer_change(const std::string& expected_json, const std::string& found_json);

}  // namespace lockstep
