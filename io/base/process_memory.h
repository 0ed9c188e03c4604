// io/base/process_memory.h
//
// How much memory this process holds, as the kernel counts it.

#pragma once

#include <cstdint>

namespace lockstep {

std::uint64_t resident_bytes();       ///< Now.
std::uint64_t peak_resident_bytes();  ///< Largest so far.

}  // namespace lockstep
