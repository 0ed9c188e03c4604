// io/comm/fabric_devices.h
//
// Is there more than Ethernet and shared memory between ranks? Open MPI finds out by
// loading the library of every fabric it was built for, and two of them sleep for
// 0.1 s when they are loaded: libpsm2 (https://github.com/cornelisnetworks/opa-psm2/issues/73)
// and libinfinipath.

#pragma once

#include <filesystem>

namespace lockstep {

/// Whether this host may have a device of InfiniBand, RoCE, EFA, Omni-Path, Slingshot, BXI or the like. True
/// where it can't be told, as in a container without /sys.
/// @param root  of the file system; another one in tests.
bool may_have_fabric(const std::filesystem::path& root = "/");

/// Let the ranks of a host without such a device start 0.2 s sooner: name to Open MPI the message layer it
/// chooses there by itself (OMPI_MCA_pml=ob1), so that no other is loaded to be asked. Nothing is changed
/// where the environment says anything about message layers. For a process about to call MPI_Init, which sets
/// variables too; whoever starts ranks on other hosts must not hand this on.
void skip_absent_fabrics(const std::filesystem::path& root = "/");

}  // namespace lockstep
