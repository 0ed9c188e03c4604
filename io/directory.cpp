#include "io/directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "io/atomic_file.h"
#include "io/base/error.h"

namespace lockstep {

namespace fs = std::filesystem;

void create_directories_durably(const fs::path& directory) {
    // "run/" names the same as "run", but its parent_path() is not its parent.
    if (directory.has_parent_path() && !directory.has_filename()) {
        create_directories_durably(directory.parent_path());
        return;
    }
    std::error_code ignored;
    if (directory.empty() || fs::is_directory(directory, ignored)) return;
    create_directories_durably(directory.parent_path());
    if (::mkdir(directory.c_str(), 0777) != 0) {
        // Another rank may have been faster; it syncs what it made.
        if (errno == EEXIST && fs::is_directory(directory, ignored)) return;
        throw_errno("create the directory", directory.string(), errno);
    }
    sync_directory(directory.has_parent_path() ? directory.parent_path() : fs::path("."));
}

std::vector<fs::path> directory_entries(const fs::path& directory) {
    std::vector<fs::path> entries;
    std::error_code failure;
    fs::directory_iterator entry(directory, failure);
    while (!failure && entry != fs::directory_iterator()) {
        entries.push_back(entry->path());
        entry.increment(failure);
    }
    if (failure && failure.value() != ENOENT) {
        throw_errno("list the directory", directory.string(), failure.value());
    }
    std::sort(entries.begin(), entries.end());
    return entries;
}

bool path_exists(const fs::path& path) {
    std::error_code failure;
    const fs::file_status status = fs::symlink_status(path, failure);
    if (status.type() == fs::file_type::none) throw_errno("look at", path.string(), failure.value());
    return status.type() != fs::file_type::not_found;
}

void remove_file(const fs::path& file) {
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) throw_errno("remove", file.string(), errno);
}

void remove_temporaries(const fs::path& directory) {
    for (const fs::path& entry : directory_entries(directory)) {
        std::error_code ignored;
        if (entry.extension() == ".tmp" && fs::is_regular_file(fs::symlink_status(entry, ignored)))
            remove_file(entry);
    }
}

}  // namespace lockstep
