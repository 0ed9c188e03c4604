// tests/support/failing_calls.h
//
// The kernel's files, but one kind of call fails: the next times it is made, or
// always.

#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/error_of.h"
#include "tests/support/forwarding_files.h"

namespace lockstep {

enum class FileCall {
    open,
    close,
    read,
    write,
    read_at,
    write_at,
    resize,
    sync,
    status,
    try_lock,
    rename,
    rename_beside,
    exchange,
    remove_file,
    make_directory,
    status_of_name,
    list,
};

class FailingCalls : public ForwardingFiles {
  public:
    static constexpr int always = std::numeric_limits<int>::max();

    /// @param reason  an errno. @param times  how often, from now on.
    FailingCalls(FileCall call, int reason, int times = always)
        : call_(call), reason_(reason), times_(times) {}

    int open(const char* path, int flags) override {
        return fails(FileCall::open) ? -1 : ForwardingFiles::open(path, flags);
    }
    /// As Linux does: the descriptor is gone either way.
    int close(int descriptor) override {
        const int closed = ForwardingFiles::close(descriptor);
        return fails(FileCall::close) ? -1 : closed;
    }
    ssize_t read(int descriptor, std::span<std::byte> bytes) override {
        return fails(FileCall::read) ? -1 : ForwardingFiles::read(descriptor, bytes);
    }
    ssize_t write(int descriptor, std::span<const std::byte> bytes) override {
        return fails(FileCall::write) ? -1 : ForwardingFiles::write(descriptor, bytes);
    }
    ssize_t read_at(int descriptor, std::span<std::byte> bytes, std::uint64_t offset) override {
        return fails(FileCall::read_at) ? -1 : ForwardingFiles::read_at(descriptor, bytes, offset);
    }
    ssize_t write_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) override {
        return fails(FileCall::write_at) ? -1 : ForwardingFiles::write_at(descriptor, bytes, offset);
    }
    int resize(int descriptor, std::uint64_t file_bytes) override {
        return fails(FileCall::resize) ? -1 : ForwardingFiles::resize(descriptor, file_bytes);
    }
    int sync(int descriptor) override {
        return fails(FileCall::sync) ? -1 : ForwardingFiles::sync(descriptor);
    }
    int status(int descriptor, Status& status) override {
        return fails(FileCall::status) ? -1 : ForwardingFiles::status(descriptor, status);
    }
    int try_lock(int descriptor) override {
        return fails(FileCall::try_lock) ? -1 : ForwardingFiles::try_lock(descriptor);
    }
    int rename(const char* from, const char* to) override {
        return fails(FileCall::rename) ? -1 : ForwardingFiles::rename(from, to);
    }
    int rename_beside(const char* from, const char* to) override {
        return fails(FileCall::rename_beside) ? -1 : ForwardingFiles::rename_beside(from, to);
    }
    int exchange(const char* a, const char* b) override {
        return fails(FileCall::exchange) ? -1 : ForwardingFiles::exchange(a, b);
    }
    int remove_file(const char* path) override {
        return fails(FileCall::remove_file) ? -1 : ForwardingFiles::remove_file(path);
    }
    int make_directory(const char* path) override {
        return fails(FileCall::make_directory) ? -1 : ForwardingFiles::make_directory(path);
    }
    int status(const char* path, Status& status) override {
        return fails(FileCall::status_of_name) ? -1 : ForwardingFiles::status(path, status);
    }
    int list(const char* directory, std::vector<std::string>& names) override {
        return fails(FileCall::list) ? -1 : ForwardingFiles::list(directory, names);
    }

  private:
    bool fails(FileCall call) {
        if (call != call_ || times_ == 0) return false;
        if (times_ != always) --times_;
        errno = reason_;
        return true;
    }

    FileCall call_;
    int reason_;
    int times_;
};

/// While this call is refused, `action` ends in an Error that names the file, and the system's reason.
template <class Action>
void expect_refused(FileCall call, int reason, ErrorCode code, const std::string& noun,
                    const Action& action) {
    SCOPED_TRACE("call " + std::to_string(static_cast<int>(call)) + ": " + std::strerror(reason));
    const FailingCalls failing(call, reason);
    const Error error = error_of(action);
    EXPECT_EQ(error.code(), code);
    EXPECT_THAT(error.what(), testing::HasSubstr(noun));
    EXPECT_THAT(error.what(), testing::HasSubstr(std::strerror(reason)));
}

}  // namespace lockstep
