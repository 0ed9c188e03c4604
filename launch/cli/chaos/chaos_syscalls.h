// launch/cli/chaos/chaos_syscalls.h
//
// `chaos --syscalls`: each system call of a save fails once, in every way it can, or
// its process ends there. The generation before or the next one must be the newest
// then, and the run, continued, must end in the bits of the one left alone.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct Invocation;

struct ChaosSyscallsArguments {
    std::vector<std::string> command;
    std::string output;
    std::uint64_t faults = 0;  ///< At least 1; more than there are means each of them once.
    std::uint64_t seed = 1;
};

/// @return exit code: 0, or 1 when a run came to harm or a planned call was never made.
int chaos_syscalls(const Invocation& invocation, const ChaosSyscallsArguments& arguments);

}  // namespace lockstep
