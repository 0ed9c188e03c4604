// launch/cli/world.h
//
// The world a distributed verb runs in: MPI's when started by mpirun, a complete
// world of one otherwise.

#pragma once

#include <functional>
#include <memory>
#include <string>

#include "io/comm/communicator.h"
#include "worker/progress_watch.h"

namespace lockstep {

struct World {
    std::unique_ptr<Communicator> comm;
    int ranks_on_node = 1;
    std::unique_ptr<ProgressWatch> watch;  ///< While training is prepared and done; none for other verbs.
    bool is_root() const { return comm->rank().value == 0; }
};

/// Run `body` in this process' world and return its exit code. An error the ranks agreed on is printed once,
/// by rank 0, and all end in order; any other ends the whole job with its code.
/// @param watch  of a verb that trains: it looks on while the world is joined, and goes to World::watch.
int run_in_world(const std::function<int(World&)>& body, std::unique_ptr<ProgressWatch> watch = nullptr);

/// Collective. Rank 0's text to everyone.
void share_text(Communicator& comm, std::string& text);

/// Threads a rank should use: cores of the node over its ranks, at least 1.
int default_threads(const World& world);

/// SIGUSR1 asks the run to stop at the next step; returns whether it came. Installed by the first call.
/// A second one, two seconds or more after the first, ends the process at once with code 75: signals closer
/// together are one request that came by two ways.
bool stop_signal_seen();

/// SIGTERM and SIGINT ask like SIGUSR1 from now on. For the time of training: before, they end the process.
void stop_on_termination_signals();

}  // namespace lockstep
