// tests/support/sanitizers.h
//
// Which sanitizer this is built with, by gcc or clang, and what it adds to a process'
// memory: for tests that bound it.

#pragma once

#include <cstdint>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LOCKSTEP_ADDRESS_SANITIZER 1
#endif
#if __has_feature(thread_sanitizer)
#define LOCKSTEP_THREAD_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(LOCKSTEP_ADDRESS_SANITIZER)
#define LOCKSTEP_ADDRESS_SANITIZER 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(LOCKSTEP_THREAD_SANITIZER)
#define LOCKSTEP_THREAD_SANITIZER 1
#endif

namespace lockstep {

/// Bytes resident for each that is touched: the thread sanitizer keeps four beside it.
#ifdef LOCKSTEP_THREAD_SANITIZER
inline constexpr std::uint64_t resident_per_byte = 5;
#else
inline constexpr std::uint64_t resident_per_byte = 1;
#endif

}  // namespace lockstep
