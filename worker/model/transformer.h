// worker/model/transformer.h
//
// A decoder transformer over one packed batch: forward, loss and backward, built
// from kernels. Owns the workspace; weights and gradients are borrowed.
//
// Positions restart in each segment, no attention and no target crosses a
// boundary, no padding is computed, no T×T and no T×V buffer is held.
//
// With adapters the model's weights are frozen: no gradient of theirs is computed.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "io/base/function_ref.h"
#include "kernels/attention.h"
#include "kernels/gemm.h"
#include "kernels/matrix_view.h"
#include "worker/model/lora.h"
#include "worker/model/model_config.h"
#include "worker/model/state_layout.h"
#include "worker/packed_batch.h"

namespace lockstep {

/// Shapes of all products of a model at this many tokens, for the start-up self-test.
std::vector<GemmShape> gemm_shapes(const ModelConfig& config, std::size_t tokens,
                                   const std::optional<LoraSettings>& lora = {});

/// Of every layer, for packs of up to so many tokens.
AttentionShape attention_shape(const ModelConfig& config, std::size_t tokens_max);

/// What forward leaves for backward: all of it, or the entry of each layer, from which the rest is computed
/// again. The bits are the same; the second takes a third more time in the layers.
enum class Activations : std::uint8_t { keep, recompute };

/// Bytes that a Transformer allocates, by purpose.
struct TransformerMemory {
    std::size_t activations = 0;  ///< Of forward, and their gradients; projections of adapters.
    std::size_t logits = 0;       ///< One tile of the head.
    std::size_t gradient = 0;  ///< Of the tensors at hand: the head's, and one other; or one map's adapters.
    std::size_t weight_panels = 0;  ///< The weights once more, as the matrix products read them.
    std::size_t rotary = 0;         ///< Tables of sines and cosines.
    std::size_t total() const { return activations + logits + gradient + weight_panels + rotary; }
};
TransformerMemory transformer_memory(const ModelConfig& config, const Gemm& gemm, std::size_t tokens_max,
                                     Activations activations, const std::optional<LoraSettings>& lora = {});

/// Takes elements [offset, offset + gradient.size()) of a gradient in the trainable layout.
using GradientSink = FunctionRef<void(std::size_t offset, std::span<const float> gradient)>;

class Transformer {
  public:
    /// @param gemm        borrowed; brings the thread pool.
    /// @param tokens_max  most tokens of any batch; the workspace is allocated once for it.
    Transformer(const ModelConfig& config, const Gemm& gemm, std::size_t tokens_max,
                Activations activations = Activations::keep, const std::optional<LoraSettings>& lora = {});
    ~Transformer();
    Transformer(const Transformer&) = delete;
    Transformer& operator=(const Transformer&) = delete;

    const StateLayout& layout() const;            ///< Of the model's weights.
    const StateLayout& trainable_layout() const;  ///< The same, or the adapters'.
    TransformerMemory memory() const;

    /// Weights of all that follows, laid out here for the matrix products. Borrowed; to be called again
    /// whenever they have changed.
    /// @param weights  (layout().size())
    void set_weights(std::span<const float> weights);
    /// Weights of the adapters, (trainable_layout().size()). Borrowed, and read whenever something is
    /// computed.
    /// @pre There are adapters.
    void set_adapters(std::span<const float> adapters);

    /// Loss and its gradient.
    /// @param sink      takes the gradient of every trainable tensor, once it is whole: offset, elements.
    ///                  Each tensor once; the span is reused afterwards.
    /// @param scale     factor of every dlogit: float(1 / targets of the step).
    /// @param token_loss (T) or empty.
    /// @return sum of the targets' losses, in double in token order [nat].
    double forward_backward(const PackedBatch& batch, float scale, GradientSink sink,
                            std::span<float> token_loss = {});
    /// @param gradient  (trainable_layout().size()) written; padding stays as it is.
    double forward_backward(const PackedBatch& batch, float scale, std::span<float> gradient,
                            std::span<float> token_loss = {});

    /// Loss alone, with the same bits.
    double forward(const PackedBatch& batch, std::span<float> token_loss = {});

    /// Logits (T, vocabulary) of every position, for tests and inspection.
    void logits(const PackedBatch& batch, MatrixView out);

  private:
    friend TransformerMemory transformer_memory(const ModelConfig&, const Gemm&, std::size_t, Activations,
                                                const std::optional<LoraSettings>&);
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
