// io/files/file_system.h
//
// The few system calls that files which must survive are made of, as an interface:
// so that the commit protocol can run on a disk that forgets what was not synced
// (tests/simulation). Conventions are the kernel's: −1 and errno for a refusal.

#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lockstep {

class FileSystem {
  public:
    enum class Kind : std::uint8_t { absent, file, directory, other };
    struct Status {
        Kind kind = Kind::absent;
        std::uint64_t bytes = 0;
        std::uint64_t inode = 0;  ///< What tells a name's present file from one it had before.
    };

    virtual ~FileSystem() = default;

    /// @param flags  as open(2); the descriptor does not survive exec.
    virtual int open(const char* path, int flags) = 0;
    virtual int close(int descriptor) = 0;
    virtual ssize_t read(int descriptor, std::span<std::byte> bytes) = 0;
    virtual ssize_t write(int descriptor, std::span<const std::byte> bytes) = 0;
    virtual ssize_t read_at(int descriptor, std::span<std::byte> bytes, std::uint64_t offset) = 0;
    virtual ssize_t write_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) = 0;
    virtual int resize(int descriptor, std::uint64_t file_bytes) = 0;
    /// Advice, sync_file_range(2).
    virtual void begin_sync(int descriptor, std::uint64_t offset, std::uint64_t bytes) noexcept = 0;
    /// The file is read no more: what the disk has of it need not stay in memory.
    virtual void forget(int descriptor) noexcept = 0;
    virtual int sync(int descriptor) = 0;
    virtual int status(int descriptor, Status& status) = 0;
    /// An exclusive lock of the open file, without waiting; gone with the descriptor.
    virtual int try_lock(int descriptor) = 0;
    /// Read-only and shared; null for a refusal. @param bytes  not 0.
    virtual const std::byte* map(int descriptor, std::size_t bytes) = 0;
    virtual void unmap(const std::byte* begin, std::size_t bytes) noexcept = 0;

    virtual int rename(const char* from, const char* to) = 0;
    /// EEXIST if there is a `to`; EINVAL or ENOSYS where the file system cannot look and rename in one go.
    virtual int rename_beside(const char* from, const char* to) = 0;
    /// Two names change places at once; EINVAL or ENOSYS where the file system cannot do that.
    virtual int exchange(const char* a, const char* b) = 0;
    virtual int remove_file(const char* path) = 0;
    virtual int make_directory(const char* path) = 0;
    virtual int remove_directory(const char* path) = 0;
    /// Of the name itself, not of what it links to. An absent one is no refusal.
    virtual int status(const char* path, Status& status) = 0;
    /// Names in a directory, in any order.
    virtual int list(const char* directory, std::vector<std::string>& names) = 0;
    /// Room for files of this user where `path` lies.
    virtual int free_bytes(const char* path, std::uint64_t& bytes) = 0;
};

/// The kernel's, unless a test has put another in its place.
FileSystem& file_system() noexcept;

/// For tests: all work with files goes there while it lives. Made and ended while no thread works with files.
class FileSystemInPlace {
  public:
    explicit FileSystemInPlace(FileSystem& other);
    ~FileSystemInPlace();
    FileSystemInPlace(const FileSystemInPlace&) = delete;
    FileSystemInPlace& operator=(const FileSystemInPlace&) = delete;

  private:
    FileSystem* before_;
};

}  // namespace lockstep
