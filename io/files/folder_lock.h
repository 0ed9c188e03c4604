// io/files/folder_lock.h
//
// One process at work in a folder that stays, as a run's does: a kernel lock on its
// file LOCK that dies with the holder, whatever kills it.

#pragma once

#include <chrono>
#include <filesystem>

namespace lockstep {

/// For starts that replace another: the last process of the one before may still be on its way out.
inline constexpr std::chrono::seconds restart_lock_patience{10};

class FolderLock {
  public:
    /// @throws Error{io_failure} read-only or missing directory; Error{environment} held by another process
    ///         (the message names host and pid of the holder).
    /// @param patience how long to wait for a holder to go.
    /// @param file     of the folder, for locks of different meanings.
    explicit FolderLock(const std::filesystem::path& folder, std::chrono::milliseconds patience = {},
                        const char* file = "LOCK");
    ~FolderLock();
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

    /// Another process holds the lock now; false also where that cannot be known.
    static bool is_held(const std::filesystem::path& folder, const char* file = "LOCK");

  private:
    int descriptor_ = -1;
};

}  // namespace lockstep
