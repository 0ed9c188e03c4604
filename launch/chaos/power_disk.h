// launch/chaos/power_disk.h
//
// A file system whose power can be cut: ext4 in a file, on a loop device. A cut
// drops everything that was not synced, data and names alike; the file system is
// mounted to keep as little as its rules allow.

#pragma once

#include <cstdint>
#include <filesystem>

namespace lockstep {

class PowerDisk {
  public:
    /// Makes and mounts an empty one. Needs root, mkfs.ext4 and a loop device.
    /// @param image  a file that does not exist yet; sparse, up to `bytes`. Removed with this object.
    /// @param mount_point  a folder, created if need be.
    /// @throws Error{environment} saying what is missing.
    PowerDisk(std::filesystem::path image, std::filesystem::path mount_point, std::uint64_t bytes);
    ~PowerDisk();
    PowerDisk(const PowerDisk&) = delete;
    PowerDisk& operator=(const PowerDisk&) = delete;

    const std::filesystem::path& path() const { return mount_point_; }
    /// From now on nothing reaches the disk, and every call on it fails.
    void cut();
    /// Mount what was there at the cut, its journal replayed. Nobody may have a file of it open.
    void power_on();

  private:
    void mount_image();
    bool unmount();

    std::filesystem::path image_, mount_point_;
    bool mounted_ = false;
};

}  // namespace lockstep
