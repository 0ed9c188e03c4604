// io/base/thread_error.h
//
// What it means that a thread cannot be started.

#pragma once

#include <cstddef>
#include <system_error>

namespace lockstep {

/// Throw Error{environment}. @param number  of the thread, from 1, of `threads` in all.
[[noreturn]] void throw_no_thread(std::size_t number, int threads, const std::system_error& failure);

}  // namespace lockstep
