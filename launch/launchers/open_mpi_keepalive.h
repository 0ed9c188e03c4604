// launch/launchers/open_mpi_keepalive.h
//
// Open MPI notices a host that is gone after 8 minutes unless told otherwise; with
// these settings in the environment of mpirun, within ten seconds.

#pragma once

#include <array>
#include <string_view>
#include <utility>

namespace lockstep {

inline constexpr std::array<std::pair<std::string_view, std::string_view>, 3> open_mpi_keepalive = {
    {{"OMPI_MCA_oob_tcp_keepalive_time", "3"},
     {"OMPI_MCA_oob_tcp_keepalive_intvl", "1"},
     {"OMPI_MCA_oob_tcp_keepalive_probes", "3"}}};

}  // namespace lockstep
