// io/hdf5/storage.h
//
// Where HDF5's bytes go: a driver of ours under a PosixFile, for two reasons.
//
// HDF5 cannot close a file whose writes fail: it keeps an identifier of memory it
// has freed, and the process crashes at exit. So a failed write is kept here and
// HDF5 is told that all is well; whoever works with the file asks `rethrow` after
// every step. And what HDF5 parses is the very file that was checked before, not
// whatever has the same name by then.

#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>

#include "io/files/posix_file.h"
#include "io/hdf5/handle.h"

namespace lockstep {

class Hdf5Storage {
  public:
    /// @param file  outlives this, as this outlives the HDF5 file.
    explicit Hdf5Storage(PosixFile& file) : file_(&file) {}
    Hdf5Storage(const Hdf5Storage&) = delete;
    Hdf5Storage& operator=(const Hdf5Storage&) = delete;

    /// Throw the first failure of the file, if there was one; it stays.
    void rethrow() const {
        if (failure_) std::rethrow_exception(failure_);
    }
    /// While true HDF5 sees an empty file, which it creates without looking at what there is.
    void look_empty(bool empty) noexcept { looks_empty_ = empty; }
    /// From now on nothing is written; HDF5 may close what will be deleted.
    void abandon() noexcept { abandoned_ = true; }

    // For the driver; none of them throws.
    bool read(std::uint64_t offset, std::span<std::byte> bytes) noexcept;  ///< Zeros beyond the end.
    void write(std::uint64_t offset, std::span<const std::byte> bytes) noexcept;
    void resize(std::uint64_t file_bytes) noexcept;
    std::uint64_t size() noexcept;

  private:
    PosixFile* file_;
    std::exception_ptr failure_;
    bool looks_empty_ = false;
    bool abandoned_ = false;
};

/// Properties every file of ours is opened or created with: bytes go to `storage`, close degree SEMI, both
/// version bounds at v110, no file locks (published files never change, and locks fail on some network file
/// systems), objects on 64-byte boundaries.
Hdf5Properties file_access_properties(Hdf5Storage& storage, const Hdf5Calls& calls);

}  // namespace lockstep
