// io/files/staged_folder.h
//
// A folder of files that is written beside its place and appears in it whole.

#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "io/files/atomic_file.h"
#include "io/files/posix_file.h"

namespace lockstep {

/// What folders of one kind are known by, so that nothing else is replaced or removed.
struct FolderKind {
    std::string_view noun;  ///< "a plan folder"
    std::function<bool(const std::filesystem::path& folder)> is_one;
    std::function<bool(std::string_view name)> is_file_of_one;
};

/// Fail before the work rather than after it.
/// @throws Error{output_exists} if there is a target and `overwrite` is no, or if the target is neither empty
/// nor of the kind with nothing else in it; also if `<target>.tmp` holds anything that no folder of the kind
/// does. Error{io_failure}.
void require_stageable(const std::filesystem::path& target, const FolderKind& kind, Overwrite overwrite);

/// The folder under construction is `<target>.tmp`, and gone with this unless it was published.
class StagedFolder {
  public:
    /// What an interrupted start left of `<target>.tmp` is removed.
    /// @throws as require_stageable; Error{environment} while another process builds there.
    StagedFolder(const std::filesystem::path& target, const FolderKind& kind, Overwrite overwrite);
    ~StagedFolder();
    StagedFolder(const StagedFolder&) = delete;
    StagedFolder& operator=(const StagedFolder&) = delete;

    const std::filesystem::path& path() const { return building_; }

    /// Its files, written and closed, are synced together and the folder takes its place, which is synced.
    /// Where names can be exchanged there is a whole folder at every moment. Elsewhere the old one is for a
    /// moment `<target>.old`, and comes back if the new one cannot take its place.
    /// @throws Error{io_failure}; if the place could not be synced, the old one is still beside it.
    /// Error{output_exists} if a target has appeared meanwhile.
    void publish();

  private:
    void begin_folder();
    void replace();

    std::filesystem::path target_, building_;
    std::optional<PosixFile> lock_;  ///< The folder under construction: a second start is refused.
    bool exists_ = false;
    bool published_ = false;
};

}  // namespace lockstep
