#include "launch/chaos/power_disk.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "io/base/error.h"
#include "io/files/posix_file.h"

namespace lockstep {

namespace {

/// As the kernel's ext4 and xfs know it: no flush of the log, everything not committed is lost.
constexpr unsigned long shutdown_request = _IOR('X', 125, std::uint32_t);
constexpr std::uint32_t without_flushing_the_log = 2;
constexpr int unmount_attempts = 100;  // A tenth of a second each.

int run_quietly(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const pid_t child = fork();
    if (child < 0) return -1;
    if (child == 0) {
        const int nothing = open("/dev/null", O_RDWR);
        for (int stream = 0; stream < 3; ++stream) dup2(nothing, stream);
        execvp(arguments[0], arguments.data());
        _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void require_success(const std::vector<std::string>& words) {
    const int code = run_quietly(words);
    if (code == 0) return;
    throw Error(ErrorCode::environment, "'" + words[0] + "' ended with code " + std::to_string(code) +
                                            "; chaos --power needs root, mkfs.ext4, mount and a loop device");
}

}  // namespace

PowerDisk::PowerDisk(std::filesystem::path image, std::filesystem::path mount_point, std::uint64_t bytes)
    : image_(std::move(image)), mount_point_(std::move(mount_point)) {
    if (geteuid() != 0) {
        throw Error(ErrorCode::environment,
                    "chaos --power mounts a file system of its own; start it as root");
    }
    const bool made_folder = std::filesystem::create_directories(mount_point_);
    bool made_image = false;
    try {
        PosixFile file(image_, O_RDWR | O_CREAT | O_EXCL);
        made_image = true;
        file.resize(bytes);
        file.close();
        require_success({"mkfs.ext4", "-q", "-F", image_.string()});
        mount_image();
    } catch (...) {
        std::error_code ignored;
        if (made_image) std::filesystem::remove(image_, ignored);
        if (made_folder) std::filesystem::remove(mount_point_, ignored);
        throw;
    }
}

PowerDisk::~PowerDisk() {
    if (mounted_ && !unmount()) umount2(mount_point_.c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove(image_, ignored);
    std::filesystem::remove(mount_point_, ignored);
}

void PowerDisk::mount_image() {
    // No forgiveness for a rename without a sync, no order between data and names, no commit by the clock.
    require_success({"mount", "-o", "loop,noauto_da_alloc,data=writeback,commit=300", image_.string(),
                     mount_point_.string()});
    mounted_ = true;
}

void PowerDisk::cut() {
    const PosixFile root(mount_point_, O_RDONLY | O_DIRECTORY);
    std::uint32_t how = without_flushing_the_log;
    if (ioctl(root.descriptor(), shutdown_request, &how) != 0)
        throw_errno("cut the power of", mount_point_.string(), errno);
}

bool PowerDisk::unmount() {
    for (int attempt = 0; attempt < unmount_attempts; ++attempt) {
        if (umount2(mount_point_.c_str(), 0) == 0) {
            mounted_ = false;
            return true;
        }
        if (errno != EBUSY) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
}

void PowerDisk::power_on() {
    if (!unmount()) throw_errno("unmount", mount_point_.string(), errno, "somebody still uses it");
    mount_image();
}

}  // namespace lockstep
