// launch/cli/runs/replay_pack.h
//
// `train --step K --pack P`: one pack of a run computed again, for a person who
// looks into it.

#pragma once

#include "launch/cli/runs/training.h"

namespace lockstep {

/// @param dump  a file for all that the pack computes (pack_dump.h), or empty.
/// Rebuilds the state before `step` in memory from the newest generation at or before it, computes the pack,
/// and compares loss and content with what the ledger says of it. Nothing of the run changes.
int replay_pack(const Invocation& invocation, const TrainingArguments& arguments, std::uint64_t step,
                std::uint64_t pack, const std::string& dump);

}  // namespace lockstep
