// worker/model/lora_adapters.h
//
// The products of the adapters beside a model's linear maps, forward and backward.
// Owns their workspace; what forward has made of an input is made again in
// backward, which costs little and keeps nothing.

#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "io/base/large_pages.h"
#include "kernels/gemm.h"
#include "kernels/matrix_view.h"
#include "worker/model/lora.h"

namespace lockstep {

/// Shapes of all products with adapters at this many tokens, for the start-up self-test.
std::vector<GemmShape> lora_gemm_shapes(const ModelConfig& config, const LoraSettings& lora,
                                        std::size_t tokens);

class LoraAdapters {
  public:
    /// The adapters of one linear map, and where they live in their flat state.
    struct Place {
        LoraMap map;
        std::size_t a = 0, b = 0;
    };
    /// Gradients of A and B, and where they belong. d_a (parts·rank, in), d_b (rows of all parts, rank),
    /// row-major. Valid until the next call.
    struct Gradients {
        std::size_t a = 0, b = 0;
        std::span<const float> d_a, d_b;
    };

    /// @param gemm  borrowed. Allocates nothing yet.
    LoraAdapters(const ModelConfig& config, const LoraSettings& lora, const Gemm& gemm,
                 std::size_t tokens_max);

    const StateLayout& layout() const { return layout_; }
    std::size_t workspace_bytes() const { return 2 * projected_floats_ * sizeof(float); }
    std::size_t gradient_bytes() const { return gradient_floats_ * sizeof(float); }
    void allocate();

    /// Null if there is none beside this map ("layers.3.attention.qkv").
    const Place* find(std::string_view map) const;

    /// Borrowed, (layout().size()); read whenever something is computed.
    void set_weights(std::span<const float> adapters);

    /// y += scale·(x·Aᵀ)·Bᵀ. x (T, in), y (T, out of the map).
    void forward(const Place& place, ConstMatrixView x, MatrixView y);
    /// @param x    (T, in) as forward had it.
    /// @param d_y  (T, out of the map) gradient of y.
    Gradients backward(const Place& place, ConstMatrixView x, ConstMatrixView d_y);
    /// d_x (T, in) += what comes through the adapters of the last backward, which was of this place and T.
    void add_input_gradient(const Place& place, MatrixView d_x);

  private:
    void project(const Place& place, ConstMatrixView x);
    MatrixView projected(const Place& place, std::size_t tokens);
    MatrixView d_projected(const Place& place, std::size_t tokens);
    ConstMatrixView weight_a(const Place& place) const;
    /// body(column of the projections, row of B, column of y, rows) for every part.
    template <class Body>
    void for_parts(const Place& place, const Body& body) const;

    const Gemm& gemm_;
    std::size_t rank_;
    float scale_;
    StateLayout layout_;
    std::vector<Place> places_;
    std::size_t projected_floats_ = 0, gradient_floats_ = 0;
    LargeVector<float> projected_;    ///< (T, parts·rank) scale·x·Aᵀ
    LargeVector<float> d_projected_;  ///< (T, parts·rank) gradient of x·Aᵀ
    LargeVector<float> gradient_;     ///< Of one map's A and B.
    std::span<const float> weights_;  ///< Borrowed.
};

}  // namespace lockstep
