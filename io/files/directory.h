// io/files/directory.h
//
// Directories whose changes survive a power cut.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lockstep {

/// Create a directory and its parents; every one made here is synced into its parent.
/// @throws Error{io_failure, not_found}.
void create_directories_durably(const std::filesystem::path& directory);

/// Make the name of a directory survive a power cut, whoever gave it: a process killed between creating a
/// directory and syncing its parent leaves one that others take for granted. A parent that may be passed but
/// not read is left alone. @throws Error{io_failure, not_found}.
void sync_name_of(const std::filesystem::path& directory);

/// Entries sorted by name; none if the directory does not exist. @throws Error{io_failure}.
std::vector<std::filesystem::path> directory_entries(const std::filesystem::path& directory);

/// Also of a link that leads nowhere. @throws Error{io_failure}.
bool path_exists(const std::filesystem::path& path);

/// None unless it is a regular file that can be opened. [bytes]
std::optional<std::uint64_t> file_bytes_of(const std::filesystem::path& path);

/// Whether a file of `directory` can be renamed to `path`, which names no file of anybody: tried with an
/// empty one, which is gone afterwards. Between mounts it cannot, even of one device. @throws
/// Error{io_failure}.
bool can_rename_into(const std::filesystem::path& directory, const std::filesystem::path& path);

/// As rename(2); nothing is synced. @param advice  what to do if it cannot be. @throws Error{io_failure}.
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to,
                 const std::string& advice = {});

/// Remove a file; an absent one is no error. The directory is not synced.
void remove_file(const std::filesystem::path& file);

/// Remove the "*.tmp" files directly inside a directory.
void remove_temporaries(const std::filesystem::path& directory);

}  // namespace lockstep
