#include "io/files/posix_file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "io/base/error.h"
#include "io/files/file_system.h"

namespace lockstep {

namespace {

// One call may transfer less than asked for and be interrupted; Linux moves at most 2 GiB at a time.
constexpr std::size_t read_bytes_max = std::size_t{1} << 30U;
// A longer write is cut: Linux backs what one call writes by page cache pages as large as it, and those of
// 2 MiB were measured to take up to five times as long to come by as small ones (6.18, a virtual machine).
constexpr std::size_t write_bytes_max = std::size_t{1} << 19U;

template <class Call>
ssize_t retry_interrupted(Call call) {
    ssize_t result = 0;
    do {
        result = call();
    } while (result < 0 && errno == EINTR);
    return result;
}

std::string advice_for(int errno_value) {
    if (errno_value == ENOSPC || errno_value == EDQUOT) return "free some space or write elsewhere";
    if (errno_value == EFBIG) return "raise the file size limit (ulimit -f)";
    return {};
}

FileSystem::Status status_of(int descriptor, const std::filesystem::path& path) {
    FileSystem::Status status;
    if (file_system().status(descriptor, status) != 0) throw_errno("examine", path.string(), errno);
    return status;
}

}  // namespace

PosixFile::PosixFile(std::filesystem::path path, int flags) : path_(std::move(path)) {
    descriptor_ = static_cast<int>(
        retry_interrupted([&] { return ssize_t{file_system().open(path_.c_str(), flags)}; }));
    if (descriptor_ < 0) {
        const int reason = errno;
        throw_errno((flags & O_CREAT) != 0 ? "create" : "open", path_.string(), reason, advice_for(reason));
    }
}

PosixFile::~PosixFile() {
    if (descriptor_ >= 0) file_system().close(descriptor_);
}

PosixFile::PosixFile(PosixFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

std::uint64_t PosixFile::size() const {
    return status_of(descriptor_, path_).bytes;
}

bool PosixFile::is_regular() const {
    return status_of(descriptor_, path_).kind == FileSystem::Kind::file;
}

void PosixFile::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const std::size_t wanted = std::min(bytes.size(), write_bytes_max);
        const ssize_t written =
            retry_interrupted([&] { return file_system().write(descriptor_, bytes.first(wanted)); });
        if (written < 0) {
            const int reason = errno;
            throw_errno("write", path_.string(), reason, advice_for(reason));
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

void PosixFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const std::size_t wanted = std::min(bytes.size(), write_bytes_max);
        const ssize_t written = retry_interrupted(
            [&] { return file_system().write_at(descriptor_, bytes.first(wanted), offset); });
        if (written < 0) {
            const int reason = errno;
            throw_errno("write", path_.string(), reason, advice_for(reason));
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
        offset += static_cast<std::uint64_t>(written);
    }
}

std::size_t PosixFile::read(std::span<std::byte> bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
        const std::size_t wanted = std::min(bytes.size() - done, read_bytes_max);
        const ssize_t got =
            retry_interrupted([&] { return file_system().read(descriptor_, bytes.subspan(done, wanted)); });
        if (got < 0) throw_errno("read", path_.string(), errno);
        if (got == 0) break;
        done += static_cast<std::size_t>(got);
    }
    return done;
}

void PosixFile::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
        const std::size_t wanted = std::min(bytes.size(), read_bytes_max);
        const ssize_t got = retry_interrupted(
            [&] { return file_system().read_at(descriptor_, bytes.first(wanted), offset); });
        if (got < 0) throw_errno("read", path_.string(), errno);
        if (got == 0) {
            throw Error(ErrorCode::corrupt_data,
                        "'" + path_.string() + "' ends at byte " + std::to_string(offset) + ", expected " +
                            std::to_string(bytes.size()) + " bytes more; it was cut short while being read");
        }
        bytes = bytes.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
}

void PosixFile::resize(std::uint64_t file_bytes) {
    if (retry_interrupted([&] { return ssize_t{file_system().resize(descriptor_, file_bytes)}; }) != 0) {
        const int reason = errno;
        throw_errno("resize", path_.string(), reason, advice_for(reason));
    }
}

void PosixFile::begin_sync(std::uint64_t offset, std::uint64_t bytes) noexcept {
    // A failure shows when the file is synced.
    file_system().begin_sync(descriptor_, offset, bytes);
}

void PosixFile::forget() noexcept {
    file_system().forget(descriptor_);
}

void PosixFile::sync() {
    if (retry_interrupted([&] { return ssize_t{file_system().sync(descriptor_)}; }) != 0) {
        const int reason = errno;
        throw_errno("sync", path_.string(), reason, advice_for(reason));
    }
}

void PosixFile::close() {
    // Not repeated when interrupted: on Linux the descriptor is gone either way.
    if (file_system().close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) {
        const int reason = errno;
        throw_errno("close", path_.string(), reason, advice_for(reason));
    }
}

}  // namespace lockstep
