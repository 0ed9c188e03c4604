// launch/cli/bench/bench_step.h
//
// `lockstep bench step`: its arguments, and its other half under mpirun.

#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/cli/bench/bench_measure.h"

namespace lockstep {

struct BenchStepArguments {
    std::vector<std::string> cases;  ///< Empty: what the verb measures by itself.
    std::size_t packs = 1;           ///< Of a rank.
    std::size_t vocabulary = 257;    ///< Of presets without one.
    std::optional<int> threads;
    double seconds = 8;
    std::string gemm = "auto";
    std::vector<std::string> numerics = {"fma256"};
    bool weak_scaling = false;
    BenchOutput output;
};

/// Collective. What becomes of a step when every rank takes packs instead of rank 0 alone, beside what
/// becomes of plain sgemm. @return the exit code.
/// @throws Error{invalid_argument} in a world of one, or for several numerics.
int run_weak_scaling(const Invocation& invocation, const BenchStepArguments& arguments);

}  // namespace lockstep
