// tests/faults/malformed/malformed_case.h
//
// One malformed input: what it is, and what must be said of it.

#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/coordinator/small_artifacts.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {

struct MalformedCase {
    std::string name;  ///< "manifest/cursor.epoch is a text": unique.
    int exit_code = 65;
    std::vector<std::string> nouns;  ///< All of them stand in the message.
    std::function<void()> read;      ///< Makes the input and reads it.
};
using MalformedCases = std::vector<MalformedCase>;

/// What cases are made from: a scratch folder, and sound artifacts that are only read.
struct MalformedWorld {
    TemporaryDirectory scratch;
    SmallArtifacts sound{scratch.path() / "sound", 1};
};

void add_document_cases(const MalformedWorld& world, MalformedCases& cases);
void add_length_cases(const MalformedWorld& world, MalformedCases& cases);
void add_column_cases(const MalformedWorld& world, MalformedCases& cases);  ///< corpus, plan, shard, …
void add_sealed_cases(const MalformedWorld& world,
                      MalformedCases& cases);  ///< manifest, run.json, plan's JSON
void add_model_cases(const MalformedWorld& world, MalformedCases& cases);
void add_tokenizer_cases(const MalformedWorld& world, MalformedCases& cases);
void add_argument_cases(const MalformedWorld& world, MalformedCases& cases);

}  // namespace lockstep
