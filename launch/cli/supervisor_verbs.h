// launch/cli/supervisor_verbs.h
//
// The verbs that start other programs: run, chaos, launch.

#pragma once

#include "launch/cli/invocation.h"

namespace lockstep {

void add_run(CLI::App& app, Invocation& invocation);
void add_chaos(CLI::App& app, Invocation& invocation);
void add_launch(CLI::App& app, Invocation& invocation);

}  // namespace lockstep
