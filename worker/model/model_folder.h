// worker/model/model_folder.h
//
// Weights as Hugging Face's model folders hold them, to and from the flat state
// (docs/formats/model.md). GPT-2 keeps its matrices (in, out), we (out, in); Llama
// keeps queries, keys and values, and gate and up, apart, we in one matrix each.
// Rotary halves are laid out alike.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/safetensors.h"
#include "worker/model/model_config.h"
#include "worker/model/state_layout.h"

namespace lockstep {

/// One tensor of a folder, and where its elements lie in the flat state.
struct FolderTensor {
    std::string name;                  ///< "model.layers.0.self_attn.q_proj.weight"
    std::vector<std::uint64_t> shape;  ///< As stored: one or two extents.
    std::size_t offset = 0;            ///< First element in the flat state.
    bool transposed = false;           ///< Element (i, j) as stored is (j, i) of the state's matrix.

    std::uint64_t elements() const { return shape.size() == 2 ? shape[0] * shape[1] : shape[0]; }
};

/// Every tensor of a model, with the names its own library gives them. Together they cover each element of
/// the state but the padding once. A tied head is not among them.
std::vector<FolderTensor> folder_tensors(const ModelConfig& config);

/// The weights of a folder, checked by name, type and shape against a configuration.
class WeightsFolder {
  public:
    /// Surplus are all tensors but rotary frequencies and GPT-2's masks, which a configuration implies, and a
    /// tied head's second copy, which must be equal.
    /// @throws Error as SafetensorsFolder::open; Error{invalid_argument} naming the tensor that is missing,
    ///         surplus, or not of the shape or type the configuration asks for.
    static WeightsFolder open(const std::filesystem::path& folder, const ModelConfig& config);

    /// Fill the whole flat state; padding is zero.
    /// @throws Error{corrupt_data} naming the tensor with a number that is not finite, or a second copy of
    /// the
    ///         head that differs; Error{io_failure}.
    void read(std::span<float> weights) const;

  private:
    struct Source {
        FolderTensor tensor;
        SafetensorsFolder::Place place;
    };
    void compare_head(std::span<const float> weights) const;

    explicit WeightsFolder(SafetensorsFolder files) : files_(std::move(files)) {}
    SafetensorsFolder files_;
    std::vector<Source> sources_;
    SafetensorsFolder::Place second_head_;  ///< Of a tied head; null if there is none.
    std::size_t state_elements_ = 0;
};

/// Elements [begin, begin + out.size()) of a flat state.
using StateSource = std::function<void(std::uint64_t begin, std::span<float> out)>;
StateSource source_of(std::span<const float> state);  ///< Borrows.

/// Names weights by their bits: the root of the state digest's tree over them.
Fingerprint weights_fingerprint(const StateSource& weights, std::uint64_t elements);

// For folders of any kind, one tensor as another:

/// @param where  "model 'folder': ", begins the message.
/// @throws Error{invalid_argument} unless shape and type of what is stored are as asked for.
void check_stored(const FolderTensor& tensor, const TensorEntry& entry, const std::string& where);
/// From a file into its place in the flat state.
/// @throws Error{corrupt_data} naming the tensor with a number that is not finite; Error{io_failure}.
void read_tensor(const SafetensorsFile& file, const TensorEntry& entry, const FolderTensor& tensor,
                 std::span<float> state);
/// The next tensor of a writer, from the state. Holds at most this one tensor.
void append_tensor(SafetensorsWriter& writer, const FolderTensor& tensor, const StateSource& state);
/// A safetensors file in float32. Holds at most one tensor. @throws Error{output_exists, io_failure}.
void write_tensors(const std::filesystem::path& path, std::span<const FolderTensor> tensors,
                   const StateSource& state, Overwrite overwrite);

/// model.safetensors, in float32. @throws Error{output_exists, io_failure}.
void write_weights_file(const std::filesystem::path& path, const ModelConfig& config,
                        const StateSource& state, Overwrite overwrite);

}  // namespace lockstep
