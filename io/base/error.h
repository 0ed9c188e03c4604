// io/base/error.h
//
// Failures of the world: input, files, peers, the machine. Always checked, in
// every build. Broken contracts of our own are contract.h.
//
// A message is *problem (why it matters); what to do*, and names the object and
// both values, expected and found.

#pragma once

#include <stdexcept>
#include <string>

namespace lockstep {

/// What kind of failure; each maps to one exit code (exit_code_of).
enum class ErrorCode {
    check_failed,          ///< A proof or comparison failed with sound data.   1
    invalid_argument,      ///< Usage or configuration.                         2
    corrupt_data,          ///< Malformed, cut or altered data.                65
    incompatible_version,  ///< A format newer than this build reads.          65
    fingerprint_mismatch,  ///< Sound, but not the data that was named.        65
    not_found,             ///< An input does not exist or cannot be read.     66
    bug,                   ///< Our own contract was broken.                   70
    output_exists,         ///< Would overwrite; pass --force.                 73
    io_failure,            ///< The operating system refused a read or write.  74
    stopped,               ///< Stopped on request, resumable.                 75
    peer_lost,             ///< A rank is dead or silent, resumable.           76
    environment,           ///< The machine or its settings do not fit.        78
};

class Error : public std::runtime_error {
  public:
    /// @param message  made one line: files we do not trust are quoted in it, control characters and all.
    Error(ErrorCode code, const std::string& message);
    ErrorCode code() const noexcept { return code_; }

  private:
    ErrorCode code_;
};

/// The documented exit code of a failure (DESIGN §8).
int exit_code_of(ErrorCode code) noexcept;

/// Any exception as an Error: file system errors are io_failure, lack of memory is environment, the rest
/// bugs.
Error error_of(const std::exception& failure);

/// Throw io_failure (not_found for ENOENT and ENOTDIR) with the text of `errno_value`:
/// "cannot <action> '<path>': No space left on device; <advice>".
[[noreturn]] void throw_errno(const std::string& action, const std::string& path, int errno_value,
                              const std::string& advice = {});

}  // namespace lockstep
