#include "worker/sharded_state.h"

#include <algorithm>
#include <cmath>

#include "io/base/contract.h"
#include "kernels/optimizer.h"
#include "kernels/scalar_math.h"

namespace lockstep {

namespace {

/// Byte counts of all ranks' slices when an element takes `element_bytes` and stands for `stride` state
/// elements.
std::vector<std::uint64_t> slice_bytes(std::size_t state_elements, WorldSize world_size,
                                       std::size_t element_bytes, std::size_t stride) {
    std::vector<std::uint64_t> sizes;
    for (int r = 0; r < world_size.value; ++r) {
        sizes.push_back(state_slice(state_elements, Rank{r}, world_size).size() / stride * element_bytes);
    }
    return sizes;
}

}  // namespace

ShardedState::ShardedState(Communicator& comm, ThreadPool& pool, const StateLayout& layout)
    : comm_(comm),
      pool_(pool),
      layout_(layout),
      slice_(state_slice(layout.size(), comm.rank(), comm.size())),
      weights_(layout.size(), 0.0F),
      adam_m_(slice_.size(), 0.0F),
      adam_v_(slice_.size(), 0.0F),
      block_sums_(layout.size() / state_block),
      norm_bytes_(slice_bytes(layout.size(), comm.size(), sizeof(double), state_block)),
      weight_bytes_(slice_bytes(layout.size(), comm.size(), sizeof(float), 1)) {}

void ShardedState::initialize(std::uint64_t seed) {
    initialize_weights(layout_, seed, weights_);
    std::fill(adam_m_.begin(), adam_m_.end(), 0.0F);
    std::fill(adam_v_.begin(), adam_v_.end(), 0.0F);
}

void ShardedState::load(const GenerationReader& generation) {
    generation.read_weights(0, weights_);
    generation.read_adam_m(slice_.begin, adam_m_);
    generation.read_adam_v(slice_.begin, adam_v_);
}

std::span<const float> ShardedState::slice_weights() const {
    return std::span(weights_).subspan(slice_.begin, slice_.size());
}

double ShardedState::gradient_norm(ExactGradient slice_gradient) {
    LOCKSTEP_EXPECTS(slice_gradient.size() == slice_.size());
    const auto mine = std::span(block_sums_).subspan(slice_.begin / state_block, slice_.size() / state_block);
    block_square_sums(pool_, slice_gradient, mine);
    comm_.all_gather_v(std::as_bytes(mine), std::as_writable_bytes(std::span(block_sums_)), norm_bytes_);
    return std::sqrt(combine_block_sums(block_sums_));
}

void ShardedState::update(const OptimizerSettings& settings, std::uint64_t step, double gradient_norm,
                          ExactGradient slice_gradient) {
    AdamWStep adam;
    adam.learning_rate = static_cast<float>(learning_rate_at(settings, step));
    adam.beta1 = static_cast<float>(settings.beta1);
    adam.beta2 = static_cast<float>(settings.beta2);
    adam.epsilon = static_cast<float>(settings.epsilon);
    adam.bias_correction1 = static_cast<float>(1.0 - power(settings.beta1, step + 1));
    adam.bias_correction2 = static_cast<float>(1.0 - power(settings.beta2, step + 1));
    const bool clips = settings.clip_norm > 0 && gradient_norm > settings.clip_norm;
    adam.gradient_factor = clips ? static_cast<float>(settings.clip_norm / gradient_norm) : 1.0F;

    for (const TensorSpec& tensor : layout_.tensors()) {
        const std::size_t begin = std::max(tensor.offset, slice_.begin);
        const std::size_t end = std::min(tensor.offset + tensor.elements(), slice_.end);
        if (begin >= end) continue;
        adam.weight_decay = tensor.matrix ? static_cast<float>(settings.weight_decay) : 0.0F;
        const std::size_t at = begin - slice_.begin;
        const std::size_t length = end - begin;
        adamw_update(pool_, adam, slice_gradient.subspan(at, length),
                     std::span(weights_).subspan(begin, length), std::span(adam_m_).subspan(at, length),
                     std::span(adam_v_).subspan(at, length));
    }
}

void ShardedState::all_gather_weights() {
    const auto all = std::span(weights_);
    comm_.all_gather_v(std::as_bytes(all.subspan(slice_.begin, slice_.size())), std::as_writable_bytes(all),
                       weight_bytes_);
}

}  // namespace lockstep
