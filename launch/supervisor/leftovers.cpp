#include "launch/supervisor/leftovers.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"

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

/// The user's own leftovers among what a process has mapped.
std::set<std::filesystem::path> mapped_by(pid_t process) {
    std::set<std::filesystem::path> found;
    std::ifstream maps("/proc/" + std::to_string(process) + "/maps");
    for (std::string line; std::getline(maps, line);) {
        std::filesystem::path path = leftover_behind(line, geteuid());
        if (!path.empty()) found.insert(std::move(path));
    }
    return found;
}

std::set<std::filesystem::path> mapped_by_anybody() {
    std::set<std::filesystem::path> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
        const pid_t process = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
        if (process > 0) found.merge(mapped_by(process));
    }
    return found;
}

/// Where what we note is what it was: this host since it was booted, and in the processes we can see.
std::string place() {
    std::string boot;
    std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
    std::error_code ignored;
    return boot + " " + std::filesystem::read_symlink("/proc/self/ns/pid", ignored).string();
}

std::filesystem::path record_of(const std::filesystem::path& run) {
    return run / "leftovers.json";
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

bool Leftovers::identify(const std::filesystem::path& path, Identity& identity) {
    struct stat status {};
    if (lstat(path.c_str(), &status) != 0 || status.st_uid != geteuid()) return false;
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return false;
    identity = {status.st_dev, status.st_ino};
    return true;
}

Leftovers::Leftovers(std::filesystem::path run) : run_(std::move(run)), noted_(read(record_of(run_))) {
    written_ = noted_;
}

Leftovers::Noted Leftovers::read(const std::filesystem::path& record) {
    Noted noted;
    std::ifstream file(record);
    const auto object = nlohmann::json::parse(file, nullptr, false);
    if (!object.is_object() || object.value("place", nlohmann::json()) != place()) return noted;
    for (const auto& entry : object.value("left", nlohmann::json::array())) {
        if (!entry.is_array() || entry.size() != 3 || !entry[0].is_string() ||
            !entry[1].is_number_unsigned() || !entry[2].is_number_unsigned()) {
            continue;
        }
        // A record is no authority: no name but of a kind that we would note.
        const std::filesystem::path path = entry[0].get<std::string>();
        if (leftover_behind(path.string(), geteuid()) != path) continue;
        noted[path] = {entry[1].get<dev_t>(), entry[2].get<ino_t>()};
    }
    return noted;
}

void Leftovers::write() {
    std::error_code ignored;
    if (noted_ == written_ || !std::filesystem::is_directory(run_, ignored)) return;
    try {
        if (noted_.empty()) {
            remove_file(record_of(run_));
        } else {
            nlohmann::ordered_json object = {{"place", place()}, {"left", nlohmann::ordered_json::array()}};
            for (const auto& [path, identity] : noted_) {
                object["left"].push_back({path.string(), identity.device, identity.inode});
            }
            write_file_atomically(
                record_of(run_),
                object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n",
                Overwrite::yes);
        }
        written_ = noted_;
    } catch (const Error&) {
        // It costs a sweep after our own death, not the run.
    }
}

void Leftovers::note(const std::vector<pid_t>& processes) {
    for (const pid_t process : processes) {
        for (const std::filesystem::path& path : mapped_by(process)) {
            Identity identity;
            if (identify(path, identity)) noted_[path] = identity;
        }
    }
    write();
}

std::size_t Leftovers::sweep() {
    if (noted_.empty()) return 0;
    std::size_t removed = 0;
    const std::set<std::filesystem::path> in_use = mapped_by_anybody();
    for (const auto& [path, identity] : std::exchange(noted_, {})) {
        Identity now;
        if (!identify(path, now) || now != identity) continue;
        if (in_use.contains(path)) {
            noted_[path] = identity;
            continue;
        }
        std::error_code failed;
        if (std::filesystem::remove_all(path, failed) > 0 && !failed) ++removed;
        // The user's folder of sessions goes with its last one.
        if (path.filename().string().starts_with("pid.")) std::filesystem::remove(path.parent_path(), failed);
    }
    write();
    return removed;
}

}  // namespace lockstep
