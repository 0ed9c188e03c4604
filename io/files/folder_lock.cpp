#include "io/files/folder_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "io/base/error.h"
#include "io/base/host_name.h"
#include "io/files/file_system.h"

namespace lockstep {
namespace {

std::string reason(int errno_value) {
    return std::generic_category().message(errno_value);
}

/// "pid 4711 on node3", as written below by the process that holds the lock.
std::string self() {
    return "pid " + std::to_string(::getpid()) + " on " + own_host_name();
}

std::string holder(int descriptor) {
    std::array<char, 320> bytes{};
    const ssize_t size = file_system().read_at(descriptor, std::as_writable_bytes(std::span(bytes)), 0);
    std::string_view line(bytes.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    line = line.substr(0, line.find('\n'));
    for (const char c : line) {
        if (c < ' ' || c > '~') return "a process that left no name";
    }
    // The holder locks first and writes its name just after.
    return line.empty() ? "a process that left no name" : std::string(line);
}

}  // namespace

FolderLock::FolderLock(const std::filesystem::path& folder, std::chrono::milliseconds patience,
                       const char* file) {
    const std::string path = (folder / file).string();
    FileSystem& files = file_system();
    descriptor_ = files.open(path.c_str(), O_RDWR | O_CREAT);
    if (descriptor_ < 0) {
        throw Error(ErrorCode::io_failure, "cannot open '" + path + "': " + reason(errno) +
                                               "; the folder must exist and be writable");
    }
    const auto give_up = [&](ErrorCode code, const std::string& message) {
        files.close(descriptor_);
        throw Error(code, message);
    };
    // Belongs to the open file, which ends with the process. LOCK stays: unlinking it
    // would let a third process lock another file of the same name.
    const auto give_up_at = std::chrono::steady_clock::now() + patience;
    while (files.try_lock(descriptor_) != 0) {
        if (errno == EINTR) continue;
        if (errno == EWOULDBLOCK) {
            if (std::chrono::steady_clock::now() < give_up_at) {
                std::this_thread::sleep_for(std::chrono::milliseconds(50));
                continue;
            }
            give_up(ErrorCode::environment, "'" + folder.string() + "' is in use by " + holder(descriptor_) +
                                                "; wait for it or stop it");
        }
        give_up(ErrorCode::environment, "cannot lock '" + path + "': " + reason(errno) +
                                            "; put the folder on a file system with locks");
    }
    const std::string name = self() + "\n";
    const auto bytes = std::as_bytes(std::span(name));
    for (std::size_t done = 0; done < name.size();) {
        const ssize_t written = files.write_at(descriptor_, bytes.subspan(done), done);
        if (written <= 0 && errno != EINTR) {
            give_up(ErrorCode::io_failure, "cannot write '" + path + "': " + reason(errno));
        }
        if (written > 0) done += static_cast<std::size_t>(written);
    }
    if (files.resize(descriptor_, name.size()) != 0) {
        give_up(ErrorCode::io_failure, "cannot write '" + path + "': " + reason(errno));
    }
}

bool FolderLock::is_held(const std::filesystem::path& folder, const char* file) {
    FileSystem& files = file_system();
    const int descriptor = files.open((folder / file).c_str(), O_RDWR);
    if (descriptor < 0) return false;
    const bool held = files.try_lock(descriptor) != 0 && errno == EWOULDBLOCK;
    files.close(descriptor);
    return held;
}

FolderLock::~FolderLock() {
    file_system().close(descriptor_);
}

}  // namespace lockstep
