// worker/step_rate.h
//
// How fast a model's packed step runs here, on made-up tokens: for `doctor` and
// benchmarks. No files.

#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "io/comm/communicator.h"
#include "kernels/gemm.h"
#include "worker/model/model_config.h"

namespace lockstep {

/// Where one optimizer step's time went [s].
struct StepSeconds {
    double forward_backward = 0;  ///< Forward, loss and backward of all packs.
    double exact_sum = 0;         ///< Gradients to integers, added up, and over all ranks.
    double update = 0;  ///< Gradient norm, AdamW, weights to all ranks and laid out for the products.

    double total() const { return forward_backward + exact_sum + update; }
};

/// A model with its state and one pack of made-up tokens, ready to be stepped and timed.
class MeasuredStep {
  public:
    /// @param segment_tokens  lengths of the pack's segments, each at most config.positions.
    /// @param packs           of this rank in a step; the same pack again and again.
    /// @param comm            whose ranks step together; null: a world of one.
    MeasuredStep(const ModelConfig& config, const Gemm& gemm, std::span<const std::size_t> segment_tokens,
                 std::size_t packs = 1, Communicator* comm = nullptr);
    ~MeasuredStep();
    MeasuredStep(const MeasuredStep&) = delete;
    MeasuredStep& operator=(const MeasuredStep&) = delete;

    /// From here on the pack is cut into other segments. @pre they hold no more tokens than the first ones.
    void use_segments(std::span<const std::size_t> segment_tokens);

    /// Collective. One whole step: it changes the weights as training would.
    StepSeconds run();
    /// Forward and loss of one pack alone [s].
    double run_forward();

    std::size_t tokens() const;           ///< Of this rank in a step.
    double flop() const;                  ///< Useful operations of this rank in a step (flop_per_token).
    std::size_t state_elements() const;   ///< Of the flat state, with its padding to blocks.
    std::size_t workspace_bytes() const;  ///< Of activations.

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// `tokens` cut into `segments` equal segments.
std::vector<std::size_t> equal_segments(std::size_t tokens, std::size_t segments);

struct StepRate {
    std::size_t tokens = 0;      ///< Of one pack.
    double median_seconds = 0;   ///< Forward, loss, backward, exact sum and update of one pack.
    double flop_per_second = 0;  ///< Useful operations (flop_per_token).
};

/// @param segments  the pack's tokens are cut into this many equal segments.
/// @param seconds   how long to measure, about; at least three steps.
StepRate measure_step_rate(const ModelConfig& config, const Gemm& gemm, std::size_t tokens,
                           std::size_t segments, double seconds);

}  // namespace lockstep
