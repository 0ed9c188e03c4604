// launch/cli/runs/checkpoint_prune.h
//
// `checkpoint prune`: old generations deleted by hand.

#pragma once

#include "launch/cli/invocation.h"

namespace lockstep {

void add_checkpoint_prune(CLI::App& checkpoint, Invocation& invocation);

}  // namespace lockstep
