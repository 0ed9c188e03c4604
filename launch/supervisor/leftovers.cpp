#include "launch/supervisor/leftovers.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <system_error>

namespace lockstep {

namespace {

/// "pid.22704"
bool is_session_name(std::string_view name) {
    constexpr std::string_view prefix = "pid.";
    return name.starts_with(prefix) && name.size() > prefix.size() &&
           name.find_first_not_of("0123456789", prefix.size()) == std::string_view::npos;
}

/// "ompi.HOST.1000"
bool is_folder_of_sessions(std::string_view name, uid_t user) {
    constexpr std::string_view prefix = "ompi.";
    const std::string suffix = "." + std::to_string(user);
    return name.starts_with(prefix) && name.ends_with(suffix) && name.size() > prefix.size() + suffix.size();
}

/// A name may have become somebody else's since it was noted.
bool belongs_to(const std::filesystem::path& path, uid_t user) {
    struct stat status {};
    if (lstat(path.c_str(), &status) != 0 || status.st_uid != user) return false;
    return S_ISREG(status.st_mode) || S_ISDIR(status.st_mode);
}

}  // namespace

std::filesystem::path leftover_behind(std::string_view line, uid_t user) {
    const std::size_t slash = line.find('/');
    if (slash == std::string_view::npos) return {};
    std::string_view name = line.substr(slash);
    constexpr std::string_view deleted = " (deleted)";
    if (name.ends_with(deleted)) return {};
    const std::filesystem::path path(name);
    const std::string file = path.filename().string();
    if (path.parent_path() == "/dev/shm") {
        const bool segment = file.starts_with("vader_segment.") || file.starts_with("sm_segment.") ||
                             file.starts_with("osc_rdma.");
        return segment ? path : std::filesystem::path();
    }
    // /tmp/ompi.HOST.UID/pid.N/…: the session of the mpirun with this number.
    std::filesystem::path session;
    for (const std::filesystem::path& part : path) {
        const bool inside = is_folder_of_sessions(session.filename().string(), user);
        session /= part;
        if (inside) return is_session_name(part.string()) ? session : std::filesystem::path();
    }
    return {};
}

void Leftovers::note(const std::vector<pid_t>& processes) {
    for (const pid_t process : processes) {
        std::ifstream maps("/proc/" + std::to_string(process) + "/maps");
        for (std::string line; std::getline(maps, line);) {
            std::filesystem::path path = leftover_behind(line, geteuid());
            if (!path.empty()) paths_.insert(std::move(path));
        }
    }
}

std::size_t Leftovers::sweep() {
    std::size_t removed = 0;
    for (const std::filesystem::path& path : paths_) {
        if (!belongs_to(path, geteuid())) continue;
        std::error_code failed;
        if (std::filesystem::remove_all(path, failed) > 0 && !failed) ++removed;
        // The user's folder of sessions goes with its last one.
        if (path.filename().string().starts_with("pid.")) std::filesystem::remove(path.parent_path(), failed);
    }
    paths_.clear();
    return removed;
}

}  // namespace lockstep
