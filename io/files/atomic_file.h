// io/files/atomic_file.h
//
// Publishing a file so that it appears whole or not at all: temporary beside it,
// every write checked, close, fsync, rename, fsync of the directory. After a
// power cut the old file or the new one is there, never a third state.

#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace lockstep {

enum class Overwrite { no, yes };

/// The temporary name used for `path`: "<path>.tmp". Stale ones are swept by the owner of the directory.
std::filesystem::path temporary_path(const std::filesystem::path& path);

/// The folder that a file is to be written into is there; said before hours of work.
/// @throws Error{not_found}.
void require_parent(const std::filesystem::path& output);

/// Fail before the work rather than after it.
/// @throws Error{output_exists} if `path` exists and overwriting is not allowed.
void require_writable_output(const std::filesystem::path& path, Overwrite overwrite);

/// Rename a file or folder unless there is a `to`; nothing is synced. @throws Error{output_exists,
/// io_failure}.
void rename_to_free_name(const std::filesystem::path& from, const std::filesystem::path& to);

/// fsync `temporary`, rename it to `path`, fsync the directory.
/// @throws Error{output_exists} if `path` exists and overwriting is not allowed; Error{io_failure}.
void publish_file(const std::filesystem::path& temporary, const std::filesystem::path& path,
                  Overwrite overwrite);

/// Write these bytes and publish them. On failure the temporary is removed and `path` is as before.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes, Overwrite overwrite);

/// For the files of a folder that appears as a whole: write them, sync_together with the folder itself,
/// rename the folder, sync_directory of its parent. Replaces what is there. @throws Error{not_found,
/// io_failure}.
void write_file(const std::filesystem::path& path, std::string_view bytes);

/// fsync files and directories all at once, so that the file system commits them together and the wait is one
/// rather than one each. @throws Error{not_found, io_failure} of the first that failed.
void sync_together(std::span<const std::filesystem::path> paths);

/// Whole file. @throws Error{not_found}, Error{io_failure}.
std::string read_file(const std::filesystem::path& path);

/// fsync a directory, so that renames and unlinks inside it survive a power cut.
void sync_directory(const std::filesystem::path& directory);

}  // namespace lockstep
