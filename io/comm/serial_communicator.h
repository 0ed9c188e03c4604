// io/comm/serial_communicator.h
//
// A complete world of one: no MPI is started. Sends to oneself are matched with
// receives by tag, in order.

#pragma once

#include <memory>

#include "io/comm/communicator.h"

namespace lockstep {

std::unique_ptr<Communicator> make_serial_communicator();

}  // namespace lockstep
