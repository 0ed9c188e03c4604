// tests/support/sanitizer_memory.h
//
// What a sanitizer adds to a process' memory, for tests that bound it.

#pragma once

#include <cstdint>

namespace lockstep {

/// Bytes resident for each that is touched: the thread sanitizer keeps four beside it.
#ifdef __SANITIZE_THREAD__
inline constexpr std::uint64_t resident_per_byte = 5;
#else
inline constexpr std::uint64_t resident_per_byte = 1;
#endif

}  // namespace lockstep
