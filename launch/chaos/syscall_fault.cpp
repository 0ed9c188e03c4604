#include "launch/chaos/syscall_fault.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <sstream>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

constexpr std::array<SyscallEffect, 6> effects = {SyscallEffect::no_space,    SyscallEffect::io_error,
                                                  SyscallEffect::over_quota,  SyscallEffect::interrupted,
                                                  SyscallEffect::short_write, SyscallEffect::kill};

/// As the shim reads it.
std::string_view word_of(SyscallEffect effect) {
    switch (effect) {
        case SyscallEffect::no_space:
            return "ENOSPC";
        case SyscallEffect::io_error:
            return "EIO";
        case SyscallEffect::over_quota:
            return "EDQUOT";
        case SyscallEffect::interrupted:
            return "EINTR";
        case SyscallEffect::short_write:
            return "short";
        case SyscallEffect::kill:
            return "kill";
        case SyscallEffect::hold:
            return "hold";
    }
    return "";
}

/// The system interrupts no call on names once it has begun, and writes alone can be short.
bool can_have(std::string_view call, SyscallEffect effect) {
    const bool writes = call == "write" || call == "pwrite";
    if (effect == SyscallEffect::short_write) return writes;
    if (effect != SyscallEffect::interrupted) return true;
    return writes || call == "open" || call == "fsync" || call == "ftruncate" || call == "close";
}

bool ends_a_preloaded_name(const fs::path& path) {
    return path.string().find_first_of(" :") != std::string::npos;
}

fs::path preloadable(const fs::path& shim, const fs::path& folder) {
    if (!ends_a_preloaded_name(shim)) return shim;
    const fs::path link = folder / shim.filename();
    if (ends_a_preloaded_name(link)) {
        throw Error(ErrorCode::invalid_argument, "'" + link.string() +
                                                     "' has a space or a colon, which end a name in "
                                                     "LD_PRELOAD; choose another folder");
    }
    if (!fs::is_symlink(link)) fs::create_symlink(shim, link);
    return link;
}

}  // namespace

bool is_continued(SyscallEffect effect) {
    return effect == SyscallEffect::interrupted || effect == SyscallEffect::short_write;
}

std::string to_text(const SyscallFault& fault) {
    return std::string(word_of(fault.effect)) + " at call " + std::to_string(fault.call) + " of rank " +
           std::to_string(fault.rank) + (fault.name.empty() ? "" : " (" + fault.name + ")");
}

std::vector<SyscallFault> possible_faults(int rank, const std::vector<std::string>& calls) {
    std::vector<SyscallFault> faults;
    for (std::size_t call = 0; call < calls.size(); ++call) {
        for (const SyscallEffect effect : effects) {
            if (can_have(calls[call], effect)) faults.push_back({rank, call, effect, calls[call]});
        }
    }
    return faults;
}

std::optional<fs::path> find_syscall_shim() {
    const fs::path shim =
        (fs::read_symlink("/proc/self/exe").parent_path() / LOCKSTEP_SYSCALL_SHIM).lexically_normal();
    if (!path_exists(shim)) return std::nullopt;
    return shim;
}

SyscallShim::SyscallShim(const fs::path& folder) : folder_(fs::absolute(folder)) {
    const auto shim = find_syscall_shim();
    if (!shim) {
        throw Error(ErrorCode::not_found,
                    "this program has no " + fs::path(LOCKSTEP_SYSCALL_SHIM).filename().string() +
                        " in '" LOCKSTEP_SYSCALL_SHIM
                        "' from its own folder, which makes system calls fail; install lockstep whole, and "
                        "built without sanitizers");
    }
    library_ = preloadable(*shim, folder_);
}

EnvironmentValues SyscallShim::preloaded(const fs::path& run) const {
    const char* others = std::getenv("LD_PRELOAD");
    return {{"LD_PRELOAD", library_.string() + (others != nullptr ? ":" + std::string(others) : "")},
            {"LOCKSTEP_FAULT_RUN", fs::weakly_canonical(run).string()}};
}

EnvironmentValues SyscallShim::counting(const fs::path& run) {
    for (const fs::path& entry : directory_entries(folder_)) {
        if (entry.stem() == "calls") fs::remove(entry);
    }
    EnvironmentValues values = preloaded(run);
    values.emplace("LOCKSTEP_FAULT_LOG", (folder_ / "calls").string());
    return values;
}

std::vector<std::string> SyscallShim::counted_calls(int rank) const {
    const fs::path log = folder_ / ("calls." + std::to_string(rank));
    std::vector<std::string> calls;
    if (!path_exists(log)) return calls;
    std::istringstream names(read_file(log));
    for (std::string name; std::getline(names, name);) calls.push_back(name);
    return calls;
}

EnvironmentValues SyscallShim::with(const SyscallFault& fault, const fs::path& run) {
    fs::remove(folder_ / "happened");
    EnvironmentValues values = preloaded(run);
    values.emplace("LOCKSTEP_FAULT", std::to_string(fault.call) + ":" + std::string(word_of(fault.effect)));
    values.emplace("LOCKSTEP_FAULT_RANK", std::to_string(fault.rank));
    values.emplace("LOCKSTEP_FAULT_MARK", (folder_ / "happened").string());
    return values;
}

bool SyscallShim::happened() const {
    return path_exists(folder_ / "happened");
}

}  // namespace lockstep
