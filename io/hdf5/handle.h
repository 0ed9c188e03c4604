// io/hdf5/handle.h
//
// Owners of HDF5 identifiers, and the checks around every call. hdf5.h is
// included in this folder alone.

#pragma once

#include <hdf5.h>

#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "io/base/error.h"

namespace lockstep {

/// Whoever calls HDF5 holds one. The library may have been built without thread safety, so one caller at a
/// time; and it prints its error stack on standard error unless told otherwise, thread by thread.
class Hdf5Session {
  public:
    Hdf5Session();

  private:
    std::unique_lock<std::mutex> lock_;
};

/// Which file is being worked on, and what kind of failure a refusal is.
class Hdf5Calls {
  public:
    /// @param on_failure  io_failure while writing, corrupt_data while reading.
    Hdf5Calls(std::filesystem::path file, ErrorCode on_failure)
        : file_(std::move(file)), on_failure_(on_failure) {}

    const std::filesystem::path& file() const { return file_; }

    /// Returns `result` (an identifier, status or count) unless it is negative.
    /// @throws Error "cannot <action> '<object>' in '<file>': <innermost message of HDF5>".
    template <class Result>
    Result checked(Result result, std::string_view action, std::string_view object = {}) const {
        if (result < 0) fail(action, object);
        return result;
    }

    [[noreturn]] void fail(std::string_view action, std::string_view object) const;

  private:
    std::filesystem::path file_;
    ErrorCode on_failure_;
};

/// Owns one HDF5 identifier; closes it once.
template <herr_t (*Close)(hid_t)>
class Hdf5Handle {
  public:
    Hdf5Handle() = default;
    /// Takes what an HDF5 call returned, after `Hdf5Calls::checked`.
    explicit Hdf5Handle(hid_t id) : id_(id) {}
    ~Hdf5Handle() {
        if (id_ >= 0) Close(id_);
    }
    Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
    Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
        std::swap(id_, other.id_);
        return *this;
    }

    hid_t id() const { return id_; }
    bool is_open() const { return id_ >= 0; }

    /// Close and say so if it failed; a destructor cannot. The handle is empty afterwards.
    void close(const Hdf5Calls& calls, std::string_view object = {}) {
        calls.checked(Close(std::exchange(id_, -1)), "close", object);
    }

  private:
    hid_t id_ = -1;
};

using Hdf5File = Hdf5Handle<H5Fclose>;  ///< Opened with close degree SEMI: a leaked child is an error.
using Hdf5Group = Hdf5Handle<H5Gclose>;
using Hdf5Object = Hdf5Handle<H5Oclose>;
using Hdf5Dataset = Hdf5Handle<H5Dclose>;
using Hdf5Dataspace = Hdf5Handle<H5Sclose>;
using Hdf5Datatype = Hdf5Handle<H5Tclose>;
using Hdf5Attribute = Hdf5Handle<H5Aclose>;
using Hdf5Properties = Hdf5Handle<H5Pclose>;

}  // namespace lockstep
