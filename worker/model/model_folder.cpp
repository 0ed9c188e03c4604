#include "worker/model/model_folder.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/run/state_digest.h"

namespace lockstep {

namespace {

/// Elements moved at once [floats].
constexpr std::size_t piece_elements = std::size_t{1} << 18U;

// ----------------------------------------------------------- names and places

/// Collects the tensors of a model.
class Mapping {
  public:
    explicit Mapping(const ModelConfig& config) : layout_(config) {}

    /// The whole of one of ours.
    void whole(const std::string& name, const std::string& ours, bool transposed = false) {
        const TensorSpec& spec = layout_.tensor(ours);
        add(name, spec, 0, spec.matrix ? spec.rows : spec.cols, transposed);
    }
    /// `count` rows of one of ours from `first`; of a vector, so many elements. Absent from ours: none.
    void part(const std::string& name, const std::string& ours, std::size_t first, std::size_t count) {
        const TensorSpec* spec = layout_.find(ours);
        if (spec != nullptr) add(name, *spec, first, count, false);
    }
    std::vector<FolderTensor> take() { return std::move(list_); }

  private:
    void add(const std::string& name, const TensorSpec& spec, std::size_t first, std::size_t count,
             bool transposed) {
        FolderTensor tensor;
        tensor.name = name;
        tensor.transposed = transposed;
        tensor.shape = {count};
        if (spec.matrix)
            tensor.shape.insert(transposed ? tensor.shape.begin() : tensor.shape.end(), spec.cols);
        tensor.offset = spec.offset + first * (spec.matrix ? spec.cols : 1);
        list_.push_back(std::move(tensor));
    }

    StateLayout layout_;
    std::vector<FolderTensor> list_;
};

std::vector<FolderTensor> gpt2_tensors(const ModelConfig& c) {
    Mapping map(c);
    map.whole("transformer.wte.weight", "token_table.weight");
    map.whole("transformer.wpe.weight", "position_table.weight");
    for (std::size_t i = 0; i < c.layers; ++i) {
        const std::string theirs = "transformer.h." + std::to_string(i) + ".";
        const std::string ours = "layers." + std::to_string(i) + ".";
        const auto norm = [&](const std::string& name, const std::string& our_name) {
            map.whole(theirs + name + ".weight", ours + our_name + ".gain");
            map.whole(theirs + name + ".bias", ours + our_name + ".bias");
        };
        const auto linear = [&](const std::string& name, const std::string& our_name) {
            map.whole(theirs + name + ".weight", ours + our_name + ".weight", true);
            map.whole(theirs + name + ".bias", ours + our_name + ".bias");
        };
        norm("ln_1", "attention_norm");
        linear("attn.c_attn", "attention.qkv");
        linear("attn.c_proj", "attention.out");
        norm("ln_2", "ffn_norm");
        linear("mlp.c_fc", "ffn.in");
        linear("mlp.c_proj", "ffn.out");
    }
    map.whole("transformer.ln_f.weight", "final_norm.gain");
    map.whole("transformer.ln_f.bias", "final_norm.bias");
    if (!c.tied_head) map.whole("lm_head.weight", "head.weight");
    return map.take();
}

std::vector<FolderTensor> llama_tensors(const ModelConfig& c) {
    const std::size_t queries = c.heads * c.head_dim;
    const std::size_t keys = c.kv_heads * c.head_dim;
    Mapping map(c);
    map.whole("model.embed_tokens.weight", "token_table.weight");
    for (std::size_t i = 0; i < c.layers; ++i) {
        const std::string theirs = "model.layers." + std::to_string(i) + ".";
        const std::string ours = "layers." + std::to_string(i) + ".";
        map.whole(theirs + "input_layernorm.weight", ours + "attention_norm.gain");
        for (const char* kind : {".weight", ".bias"}) {
            map.part(theirs + "self_attn.q_proj" + kind, ours + "attention.qkv" + kind, 0, queries);
            map.part(theirs + "self_attn.k_proj" + kind, ours + "attention.qkv" + kind, queries, keys);
            map.part(theirs + "self_attn.v_proj" + kind, ours + "attention.qkv" + kind, queries + keys, keys);
            map.part(theirs + "self_attn.o_proj" + kind, ours + "attention.out" + kind, 0, c.width);
        }
        map.whole(theirs + "post_attention_layernorm.weight", ours + "ffn_norm.gain");
        for (const char* kind : {".weight", ".bias"}) {
            map.part(theirs + "mlp.gate_proj" + kind, ours + "ffn.in" + kind, 0, c.ffn);
            map.part(theirs + "mlp.up_proj" + kind, ours + "ffn.in" + kind, c.ffn, c.ffn);
            map.part(theirs + "mlp.down_proj" + kind, ours + "ffn.out" + kind, 0, c.width);
        }
    }
    map.whole("model.norm.weight", "final_norm.gain");
    if (!c.tied_head) map.whole("lm_head.weight", "head.weight");
    return map.take();
}

constexpr const char* head_name = "lm_head.weight";

const char* prefix_of(ModelFamily family) {
    return family == ModelFamily::gpt2 ? "transformer." : "model.";
}

/// What a configuration implies, and older folders hold nevertheless: causal masks, rotary frequencies.
bool is_implied(ModelFamily family, std::string_view name) {
    if (family == ModelFamily::llama) return name.ends_with("rotary_emb.inv_freq");
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
}

}  // namespace

std::vector<FolderTensor> folder_tensors(const ModelConfig& config) {
    return config.family == ModelFamily::gpt2 ? gpt2_tensors(config) : llama_tensors(config);
}

// ----------------------------------------------------------- reading

void check_stored(const FolderTensor& tensor, const TensorEntry& entry, const std::string& where) {
    const auto refuse = [&](const std::string& what) {
        throw Error(ErrorCode::invalid_argument, where + "tensor " + quoted_name(tensor.name) + what);
    };
    if (entry.shape != tensor.shape) {
        refuse(" has shape " + shape_text(entry.shape) + ", the configuration asks for " +
               shape_text(tensor.shape));
    }
    if (!converts_to_float(entry.type)) {
        refuse(" has dtype " + std::string(name_of(entry.type)) +
               "; weights are read from F64, F32, F16 and BF16");
    }
}

WeightsFolder WeightsFolder::open(const std::filesystem::path& folder, const ModelConfig& config) {
    WeightsFolder result(SafetensorsFolder::open(folder));
    const auto& stored = result.files_.tensors();
    const std::string where = "model '" + folder.string() + "': ";
    const auto refuse = [&](const std::string& what) {
        throw Error(ErrorCode::invalid_argument, where + what);
    };
    // A model saved without its head has no prefix.
    const std::string prefix = prefix_of(config.family);
    const bool prefixed = std::any_of(stored.begin(), stored.end(),
                                      [&](const auto& entry) { return entry.first.starts_with(prefix); });
    std::set<std::string> used;
    for (FolderTensor& tensor : folder_tensors(config)) {
        if (!prefixed && tensor.name.starts_with(prefix)) tensor.name.erase(0, prefix.size());
        const auto found = stored.find(tensor.name);
        if (found == stored.end()) refuse("tensor " + quoted_name(tensor.name) + " is missing");
        check_stored(tensor, *found->second.tensor, where);
        used.insert(tensor.name);
        result.sources_.push_back({std::move(tensor), found->second});
    }
    for (const auto& [name, place] : stored) {
        if (used.contains(name) || is_implied(config.family, name)) continue;
        if (config.tied_head && name == head_name &&
            place.tensor->shape == std::vector<std::uint64_t>{config.vocabulary, config.width} &&
            converts_to_float(place.tensor->type)) {
            result.second_head_ = place;
            continue;
        }
        refuse("tensor " + quoted_name(name) + " is not one of this model's");
    }
    result.state_elements_ = StateLayout(config).size();
    return result;
}

void WeightsFolder::read(std::span<float> weights) const {
    LOCKSTEP_EXPECTS(weights.size() == state_elements_);
    std::fill(weights.begin(), weights.end(), 0.0F);
    for (const Source& source : sources_) {
        read_tensor(*source.place.file, *source.place.tensor, source.tensor, weights);
    }
    if (second_head_.tensor != nullptr) compare_head(weights);
}

void read_tensor(const SafetensorsFile& file, const TensorEntry& entry, const FolderTensor& tensor,
                 std::span<float> state) {
    const auto into = state.subspan(tensor.offset, static_cast<std::size_t>(tensor.elements()));
    if (!tensor.transposed) {
        file.read(entry, 0, into);
    } else {
        const std::size_t rows = tensor.shape[0];
        const std::size_t cols = tensor.shape[1];
        const std::size_t rows_at_once = std::clamp<std::size_t>(piece_elements / cols, 1, rows);
        std::vector<float> piece(rows_at_once * cols);
        for (std::size_t first = 0; first < rows; first += rows_at_once) {
            const std::size_t count = std::min(rows_at_once, rows - first);
            file.read(entry, first * cols, std::span(piece).first(count * cols));
            for (std::size_t j = 0; j < cols; ++j) {
                for (std::size_t i = 0; i < count; ++i) into[j * rows + first + i] = piece[i * cols + j];
            }
        }
    }
    if (!std::all_of(into.begin(), into.end(), [](float value) { return std::isfinite(value); })) {
        throw Error(ErrorCode::corrupt_data, "'" + file.path().string() + "': tensor " +
                                                 quoted_name(tensor.name) +
                                                 " holds a number that is not finite");
    }
}

void WeightsFolder::compare_head(std::span<const float> weights) const {
    const auto table = std::find_if(sources_.begin(), sources_.end(), [](const Source& source) {
        return source.tensor.offset == 0;  // The token table opens every state.
    });
    std::vector<float> piece;
    for (std::uint64_t first = 0; first < table->tensor.elements(); first += piece_elements) {
        piece.resize(std::min<std::uint64_t>(piece_elements, table->tensor.elements() - first));
        second_head_.file->read(*second_head_.tensor, first, piece);
        if (!std::equal(piece.begin(), piece.end(), weights.begin() + static_cast<std::ptrdiff_t>(first))) {
            throw Error(ErrorCode::corrupt_data,
                        "'" + second_head_.file->path().string() + "': tensor '" + head_name +
                            "' differs from " + quoted_name(table->tensor.name) +
                            ", which the configuration ties it to; set tie_word_embeddings to false");
        }
    }
}

StateSource source_of(std::span<const float> state) {
    return [state](std::uint64_t begin, std::span<float> out) {
        const auto values = state.subspan(static_cast<std::size_t>(begin), out.size());
        std::copy(values.begin(), values.end(), out.begin());
    };
}

Fingerprint weights_fingerprint(const StateSource& weights, std::uint64_t elements) {
    std::vector<float> leaf(state_leaf_elements);
    std::vector<Fingerprint> leaves;
    for (std::uint64_t begin = 0; begin < elements; begin += state_leaf_elements) {
        const auto values = std::span(leaf).first(
            static_cast<std::size_t>(std::min<std::uint64_t>(state_leaf_elements, elements - begin)));
        weights(begin, values);
        leaves.push_back(state_leaf(values));
    }
    return state_tree_root(leaves);
}

// ----------------------------------------------------------- writing

void append_tensor(SafetensorsWriter& writer, const FolderTensor& tensor, const StateSource& state) {
    const auto elements = static_cast<std::size_t>(tensor.elements());
    if (!tensor.transposed) {
        std::vector<float> piece(std::min(piece_elements, elements));
        for (std::size_t first = 0; first < elements; first += piece.size()) {
            const auto part = std::span(piece).first(std::min(piece.size(), elements - first));
            state(tensor.offset + first, part);
            writer.append_array(std::span<const float>(part));
        }
        return;
    }
    std::vector<float> whole(elements);
    state(tensor.offset, whole);
    const std::size_t rows = tensor.shape[0];
    const std::size_t cols = tensor.shape[1];
    const std::size_t rows_at_once = std::clamp<std::size_t>(piece_elements / cols, 1, rows);
    std::vector<float> piece(rows_at_once * cols);
    for (std::size_t first = 0; first < rows; first += rows_at_once) {
        const std::size_t count = std::min(rows_at_once, rows - first);
        for (std::size_t j = 0; j < cols; ++j) {
            for (std::size_t i = 0; i < count; ++i) piece[i * cols + j] = whole[j * rows + first + i];
        }
        writer.append_array(std::span<const float>(piece).first(count * cols));
    }
}

void write_tensors(const std::filesystem::path& path, std::span<const FolderTensor> tensors,
                   const StateSource& state, Overwrite overwrite) {
    std::vector<SafetensorsWriter::Tensor> header;
    header.reserve(tensors.size());
    for (const FolderTensor& tensor : tensors) header.push_back({tensor.name, TensorType::f32, tensor.shape});
    // Hugging Face refuses files that do not say which library's layout they have.
    SafetensorsWriter writer(path, header, {{"format", "pt"}}, overwrite);
    for (const FolderTensor& tensor : tensors) append_tensor(writer, tensor, state);
    writer.publish();
}

void write_weights_file(const std::filesystem::path& path, const ModelConfig& config,
                        const StateSource& state, Overwrite overwrite) {
    write_tensors(path, folder_tensors(config), state, overwrite);
}

}  // namespace lockstep
