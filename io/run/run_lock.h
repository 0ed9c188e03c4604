// io/run/run_lock.h
//
// One coordinator per run directory: a kernel lock on run/LOCK that dies with its
// holder, whatever kills it.

#pragma once

#include <chrono>
#include <filesystem>

namespace lockstep {

/// For starts that replace another: the last process of the one before may still be on its way out.
inline constexpr std::chrono::seconds restart_lock_patience{10};

class RunLock {
  public:
    /// @throws Error{io_failure} read-only or missing directory; Error{environment} held by another process
    ///         (the message names host and pid of the holder).
    /// @param patience how long to wait for a holder to go.
    explicit RunLock(const std::filesystem::path& run, std::chrono::milliseconds patience = {});
    ~RunLock();
    RunLock(const RunLock&) = delete;
    RunLock& operator=(const RunLock&) = delete;

  private:
    int descriptor_ = -1;
};

}  // namespace lockstep
