// io/files/file_digest.h
//
// The digest of all bytes of a file.

#pragma once

#include <cstdint>

#include "io/base/digest.h"
#include "io/files/posix_file.h"

namespace lockstep {

/// Feed the bytes from the descriptor's position to the end. @return how many.
/// @throws Error{io_failure}: a read that fails is never taken for the end.
std::uint64_t digest_rest(PosixFile& file, DigestStream& digest);

}  // namespace lockstep
