// worker/signal_free_thread.h
//
// Threads beside the loop. They take no signals: those are for the loop.

#pragma once

#include <functional>
#include <thread>

namespace lockstep {

/// A thread that runs `body` with every signal blocked; the caller's own mask is as before, also when no
/// thread can be had. @throws std::system_error then.
std::thread start_signal_free(std::function<void()> body);

}  // namespace lockstep
