#include "io/files/staged_folder.h"

#include <fcntl.h>

#include <cerrno>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/files/directory.h"
#include "io/files/file_system.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

/// A folder may vanish between two calls when another start ends; not again and again.
constexpr int tries_max = 10;

fs::path beside(const fs::path& target, const std::string& suffix) {
    return target.parent_path() / (target.filename().string() + suffix);
}

/// "plan/" and "plan" are one place.
fs::path place_of(const fs::path& target) {
    return fs::absolute(target / ".").lexically_normal().parent_path();
}

FileSystem::Status status_of(const fs::path& path) {
    FileSystem::Status status;
    if (file_system().status(path.c_str(), status) != 0) throw_errno("look at", path.string(), errno);
    return status;
}

void remove_folder(const fs::path& folder) {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
}

/// The first entry that is no file of the kind, whole or on its way; none: empty.
std::string foreign_entry(const fs::path& folder, const FolderKind& kind) {
    for (const fs::path& entry : directory_entries(folder)) {
        std::string name = entry.filename().string();
        if (name.ends_with(".tmp")) name.resize(name.size() - 4);
        if (status_of(entry).kind != FileSystem::Kind::file || !kind.is_file_of_one(name))
            return entry.filename().string();
    }
    return {};
}

std::string made_of_nothing_like(const std::string& entry, const FolderKind& kind) {
    return "holds '" + entry + "', which is nothing that " + std::string(kind.noun) + " is made of";
}

/// Nothing, or what an interrupted start left.
void require_unfinished(const fs::path& folder, const FolderKind& kind) {
    const auto refuse = [&](const std::string& what) {
        throw Error(ErrorCode::output_exists, "'" + folder.string() + "' is in the way: it " + what +
                                                  "; move it away or choose another -o");
    };
    const FileSystem::Kind there = status_of(folder).kind;
    if (there == FileSystem::Kind::absent) return;
    if (there != FileSystem::Kind::directory) refuse("is no folder");
    const std::string foreign = foreign_entry(folder, kind);
    if (!foreign.empty()) refuse(made_of_nothing_like(foreign, kind));
}

void require_replaceable(const fs::path& target, const FolderKind& kind) {
    const auto refuse = [&](const std::string& what) {
        throw Error(ErrorCode::output_exists,
                    "'" + target.string() + "' exists and " + what + "; --force replaces only those");
    };
    std::error_code unknown;
    const bool empty = fs::is_directory(target, unknown) && fs::is_empty(target, unknown);
    if (empty) return;
    if (!fs::is_directory(target, unknown) || !kind.is_one(target))
        refuse("is not " + std::string(kind.noun));
    const std::string foreign = foreign_entry(target, kind);
    if (!foreign.empty()) refuse(made_of_nothing_like(foreign, kind));
}

/// A name that is free, so that nobody's folder is lost.
fs::path place_for_old(const fs::path& target) {
    fs::path place = beside(target, ".old");
    for (int i = 1; path_exists(place); ++i) place = beside(target, ".old-" + std::to_string(i));
    return place;
}

/// None if there is no folder of this name, or not any more. The lock ends with the file.
std::optional<PosixFile> locked(const fs::path& folder) {
    try {
        PosixFile file(folder, O_RDONLY | O_DIRECTORY);
        while (file_system().try_lock(file.descriptor()) != 0) {
            if (errno == EINTR) continue;
            if (errno == EWOULDBLOCK) {
                throw Error(ErrorCode::environment, "another process is at work in '" + folder.string() +
                                                        "'; wait for it or choose another -o");
            }
            // A file system without locks: two starts at once are then the user's to avoid.
            if (errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOLCK)
                throw_errno("lock", folder.string(), errno);
            break;
        }
        // Whoever held it may have given the folder another name and left this one to somebody else.
        FileSystem::Status mine;
        if (file_system().status(file.descriptor(), mine) != 0)
            throw_errno("look at", folder.string(), errno);
        if (status_of(folder).inode != mine.inode) return std::nullopt;
        return file;
    } catch (const Error& error) {
        if (error.code() == ErrorCode::not_found) return std::nullopt;
        throw;
    }
}

}  // namespace

void require_stageable(const fs::path& target, const FolderKind& kind, Overwrite overwrite) {
    if (path_exists(place_of(target))) {
        if (overwrite == Overwrite::no) {
            throw Error(ErrorCode::output_exists,
                        "'" + target.string() + "' exists; pass --force to replace it or choose another -o");
        }
        require_replaceable(target, kind);
    }
    require_unfinished(beside(place_of(target), ".tmp"), kind);
}

StagedFolder::StagedFolder(const fs::path& target, const FolderKind& kind, Overwrite overwrite)
    : target_(place_of(target)), building_(beside(target_, ".tmp")) {
    require_stageable(target, kind, overwrite);
    exists_ = path_exists(target_);
    create_directories_durably(target_.parent_path());
    begin_folder();
}

/// An empty folder under the name, and its lock.
void StagedFolder::begin_folder() {
    for (int i = 0; i < tries_max && !lock_; ++i) {
        if (file_system().make_directory(building_.c_str()) != 0 && errno != EEXIST)
            throw_errno("create the directory", building_.string(), errno);
        std::optional<PosixFile> file = locked(building_);
        if (file) lock_.emplace(std::move(*file));
    }
    if (!lock_) throw Error(ErrorCode::io_failure, "'" + building_.string() + "' does not stay");
    for (const fs::path& entry : directory_entries(building_)) remove_file(entry);
}

StagedFolder::~StagedFolder() {
    if (!published_) remove_folder(building_);
}

void StagedFolder::publish() {
    // Nothing of the folder is seen before it has its name, so its files need no order among themselves.
    std::vector<fs::path> written = directory_entries(building_);
    written.push_back(building_);
    sync_together(written);
    if (exists_) {
        replace();
    } else {
        rename_to_free_name(building_, target_);
        published_ = true;
        sync_name_of(target_);
    }
    lock_.reset();
}

void StagedFolder::replace() {
    fs::path old = building_;
    // So that no other start takes the old one, under the name it has for a moment, for its own leftover.
    const std::optional<PosixFile> keep_others_out = locked(target_);
    if (file_system().exchange(building_.c_str(), target_.c_str()) != 0) {
        if (errno != EINVAL && errno != ENOSYS) throw_errno("replace", target_.string(), errno);
        old = place_for_old(target_);
        rename_path(target_, old);
        try {
            rename_path(building_, target_);
        } catch (const Error&) {
            rename_path(old, target_);
            throw;
        }
    }
    // From here on `<target>.tmp` may be the old one, which goes only when the new one is there to stay.
    published_ = true;
    sync_name_of(target_);
    remove_folder(old);
}

}  // namespace lockstep
