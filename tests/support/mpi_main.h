// tests/support/mpi_main.h
//
// What a test under mpirun may use. The main itself is mpi_main.cpp: it asserts
// the world size, prints from rank 0 and failures from anyone, and makes one
// failing rank, or no test at all, a failure of the whole.

#pragma once

#include <memory>

#include "io/comm/communicator.h"

namespace lockstep {

/// The world of this test program. Tests must leave it in step: as many collectives on every rank.
Communicator& test_communicator();

/// Another one over the same ranks, to be lost in a test. Collective.
std::unique_ptr<Communicator> make_test_communicator();

}  // namespace lockstep
