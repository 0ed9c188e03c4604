// launch/supervisor/leftovers.h
//
// What Open MPI leaves on this host when its processes are killed: shared-memory
// segments and session folders. Only those are swept that processes of our own
// job had mapped, and only when no living process has them mapped any more. They
// are kept in the run's folder as well: should this process be killed before it
// could sweep, the next supervisor of the run does.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <string_view>
#include <vector>

namespace lockstep {

/// The file to sweep behind one line of /proc/PID/maps: a shared-memory segment, or the session folder
/// (…/ompi.HOST.UID/pid.N, UID being `user`) a mapped file lies in. Empty for everything else.
std::filesystem::path leftover_behind(std::string_view maps_line, uid_t user);

class Leftovers {
  public:
    /// What an earlier supervisor of the run noted on this host since it was booted is remembered.
    /// @param run  The run's folder, which need not be there yet.
    explicit Leftovers(std::filesystem::path run);
    /// Remember what these processes have mapped now.
    void note(const std::vector<pid_t>& processes);
    /// Remove what was remembered, is this user's and is in nobody's use; what is in use is remembered on.
    /// @return how many were removed.
    std::size_t sweep();

  private:
    /// A name may become somebody else's; device and inode together do not while it is there.
    struct Identity {
        dev_t device = 0;
        ino_t inode = 0;
        bool operator==(const Identity&) const = default;
    };
    using Noted = std::map<std::filesystem::path, Identity>;

    static bool identify(const std::filesystem::path& path, Identity& identity);
    static Noted read(const std::filesystem::path& record);
    void write();

    std::filesystem::path run_;
    Noted noted_;
    Noted written_;  ///< What the record in the run's folder says.
};

}  // namespace lockstep
