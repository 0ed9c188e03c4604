// worker/sharded_state.h
//
// The state of a run on one rank: all weights, and this rank's slice of Adam's
// moments. Updates are elementwise on slices, so the world size cannot change a bit.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/base/large_pages.h"
#include "io/comm/communicator.h"
#include "io/run/checkpoint.h"
#include "kernels/exact_accumulate.h"
#include "kernels/thread_pool.h"
#include "worker/model/state_layout.h"
#include "worker/train_settings.h"

namespace lockstep {

class ShardedState {
  public:
    ShardedState(Communicator& comm, ThreadPool& pool, const StateLayout& layout);

    void initialize(std::uint64_t seed);
    void load(const GenerationReader& generation);

    StateSlice slice() const { return slice_; }
    std::span<const float> weights() const { return weights_; }  ///< (layout.size())
    std::span<float> weights() { return weights_; }
    std::span<const float> slice_weights() const;              ///< (slice().size())
    std::span<const float> adam_m() const { return adam_m_; }  ///< (slice().size())
    std::span<const float> adam_v() const { return adam_v_; }  ///< (slice().size())

    /// Collective. Norm of the whole gradient of which every rank brings its slice.
    double gradient_norm(ExactGradient slice_gradient);

    /// AdamW with clipping on this rank's slice. `step` is the global step, from 0.
    void update(const OptimizerSettings& settings, std::uint64_t step, double gradient_norm,
                ExactGradient slice_gradient);

    /// Collective. Every rank's slice of the weights to every rank.
    void all_gather_weights();

  private:
    Communicator& comm_;
    ThreadPool& pool_;
    const StateLayout& layout_;
    StateSlice slice_;
    LargeVector<float> weights_;
    LargeVector<float> adam_m_, adam_v_;
    std::vector<double> block_sums_;  ///< Of the whole gradient.
    /// What every rank brings to the all-gathers of norms and weights.
    std::vector<std::uint64_t> norm_bytes_, weight_bytes_;
};

}  // namespace lockstep
