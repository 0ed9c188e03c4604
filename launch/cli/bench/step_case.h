// launch/cli/bench/step_case.h
//
// What the benches of whole steps measure, and what they measure it against: a model
// with the segments of a pack, and plain sgemm on the layers' shapes.

#pragma once

#include <string>
#include <vector>

#include "kernels/speed_probe.h"
#include "worker/model/model_config.h"

namespace lockstep {

/// "gpt2-124m:4x256" or "small:mix4096".
struct StepCase {
    std::string name, model;
    std::vector<std::size_t> segment_tokens;
    bool is_mix = false;  ///< Of unlike lengths.

    std::size_t tokens() const;
};

/// @throws Error{invalid_argument} naming --case and its forms.
StepCase parse_step_case(const std::string& text);

/// As many tokens in segments of one length, or two neighbouring ones, with as near as can be the same useful
/// work: the length is E[l^2] / E[l], over which a token attends as far as it does in the mix on average.
std::vector<std::size_t> equal_segments_of_same_work(const std::vector<std::size_t>& segment_tokens);

/// The matrix products of a pack as plain sgemm, on the layers' own shapes.
class SgemmProbe {
  public:
    SgemmProbe(const ModelConfig& config, std::size_t tokens, ThreadPool& pool);

    /// Rate over all products of a step, each timed once after a call that brings its operands close
    /// [flop/s].
    double run(SgemmSplit split);

  private:
    ThreadPool& pool_;
    std::vector<GemmShape> shapes_;
    std::vector<double> counts_;  ///< How often a step has each shape.
    ProductProbe products_;
};

}  // namespace lockstep
