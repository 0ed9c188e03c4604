// launch/chaos/syscall_fault.h
//
// One system call of a save that fails, or in which its process ends: which there
// can be, and the environment of a job in which one happens. The library that does
// it (syscall_shim.cpp) is loaded before the C library; what it counts are the calls
// that change a run's checkpoints/ and ledger/.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launch/supervisor/processes.h"

namespace lockstep {

enum class SyscallEffect {
    no_space,     ///< ENOSPC
    io_error,     ///< EIO
    over_quota,   ///< EDQUOT
    interrupted,  ///< EINTR
    short_write,  ///< Half of the bytes are written, and said so.
    kill,         ///< SIGKILL instead of the call.
    hold,         ///< The call waits until its process is killed.
};

struct SyscallFault {
    int rank = 0;
    std::uint64_t call = 0;  ///< Of that rank's counted calls, from 0.
    SyscallEffect effect = SyscallEffect::kill;
    std::string name;  ///< Of the call, where it is known: "fsync".
};

/// A program goes on after these as if nothing had been.
bool is_continued(SyscallEffect effect);

/// "EIO at call 17 of rank 0 (fsync)", for reports.
std::string to_text(const SyscallFault& fault);

/// Every effect but hold on every one of the calls that can have it, call by call.
/// @param calls  names, as counted_calls gives them.
std::vector<SyscallFault> possible_faults(int rank, const std::vector<std::string>& calls);

/// The shim beside this program; none in a build with sanitizers, which interpose the same calls.
std::optional<std::filesystem::path> find_syscall_shim();

/// Environments for processes whose calls on one run's files are counted or disturbed.
class SyscallShim {
  public:
    /// @param folder  of ours: marks and counts go there, and a link to the shim where its own path has a
    /// space or a colon, which end a name in LD_PRELOAD.
    /// @throws Error{not_found} if the shim is not there; Error{invalid_argument} if neither path will do.
    explicit SyscallShim(const std::filesystem::path& folder);

    /// Every rank's calls are written down. Begins anew: what was counted before is forgotten.
    EnvironmentValues counting(const std::filesystem::path& run);
    /// What `counting` brought, in order: names of a rank's calls. Empty if it made none.
    std::vector<std::string> counted_calls(int rank) const;

    /// The fault happens once, whatever is started how often.
    EnvironmentValues with(const SyscallFault& fault, const std::filesystem::path& run);
    /// Since the last `with`.
    bool happened() const;

  private:
    EnvironmentValues preloaded(const std::filesystem::path& run) const;

    std::filesystem::path folder_, library_;
};

}  // namespace lockstep
