// launch/supervisor/leftovers.h
//
// What Open MPI leaves on this host when its processes are killed: shared-memory
// segments and session folders. Only those are swept that processes of our own
// job had mapped, and only after those processes are gone.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

/// The file to sweep behind one line of /proc/PID/maps: a shared-memory segment, or the session folder
/// (…/ompi.HOST.UID/pid.N, UID being `user`) a mapped file lies in. Empty for everything else.
std::filesystem::path leftover_behind(std::string_view maps_line, uid_t user);

class Leftovers {
  public:
    /// Remember what these processes have mapped now.
    void note(const std::vector<pid_t>& processes);
    /// Remove what was remembered and is this user's; for when the job is dead. @return how many were still
    /// there.
    std::size_t sweep();

  private:
    std::set<std::filesystem::path> paths_;
};

}  // namespace lockstep
