// io/directory.h
//
// Directories whose changes survive a power cut.

#pragma once

#include <filesystem>
#include <vector>

namespace lockstep {

/// Create a directory and its parents; every one made here is synced into its parent.
/// @throws Error{io_failure, not_found}.
void create_directories_durably(const std::filesystem::path& directory);

/// Entries sorted by name; none if the directory does not exist. @throws Error{io_failure}.
std::vector<std::filesystem::path> directory_entries(const std::filesystem::path& directory);

bool path_exists(const std::filesystem::path& path);

/// Remove a file; an absent one is no error. The directory is not synced.
void remove_file(const std::filesystem::path& file);

/// Remove the "*.tmp" files directly inside a directory.
void remove_temporaries(const std::filesystem::path& directory);

}  // namespace lockstep
