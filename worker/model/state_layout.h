// worker/model/state_layout.h
//
// The flat state: every tensor of a model, in a documented order, each padded to
// whole blocks of 4,096 elements (docs/formats/run.md). Weights, gradients
// and moments share this layout; ranks own slices of whole blocks.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/ids.h"
#include "worker/model/model_config.h"

namespace lockstep {

struct TensorSpec {
    enum class Init : std::uint8_t { normal, zeros, ones, uniform };

    std::string name;      ///< "layers.3.attention.qkv.weight"
    std::size_t rows = 1;  ///< 1 for a vector.
    std::size_t cols = 0;
    bool matrix = false;  ///< Weight decay applies.
    Init init = Init::zeros;
    double init_std = 0;     ///< Of normal; of uniform its bound.
    std::size_t offset = 0;  ///< First element in the flat state; a multiple of state_block.

    std::size_t elements() const { return rows * cols; }
};

/// Elements [begin, end) of the flat state.
struct StateSlice {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t size() const { return end - begin; }
};

class StateLayout {
  public:
    explicit StateLayout(const ModelConfig& config);
    /// These tensors in this order; their offsets are set here.
    explicit StateLayout(std::vector<TensorSpec> tensors);

    std::span<const TensorSpec> tensors() const { return tensors_; }
    /// All elements, padding included; a multiple of state_block.
    std::size_t size() const { return size_; }
    std::size_t parameters() const { return parameters_; }  ///< Without padding.
    /// Elements of no tensor, ascending.
    std::vector<StateSlice> padding() const;
    const TensorSpec& tensor(std::string_view name) const;
    const TensorSpec* find(std::string_view name) const;  ///< Null if this model has no such tensor.

  private:
    std::vector<TensorSpec> tensors_;
    std::size_t size_ = 0;
    std::size_t parameters_ = 0;
};

/// What one rank owns: whole blocks, as even as possible, in rank order; may be empty. In a state of many
/// tree leaves a rank (io/run/state_digest.h) whole leaves, so that none needs another rank's elements to be
/// hashed.
StateSlice state_slice(std::size_t state_elements, Rank rank, WorldSize world_size);
/// Elements of the largest.
std::size_t largest_slice(std::size_t state_elements, WorldSize world_size);

/// Initial weights, keyed by (seed, tensor, element); padding is zero.
void initialize_weights(const StateLayout& layout, std::uint64_t seed, std::span<float> weights);

}  // namespace lockstep
