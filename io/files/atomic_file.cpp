#include "io/files/atomic_file.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <exception>
#include <span>
#include <thread>
#include <vector>

#include "io/base/error.h"
#include "io/files/commit_hook.h"
#include "io/files/file_system.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

[[noreturn]] void throw_exists(const std::filesystem::path& path) {
    throw Error(ErrorCode::output_exists, "'" + path.string() + "' exists; pass --force to replace it");
}

void rename_over(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (file_system().rename(from.c_str(), to.c_str()) != 0) throw_errno("publish", to.string(), errno);
}

}  // namespace

std::filesystem::path temporary_path(const std::filesystem::path& path) {
    std::filesystem::path temporary = path;
    temporary += ".tmp";
    return temporary;
}

void require_parent(const std::filesystem::path& output) {
    const std::filesystem::path parent = std::filesystem::absolute(output).parent_path();
    std::error_code absent;
    if (std::filesystem::is_directory(parent, absent)) return;
    throw Error(ErrorCode::not_found, "'" + parent.string() + "' is no folder, to write '" +
                                          output.filename().string() + "' into; make it first");
}

void require_writable_output(const std::filesystem::path& path, Overwrite overwrite) {
    FileSystem::Status status;
    const bool known = file_system().status(path.c_str(), status) == 0;
    if (overwrite == Overwrite::no && known && status.kind != FileSystem::Kind::absent) throw_exists(path);
}

void rename_to_free_name(const std::filesystem::path& from, const std::filesystem::path& to) {
    // The kernel looks and renames in one go: two writers cannot both find the name free.
    if (file_system().rename_beside(from.c_str(), to.c_str()) == 0) return;
    if (errno == EEXIST) throw_exists(to);
    if (errno != EINVAL && errno != ENOSYS) throw_errno("publish", to.string(), errno);
    // This file system cannot; a look beforehand is the best there is.
    require_writable_output(to, Overwrite::no);
    rename_over(from, to);
}

void publish_file(const std::filesystem::path& temporary, const std::filesystem::path& path,
                  Overwrite overwrite) {
    PosixFile file(temporary, O_RDONLY);
    file.sync();
    file.close();
    commit_point("written");
    if (overwrite == Overwrite::yes) {
        rename_over(temporary, path);
    } else {
        rename_to_free_name(temporary, path);
    }
    commit_point("renamed");
    sync_directory(path.parent_path());
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes, Overwrite overwrite) {
    require_writable_output(path, overwrite);
    const std::filesystem::path temporary = temporary_path(path);
    try {
        PosixFile file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
        file.write(std::as_bytes(std::span(bytes.data(), bytes.size())));
        file.close();
        publish_file(temporary, path, overwrite);
    } catch (...) {
        file_system().remove_file(temporary.c_str());
        throw;
    }
}

void write_file(const std::filesystem::path& path, std::string_view bytes) {
    PosixFile file(path, O_WRONLY | O_CREAT | O_TRUNC);
    file.write(std::as_bytes(std::span(bytes.data(), bytes.size())));
    file.close();
}

void sync_together(std::span<const std::filesystem::path> paths) {
    constexpr std::size_t at_once_max = 16;
    std::atomic<std::size_t> next = 0;
    std::vector<std::exception_ptr> failures(paths.size());
    const auto sync_some = [&] {
        for (std::size_t i = next++; i < paths.size(); i = next++) {
            try {
                PosixFile file(paths[i], O_RDONLY);
                file.sync();
                file.close();
            } catch (...) {
                failures[i] = std::current_exception();
            }
        }
    };
    {
        std::vector<std::jthread> threads(std::min(paths.size(), at_once_max));
        for (std::jthread& thread : threads) thread = std::jthread(sync_some);
    }
    for (const std::exception_ptr& failure : failures)
        if (failure) std::rethrow_exception(failure);
}

std::string read_file(const std::filesystem::path& path) {
    PosixFile file(path, O_RDONLY);
    constexpr std::size_t piece_bytes = std::size_t{1} << 16U;
    std::string text;
    std::size_t got = 0;
    // Until the end rather than for size() bytes: files under /proc say 0, and others may grow.
    do {
        const std::size_t begin = text.size();
        text.resize(begin + (begin == 0 ? static_cast<std::size_t>(file.size()) + 1 : piece_bytes));
        got = file.read(std::as_writable_bytes(std::span(text)).subspan(begin));
        text.resize(begin + got);
    } while (got != 0);
    return text;
}

void sync_directory(const std::filesystem::path& directory) {
    PosixFile handle(directory.empty() ? std::filesystem::path(".") : directory, O_RDONLY | O_DIRECTORY);
    handle.sync();
    handle.close();
}

}  // namespace lockstep
