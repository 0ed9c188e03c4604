// launch/lockstep.h
//
// The program as a function: parse, act, turn failures into one line and a
// documented exit code. main.cpp is this and nothing else; tests build a main of
// their own with hooks.

#pragma once

#include "worker/worker_hooks.h"

namespace lockstep {

/// @param hooks  empty in the shipped program.
/// @return the exit code of DESIGN §8.
int run_lockstep(int argc, char** argv, const WorkerHooks& hooks = {});

/// Reads the command line as run_lockstep does, and does nothing.
/// @return 0 if it is understood (help and version included), 2 with one line of error otherwise.
int check_arguments(int argc, char** argv);

}  // namespace lockstep
