// launch/cli/chaos/chaos_corrupt.h
//
// `chaos --corrupt`: one file after another of a run's copy is damaged, and what is
// read must be what was written, or one clear error.

#pragma once

#include <cstdint>
#include <string>

namespace lockstep {

struct Invocation;

struct ChaosCorruptArguments {
    std::string run;
    std::string output;
    std::uint64_t cases = 0;
    std::uint64_t seed = 1;  ///< Case i has seed + i.
};

/// @return exit code: 0, or 1 when damage went unseen, crashed a reader or gave an unclear error.
int chaos_corrupt(const Invocation& invocation, const ChaosCorruptArguments& arguments);

}  // namespace lockstep
