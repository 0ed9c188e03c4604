// The same tests in a world of one without MPI.

#include "io/comm/serial_communicator.h"
#include "tests/support/mpi_main.h"

namespace lockstep {

Communicator& test_communicator() {
    static const std::unique_ptr<Communicator> comm = make_serial_communicator();
    return *comm;
}

std::unique_ptr<Communicator> make_test_communicator() {
    return make_serial_communicator();
}

}  // namespace lockstep
