// io/comm/mpi_communicator.h
//
// The world as MPI sees it. The only place that includes mpi.h is its .cpp.

#pragma once

#include <memory>

#include "io/comm/communicator.h"

namespace lockstep {

/// True when this process was started by mpirun, srun or the like (PMIx, PMI or Open MPI environment).
bool launched_by_mpi();
/// What the launcher says before the world is joined; 0 where it says nothing.
Rank launched_rank();

/// MPI for the life of the process: the first object in main().
/// Does not finalize while an exception unwinds (peers may be gone).
class MpiEnvironment {
  public:
    MpiEnvironment();  ///< @throws Error{environment} if MPI cannot start with funneled threads.
    ~MpiEnvironment();
    MpiEnvironment(const MpiEnvironment&) = delete;
    MpiEnvironment& operator=(const MpiEnvironment&) = delete;

    /// A private duplicate of the world, errors returned, freed before the environment ends.
    std::unique_ptr<Communicator> make_communicator();
    /// Ranks on this node, this one included (shared-memory split). Collective; made at construction.
    int ranks_on_node() const;

  private:
    int exceptions_at_start_;  ///< More of them at the end: one is unwinding.
    int ranks_on_node_ = 1;
};

}  // namespace lockstep
