// worker/model/adapter_folder.h
//
// Adapters as Hugging Face's PEFT keeps them: adapter_config.json and
// adapter_model.safetensors, to and from their flat state (docs/formats/model.md).

#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "io/files/atomic_file.h"
#include "io/safetensors.h"
#include "worker/model/lora.h"
#include "worker/model/model_folder.h"

namespace lockstep {

inline constexpr const char* adapter_config_name = "adapter_config.json";
inline constexpr const char* adapter_weights_name = "adapter_model.safetensors";

/// Every adapter with the names PEFT gives it ("base_model.model.….q_proj.lora_A.weight"). Together they
/// cover each element of the adapters' state but the padding once; none is transposed.
std::vector<FolderTensor> adapter_tensors(const ModelConfig& config, const LoraSettings& lora);

class AdapterFolder {
  public:
    /// What changes the computation in a way we do not compute is refused by its name, as are tensors that
    /// are missing, surplus, or not of the shape and type the configuration asks for.
    /// @throws Error{not_found, corrupt_data, invalid_argument}.
    static AdapterFolder open(const std::filesystem::path& folder, const ModelConfig& config);

    const LoraSettings& settings() const { return settings_; }  ///< Without `init`.
    const std::vector<std::string>& warnings() const { return warnings_; }

    /// Fill the adapters' flat state; padding is zero.
    /// @throws Error{corrupt_data} naming the tensor with a number that is not finite; Error{io_failure}.
    void read(std::span<float> adapters) const;

  private:
    explicit AdapterFolder(SafetensorsFile file) : file_(std::move(file)) {}
    void match_tensors(const ModelConfig& config);

    SafetensorsFile file_;
    LoraSettings settings_;
    std::vector<std::string> warnings_;
    std::vector<FolderTensor> tensors_;
    std::vector<const TensorEntry*> entries_;  ///< One for each of tensors_.
    std::size_t state_elements_ = 0;
};

/// adapter_model.safetensors, in float32. @throws Error{output_exists, io_failure}.
void write_adapter_file(const std::filesystem::path& path, const ModelConfig& config,
                        const LoraSettings& lora, const StateSource& state, Overwrite overwrite);

/// The adapter_config.json that PEFT needs. Ends with a newline.
/// @param base_model  where the frozen model lies; empty if nowhere.
std::string to_adapter_config(const ModelConfig& config, const LoraSettings& lora,
                              const std::string& base_model);

}  // namespace lockstep
