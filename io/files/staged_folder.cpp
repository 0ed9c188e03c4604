#include "io/files/staged_folder.h"

#include <cerrno>
#include <string>

#include "io/base/error.h"
#include "io/files/directory.h"
#include "io/files/file_system.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

fs::path beside(const fs::path& target, const std::string& suffix) {
    return target.parent_path() / (target.filename().string() + suffix);
}

void remove_folder(const fs::path& folder) {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
}

/// Nothing, or a folder of nothing but files of the kind, whole or on their way.
void require_unfinished(const fs::path& folder, const FolderKind& kind) {
    const auto refuse = [&](const std::string& what) {
        throw Error(ErrorCode::output_exists, "'" + folder.string() + "' is in the way: it " + what +
                                                  "; move it away or choose another -o");
    };
    std::error_code absent;
    const fs::file_type there = fs::symlink_status(folder, absent).type();
    if (there == fs::file_type::not_found || there == fs::file_type::none) return;
    if (there != fs::file_type::directory) refuse("is no folder");
    for (const fs::path& entry : directory_entries(folder)) {
        std::string name = entry.filename().string();
        if (name.ends_with(".tmp")) name.resize(name.size() - 4);
        if (fs::is_regular_file(fs::symlink_status(entry)) && kind.is_file_of_one(name)) continue;
        refuse("holds '" + entry.filename().string() + "', which is nothing that " + std::string(kind.noun) +
               " is made of");
    }
}

/// A name that is free, so that nobody's folder is lost.
fs::path place_for_old(const fs::path& target) {
    fs::path place = beside(target, ".old");
    for (int i = 1; path_exists(place); ++i) place = beside(target, ".old-" + std::to_string(i));
    return place;
}

}  // namespace

StagedFolder::StagedFolder(const fs::path& target, const FolderKind& kind, Overwrite overwrite)
    : target_(fs::absolute(target / ".").lexically_normal().parent_path()),
      building_(beside(target_, ".tmp")) {
    std::error_code failure;
    exists_ = fs::exists(target_, failure);
    if (exists_ && overwrite == Overwrite::no) {
        throw Error(ErrorCode::output_exists,
                    "'" + target.string() + "' exists; pass --force to replace it or choose another -o");
    }
    const bool replaceable =
        !exists_ || (fs::is_directory(target_) && (kind.is_one(target_) || fs::is_empty(target_)));
    if (!replaceable) {
        throw Error(ErrorCode::output_exists, "'" + target.string() + "' exists and is not " +
                                                  std::string(kind.noun) + "; --force replaces only those");
    }
    require_unfinished(building_, kind);
    remove_folder(building_);
    fs::create_directories(building_, failure);
    if (failure) throw_errno("make directory", building_.string(), failure.value());
}

StagedFolder::~StagedFolder() {
    if (!published_) remove_folder(building_);
}

void StagedFolder::publish() {
    if (exists_) {
        replace();
    } else {
        rename_path(building_, target_);
        published_ = true;
        sync_directory(target_.parent_path());
    }
}

void StagedFolder::replace() {
    fs::path old = building_;
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
    sync_directory(target_.parent_path());
    remove_folder(old);
}

}  // namespace lockstep
