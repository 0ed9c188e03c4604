// launch/cli/chaos/chaos_kills.h
//
// `chaos --kills` and `--power`: a run that is killed again and again, or whose disk
// loses its power, must end in the bits of the one that was left alone.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep {

struct Invocation;

struct ChaosKillsArguments {
    std::vector<std::string> command;
    std::string output;
    std::uint64_t kills = 100;
    std::uint64_t seed = 1;
    std::uint64_t kills_per_run = 10;
    int ranks_max = 4;
    bool power = false;  ///< Each kill is a power cut of a disk of the run's own.
};

/// @return exit code: 0, or 1 when a killed run ended otherwise than the undisturbed one.
int chaos_kills(const Invocation& invocation, const ChaosKillsArguments& arguments);

}  // namespace lockstep
