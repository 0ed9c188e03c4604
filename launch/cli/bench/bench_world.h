// launch/cli/bench/bench_world.h
//
// Times of what the ranks of a world do together.

#pragma once

#include <functional>

#include "io/comm/communicator.h"

namespace lockstep {

/// Collective. All begin together; median over repeats of the slowest rank's time [s].
double collective_seconds(Communicator& comm, int repeats, const std::function<void()>& work);

}  // namespace lockstep
