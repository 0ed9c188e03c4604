#include "worker/model/state_layout.h"

#include <algorithm>
#include <cmath>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/run/state_digest.h"
#include "kernels/optimizer.h"
#include "kernels/scalar_math.h"

namespace lockstep {

namespace {

/// Leaves a rank from which slices are of whole leaves: none is then longer than the mean by more than a
/// sixteenth.
constexpr std::size_t whole_leaves_from = 16;

TensorSpec matrix(std::string name, std::size_t rows, std::size_t cols, double std) {
    return {std::move(name), rows, cols, true, TensorSpec::Init::normal, std, 0};
}

TensorSpec vector(std::string name, std::size_t cols, TensorSpec::Init init) {
    return {std::move(name), 1, cols, false, init, 0.0, 0};
}

// Names of the tensors, and their order, are part of the state digest: never change them.
std::vector<TensorSpec> list_tensors(const ModelConfig& c) {
    using Init = TensorSpec::Init;
    const bool gpt2 = c.family == ModelFamily::gpt2;
    const std::size_t query_width = c.heads * c.head_dim;
    const std::size_t qkv_width = query_width + 2 * c.kv_heads * c.head_dim;
    // Residual branches start small, so that depth does not blow up the sum (GPT-2's rule).
    const double residual_std = c.init_std / std::sqrt(2.0 * static_cast<double>(c.layers));

    std::vector<TensorSpec> list;
    list.push_back(matrix("token_table.weight", c.vocabulary, c.width, c.init_std));
    if (gpt2) list.push_back(matrix("position_table.weight", c.positions, c.width, c.init_std));
    for (std::size_t layer = 0; layer < c.layers; ++layer) {
        const std::string p = "layers." + std::to_string(layer) + ".";
        const auto norm = [&](const std::string& name) {
            list.push_back(vector(p + name + ".gain", c.width, Init::ones));
            if (gpt2) list.push_back(vector(p + name + ".bias", c.width, Init::zeros));
        };
        const auto linear = [&](const std::string& name, std::size_t out, std::size_t in, double std,
                                bool bias) {
            list.push_back(matrix(p + name + ".weight", out, in, std));
            if (gpt2 || bias) list.push_back(vector(p + name + ".bias", out, Init::zeros));
        };
        norm("attention_norm");
        linear("attention.qkv", qkv_width, c.width, c.init_std, c.biases.qkv);
        linear("attention.out", c.width, query_width, residual_std, c.biases.attention_out);
        norm("ffn_norm");
        linear("ffn.in", gpt2 ? c.ffn : 2 * c.ffn, c.width, c.init_std, c.biases.ffn);
        linear("ffn.out", c.width, c.ffn, residual_std, c.biases.ffn);
    }
    list.push_back(vector("final_norm.gain", c.width, Init::ones));
    if (gpt2) list.push_back(vector("final_norm.bias", c.width, Init::zeros));
    if (!c.tied_head) list.push_back(matrix("head.weight", c.vocabulary, c.width, c.init_std));
    return list;
}

/// Uniform in [−bound, bound): two steps in double, and one rounding.
void fill_uniform(std::uint64_t seed, std::uint64_t stream, double bound, std::span<float> values) {
    const Philox random(seed, "uniform-weights", stream);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double unit = static_cast<double>(random.word64(i) >> 11U) * 0x1p-52 - 1.0;
        values[i] = static_cast<float>(bound * unit);
    }
}

}  // namespace

StateLayout::StateLayout(const ModelConfig& config) : StateLayout(list_tensors(config)) {}

StateLayout::StateLayout(std::vector<TensorSpec> tensors) : tensors_(std::move(tensors)) {
    for (TensorSpec& tensor : tensors_) {
        tensor.offset = size_;
        parameters_ += tensor.elements();
        size_ += (tensor.elements() + state_block - 1) / state_block * state_block;
    }
}

std::vector<StateSlice> StateLayout::padding() const {
    std::vector<StateSlice> ranges;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        const std::size_t begin = tensors_[i].offset + tensors_[i].elements();
        const std::size_t end = i + 1 < tensors_.size() ? tensors_[i + 1].offset : size_;
        if (begin < end) ranges.push_back({begin, end});
    }
    return ranges;
}

const TensorSpec* StateLayout::find(std::string_view name) const {
    const auto found =
        std::find_if(tensors_.begin(), tensors_.end(), [&](const TensorSpec& t) { return t.name == name; });
    return found == tensors_.end() ? nullptr : &*found;
}

const TensorSpec& StateLayout::tensor(std::string_view name) const {
    const TensorSpec* found = find(name);
    if (found == nullptr) throw Error(ErrorCode::bug, "no tensor named '" + std::string(name) + "'");
    return *found;
}

namespace {

/// What slices are made of.
std::size_t slice_piece(std::size_t state_elements, std::size_t world) {
    static_assert(state_leaf_elements % state_block == 0);
    const bool has_many_leaves = state_elements / world >= whole_leaves_from * state_leaf_elements;
    return has_many_leaves ? state_leaf_elements : state_block;
}

}  // namespace

StateSlice state_slice(std::size_t state_elements, Rank rank, WorldSize world_size) {
    LOCKSTEP_EXPECTS(state_elements % state_block == 0);
    LOCKSTEP_EXPECTS(rank.value >= 0 && rank.value < world_size.value);
    const auto r = static_cast<std::size_t>(rank.value);
    const auto w = static_cast<std::size_t>(world_size.value);
    const std::size_t piece = slice_piece(state_elements, w);
    const std::size_t pieces = (state_elements + piece - 1) / piece;
    return {std::min(pieces * r / w * piece, state_elements),
            std::min(pieces * (r + 1) / w * piece, state_elements)};
}

std::size_t largest_slice(std::size_t state_elements, WorldSize world_size) {
    std::size_t largest = 0;
    for (int r = 0; r < world_size.value; ++r) {
        largest = std::max(largest, state_slice(state_elements, Rank{r}, world_size).size());
    }
    return largest;
}

void initialize_weights(const StateLayout& layout, std::uint64_t seed, std::span<float> weights) {
    LOCKSTEP_EXPECTS(weights.size() == layout.size());
    std::fill(weights.begin(), weights.end(), 0.0F);
    for (std::size_t index = 0; index < layout.tensors().size(); ++index) {
        const TensorSpec& tensor = layout.tensors()[index];
        const auto values = weights.subspan(tensor.offset, tensor.elements());
        switch (tensor.init) {
            case TensorSpec::Init::zeros:
                break;
            case TensorSpec::Init::ones:
                std::fill(values.begin(), values.end(), 1.0F);
                break;
            case TensorSpec::Init::normal:
                for (std::size_t i = 0; i < values.size(); ++i) {
                    values[i] = static_cast<float>(tensor.init_std) * standard_normal(seed, index, i);
                }
                break;
            case TensorSpec::Init::uniform:
                fill_uniform(seed, index, tensor.init_std, values);
                break;
        }
    }
}

}  // namespace lockstep
