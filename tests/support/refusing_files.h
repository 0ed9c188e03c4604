// tests/support/refusing_files.h
//
// The kernel's files, but some cannot be opened: out of descriptors, a failing
// disk. Root, who may read everything, meets it too.

#pragma once

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "io/file_system.h"

namespace lockstep {

class RefusingFiles : public FileSystem {
  public:
    /// Files whose path ends so are refused while this lives. @param reason  an errno.
    RefusingFiles(std::string ending, int reason)
        : kernel_(file_system()), ending_(std::move(ending)), reason_(reason), place_(*this) {}

    int open(const char* path, int flags) override {
        if (std::string_view(path).ends_with(ending_)) {
            errno = reason_;
            return -1;
        }
        return kernel_.open(path, flags);
    }
    int close(int descriptor) override { return kernel_.close(descriptor); }
    ssize_t read(int descriptor, std::span<std::byte> bytes) override {
        return kernel_.read(descriptor, bytes);
    }
    ssize_t write(int descriptor, std::span<const std::byte> bytes) override {
        return kernel_.write(descriptor, bytes);
    }
    ssize_t read_at(int descriptor, std::span<std::byte> bytes, std::uint64_t offset) override {
        return kernel_.read_at(descriptor, bytes, offset);
    }
    ssize_t write_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) override {
        return kernel_.write_at(descriptor, bytes, offset);
    }
    int resize(int descriptor, std::uint64_t file_bytes) override {
        return kernel_.resize(descriptor, file_bytes);
    }
    void begin_sync(int descriptor, std::uint64_t offset, std::uint64_t bytes) noexcept override {
        kernel_.begin_sync(descriptor, offset, bytes);
    }
    int sync(int descriptor) override { return kernel_.sync(descriptor); }
    int status(int descriptor, Status& status) override { return kernel_.status(descriptor, status); }
    int try_lock(int descriptor) override { return kernel_.try_lock(descriptor); }
    const std::byte* map(int descriptor, std::size_t bytes) override {
        return kernel_.map(descriptor, bytes);
    }
    void unmap(const std::byte* begin, std::size_t bytes) noexcept override { kernel_.unmap(begin, bytes); }
    int rename(const char* from, const char* to) override { return kernel_.rename(from, to); }
    int rename_beside(const char* from, const char* to) override { return kernel_.rename_beside(from, to); }
    int remove_file(const char* path) override { return kernel_.remove_file(path); }
    int make_directory(const char* path) override { return kernel_.make_directory(path); }
    int remove_directory(const char* path) override { return kernel_.remove_directory(path); }
    int status(const char* path, Status& status) override { return kernel_.status(path, status); }
    int list(const char* directory, std::vector<std::string>& names) override {
        return kernel_.list(directory, names);
    }

  private:
    FileSystem& kernel_;
    std::string ending_;
    int reason_;
    FileSystemInPlace place_;
};

}  // namespace lockstep
