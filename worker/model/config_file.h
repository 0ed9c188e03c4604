// worker/model/config_file.h
//
// config.json as Hugging Face writes it, for the GPT-2 and Llama families
// (docs/formats/model.md). What we do not compute is refused by its name.

#pragma once

#include <filesystem>
#include <string>

#include "worker/model/model_config.h"

namespace lockstep {

/// @throws Error{not_found}; Error{corrupt_data} if it is no JSON object; Error{invalid_argument} naming the
///         field that is missing, malformed or unsupported. Ranges are check_model_config's.
LoadedModelConfig read_config_file(const std::filesystem::path& path);

/// The config.json that gives this model back, in float32. Ends with a newline.
std::string to_config_file(const ModelConfig& config);

}  // namespace lockstep
