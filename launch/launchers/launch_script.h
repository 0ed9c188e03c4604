// launch/launchers/launch_script.h
//
// Job scripts for batch systems and launchers, with the settings a run of ours
// needs there. Text only: nothing is started.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

enum class LaunchSystem { mpirun, slurm, pbs, lsf, flux, kubernetes };

/// @throws Error{invalid_argument} naming the known systems.
LaunchSystem parse_launch_system(std::string_view name);

struct LaunchRequest {
    LaunchSystem system = LaunchSystem::mpirun;
    std::vector<std::string> train;  ///< The words after "lockstep": train … or resume ….
    std::string lockstep = "lockstep";
    std::string job_name = "lockstep";
    std::string image = "lockstep:latest";  ///< Kubernetes.
    std::string time_limit = "24:00:00";    ///< HH:MM:SS
    std::string interface;                  ///< Network between hosts ("eth0"); empty: Open MPI chooses.
    int nodes = 1;
    int ranks_per_node = 1;
    int threads_per_rank = 1;
    int notice_seconds = 300;  ///< Before the limit: time to commit.
};

/// The whole script or manifest, with its last line end.
/// @throws Error{invalid_argument} for a request no system could run.
std::string launch_script(const LaunchRequest& request);

/// A word as a POSIX shell reads it back.
std::string shell_quoted(const std::string& word);

}  // namespace lockstep
