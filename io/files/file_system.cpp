#include "io/files/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

namespace lockstep {

namespace {

constexpr mode_t new_file_mode = 0666;  // The user's umask decides.
constexpr mode_t new_directory_mode = 0777;

FileSystem::Status status_of(const struct stat& found) {
    FileSystem::Status status;
    status.kind = S_ISREG(found.st_mode)   ? FileSystem::Kind::file
                  : S_ISDIR(found.st_mode) ? FileSystem::Kind::directory
                                           : FileSystem::Kind::other;
    status.bytes = static_cast<std::uint64_t>(found.st_size);
    status.inode = found.st_ino;
    return status;
}

class KernelFileSystem : public FileSystem {
  public:
    int open(const char* path, int flags) override { return ::open(path, flags | O_CLOEXEC, new_file_mode); }
    int close(int descriptor) override { return ::close(descriptor); }
    ssize_t read(int descriptor, std::span<std::byte> bytes) override {
        return ::read(descriptor, bytes.data(), bytes.size());
    }
    ssize_t write(int descriptor, std::span<const std::byte> bytes) override {
        return ::write(descriptor, bytes.data(), bytes.size());
    }
    ssize_t read_at(int descriptor, std::span<std::byte> bytes, std::uint64_t offset) override {
        return ::pread(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    }
    ssize_t write_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) override {
        return ::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    }
    int resize(int descriptor, std::uint64_t file_bytes) override {
        return ::ftruncate(descriptor, static_cast<off_t>(file_bytes));
    }
    void forget(int descriptor) noexcept override { ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED); }
    void begin_sync(int descriptor, std::uint64_t offset, std::uint64_t bytes) noexcept override {
        ::sync_file_range(descriptor, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                          SYNC_FILE_RANGE_WRITE);
    }
    int sync(int descriptor) override { return ::fsync(descriptor); }
    int status(int descriptor, Status& status) override {
        struct stat found {};
        if (::fstat(descriptor, &found) != 0) return -1;
        status = status_of(found);
        return 0;
    }
    int try_lock(int descriptor) override { return ::flock(descriptor, LOCK_EX | LOCK_NB); }
    const std::byte* map(int descriptor, std::size_t bytes) override {
        void* const address = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
        return address == MAP_FAILED ? nullptr : static_cast<const std::byte*>(address);
    }
    void unmap(const std::byte* begin, std::size_t bytes) noexcept override {
        ::munmap(const_cast<std::byte*>(begin), bytes);
    }

    int rename(const char* from, const char* to) override { return ::rename(from, to); }
    int rename_beside(const char* from, const char* to) override {
        return ::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    }
    int exchange(const char* a, const char* b) override {
        return ::renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
    }
    int remove_file(const char* path) override { return ::unlink(path); }
    int make_directory(const char* path) override { return ::mkdir(path, new_directory_mode); }
    int remove_directory(const char* path) override { return ::rmdir(path); }
    int status(const char* path, Status& status) override {
        struct stat found {};
        if (::lstat(path, &found) == 0) {
            status = status_of(found);
            return 0;
        }
        status = {};
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    }
    int free_bytes(const char* path, std::uint64_t& bytes) override {
        struct statvfs found {};
        if (::statvfs(path, &found) != 0) return -1;
        bytes = std::uint64_t{found.f_bavail} * found.f_frsize;
        return 0;
    }
    int list(const char* directory, std::vector<std::string>& names) override {
        DIR* const stream = ::opendir(directory);
        if (stream == nullptr) return -1;
        errno = 0;
        while (const dirent* entry = ::readdir(stream)) {
            const std::string_view name = entry->d_name;
            if (name != "." && name != "..") names.emplace_back(name);
            errno = 0;
        }
        const int failure = errno;
        ::closedir(stream);
        errno = failure;
        return failure == 0 ? 0 : -1;
    }
};

FileSystem& kernel() {
    static KernelFileSystem files;
    return files;
}

/// Null: the kernel's.
FileSystem* in_place = nullptr;

}  // namespace

FileSystem& file_system() noexcept {
    return in_place == nullptr ? kernel() : *in_place;
}

FileSystemInPlace::FileSystemInPlace(FileSystem& other) : before_(std::exchange(in_place, &other)) {}

FileSystemInPlace::~FileSystemInPlace() {
    in_place = before_;
}

}  // namespace lockstep
