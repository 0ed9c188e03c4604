#include "io/files/directory.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/file_system.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

/// Through links too: the name of a run may be one.
FileSystem::Status status_of_target(const fs::path& path) {
    FileSystem::Status status;
    const int descriptor = file_system().open(path.c_str(), O_RDONLY | O_NONBLOCK);
    if (descriptor < 0) return status;
    if (file_system().status(descriptor, status) != 0) status = {};
    file_system().close(descriptor);
    return status;
}

bool leads_to_directory(const fs::path& path) {
    return status_of_target(path).kind == FileSystem::Kind::directory;
}

}  // namespace

void create_directories_durably(const fs::path& directory) {
    // A root is its own parent, and is there.
    if (directory.empty() || directory == directory.parent_path() || leads_to_directory(directory)) return;
    // "run/" names the same as "run", but its parent_path() is not its parent.
    if (directory.has_parent_path() && !directory.has_filename()) {
        create_directories_durably(directory.parent_path());
        return;
    }
    create_directories_durably(directory.parent_path());
    if (file_system().make_directory(directory.c_str()) != 0) {
        // Another rank may have been faster; it syncs what it made.
        const int reason = errno;
        if (reason == EEXIST && leads_to_directory(directory)) return;
        throw_errno("create the directory", directory.string(), reason);
    }
    sync_directory(directory.has_parent_path() ? directory.parent_path() : fs::path("."));
}

void sync_name_of(const fs::path& directory) {
    const fs::path named = directory.has_filename() ? directory : directory.parent_path();
    const fs::path parent = named.has_parent_path() ? named.parent_path() : fs::path(".");
    const int descriptor = file_system().open(parent.c_str(), O_RDONLY | O_DIRECTORY);
    if (descriptor < 0 && errno == EACCES) return;
    if (descriptor >= 0) file_system().close(descriptor);
    sync_directory(parent);
}

std::vector<fs::path> directory_entries(const fs::path& directory) {
    std::vector<std::string> names;
    if (file_system().list(directory.c_str(), names) != 0 && errno != ENOENT) {
        throw_errno("list the directory", directory.string(), errno);
    }
    std::vector<fs::path> entries;
    for (const std::string& name : names) entries.push_back(directory / name);
    std::sort(entries.begin(), entries.end());
    return entries;
}

bool path_exists(const fs::path& path) {
    FileSystem::Status status;
    if (file_system().status(path.c_str(), status) != 0) throw_errno("look at", path.string(), errno);
    return status.kind != FileSystem::Kind::absent;
}

std::optional<std::uint64_t> file_bytes_of(const fs::path& path) {
    const FileSystem::Status status = status_of_target(path);
    if (status.kind != FileSystem::Kind::file) return std::nullopt;
    return status.bytes;
}

bool can_rename_into(const fs::path& directory, const fs::path& path) {
    const fs::path trial = directory / "rename.tmp";
    PosixFile(trial, O_WRONLY | O_CREAT | O_TRUNC).close();
    const bool renamed = file_system().rename(trial.c_str(), path.c_str()) == 0;
    if (!renamed && errno != EXDEV) throw_errno("rename a file to", path.string(), errno);
    remove_file(renamed ? path : trial);
    return renamed;
}

void rename_path(const fs::path& from, const fs::path& to, const std::string& advice) {
    if (file_system().rename(from.c_str(), to.c_str()) == 0) return;
    const int reason = errno;
    throw_errno("move", from.string() + "' to '" + to.string(), reason, advice);
}

void remove_file(const fs::path& file) {
    if (file_system().remove_file(file.c_str()) != 0 && errno != ENOENT)
        throw_errno("remove", file.string(), errno);
}

void remove_temporaries(const fs::path& directory) {
    for (const fs::path& entry : directory_entries(directory)) {
        FileSystem::Status status;
        if (entry.extension() != ".tmp" || file_system().status(entry.c_str(), status) != 0) continue;
        if (status.kind == FileSystem::Kind::file) remove_file(entry);
    }
}

}  // namespace lockstep
