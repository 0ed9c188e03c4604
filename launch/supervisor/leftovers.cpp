#include "launch/supervisor/leftovers.h"

#include <fstream>
#include <system_error>

namespace lockstep {

std::filesystem::path leftover_behind(std::string_view line) {
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
        const bool inside = session.filename().string().starts_with("ompi.");
        session /= part;
        if (inside) return part.string().starts_with("pid.") ? session : std::filesystem::path();
    }
    return {};
}

void Leftovers::note(const std::vector<pid_t>& processes) {
    for (const pid_t process : processes) {
        std::ifstream maps("/proc/" + std::to_string(process) + "/maps");
        for (std::string line; std::getline(maps, line);) {
            std::filesystem::path path = leftover_behind(line);
            if (!path.empty()) paths_.insert(std::move(path));
        }
    }
}

std::size_t Leftovers::sweep() {
    std::size_t removed = 0;
    for (const std::filesystem::path& path : paths_) {
        std::error_code failed;
        if (std::filesystem::remove_all(path, failed) > 0 && !failed) ++removed;
        // The user's folder of sessions goes with its last one.
        if (path.filename().string().starts_with("pid.")) std::filesystem::remove(path.parent_path(), failed);
    }
    paths_.clear();
    return removed;
}

}  // namespace lockstep
