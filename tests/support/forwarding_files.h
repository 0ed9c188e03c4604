// tests/support/forwarding_files.h
//
// The kernel's files while this lives, for tests that change a few of the calls.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/files/file_system.h"

namespace lockstep {

class ForwardingFiles : public FileSystem {
  public:
    ForwardingFiles() : kernel_(file_system()), place_(*this) {}

    int open(const char* path, int flags) override { return kernel_.open(path, flags); }
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
    void forget(int descriptor) noexcept override { kernel_.forget(descriptor); }
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
    int exchange(const char* a, const char* b) override { return kernel_.exchange(a, b); }
    int remove_file(const char* path) override { return kernel_.remove_file(path); }
    int make_directory(const char* path) override { return kernel_.make_directory(path); }
    int remove_directory(const char* path) override { return kernel_.remove_directory(path); }
    int status(const char* path, Status& status) override { return kernel_.status(path, status); }
    int list(const char* directory, std::vector<std::string>& names) override {
        return kernel_.list(directory, names);
    }
    int free_bytes(const char* path, std::uint64_t& bytes) override {
        return kernel_.free_bytes(path, bytes);
    }

  private:
    FileSystem& kernel_;
    FileSystemInPlace place_;
};

}  // namespace lockstep
