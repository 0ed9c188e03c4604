#include "worker/model/adapter_folder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/files/json_file.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr std::string_view prefix = "base_model.model.";

/// Fields that make another computation of it unless they are off.
constexpr const char* must_be_off[] = {"use_dora",
                                       "use_qalora",
                                       "lora_bias",
                                       "rank_pattern",
                                       "alpha_pattern",
                                       "modules_to_save",
                                       "exclude_modules",
                                       "layers_to_transform",
                                       "layer_replication",
                                       "target_parameters",
                                       "trainable_token_indices",
                                       "alora_invocation_tokens"};

bool is_off(const json& value) {
    return value.is_null() || value == false || ((value.is_array() || value.is_object()) && value.empty());
}

/// adapter_config.json, field by field.
class AdapterConfig {
  public:
    AdapterConfig(const std::filesystem::path& path, ModelFamily family) : path_(path), family_(family) {
        if (!std::filesystem::exists(path)) {
            throw Error(ErrorCode::not_found, "'" + path.string() +
                                                  "' does not exist; an adapter folder has " +
                                                  adapter_config_name + " and " + adapter_weights_name);
        }
        object_ = read_json_object(path, "adapter config");
    }

    LoraSettings settings() const {
        if (field("peft_type") != "LORA") refuse("peft_type", "supported: \"LORA\"");
        for (const char* name : must_be_off) {
            if (!is_off(field(name))) refuse(name, "that is not supported");
        }
        if (!is_off(field("bias")) && field("bias") != "none") refuse("bias", "supported: \"none\"");
        // Other ways to begin (pissa, olora, loftq, …) change the base model's weights too.
        const json& start = field("init_lora_weights");
        if (!start.is_null() && !start.is_boolean() && start != "gaussian") {
            refuse("init_lora_weights", "supported: true, false and \"gaussian\"");
        }
        LoraSettings lora;
        if (!field("r").is_number_unsigned()) refuse("r", "a whole number is needed");
        lora.rank = field("r").get<std::size_t>();
        if (!field("lora_alpha").is_number()) refuse("lora_alpha", "a number is needed");
        lora.alpha = field("lora_alpha").get<double>();
        if (is_rank_stabilized()) lora.alpha *= std::sqrt(static_cast<double>(lora.rank));
        lora.targets = targets();
        LoraSettings rank_alone = lora;
        rank_alone.alpha = 1;
        check(rank_alone, "r");
        check(lora, "lora_alpha");
        return lora;
    }

    std::vector<std::string> warnings() const {
        const json& dropout = field("lora_dropout");
        std::vector<std::string> warnings;
        if (!dropout.is_null() && !(dropout.is_number() && dropout.get<double>() == 0))
            warnings.push_back("'" + path_.string() + "': lora_dropout " + dropout.dump() + " is set to 0");
        if (is_rank_stabilized()) {
            warnings.push_back("'" + path_.string() + "': use_rslora divides by the root of r; lora_alpha " +
                               field("lora_alpha").dump() + " becomes " + json(settings().alpha).dump() +
                               ", which divided by r is the same");
        }
        return warnings;
    }

  private:
    /// @throws Error unless it is on, off or absent.
    bool is_rank_stabilized() const {
        const json& value = field("use_rslora");
        if (!is_off(value) && value != true) refuse("use_rslora", "true or false is needed");
        return value == true;
    }

    const json& field(const char* name) const {
        static const json none;
        const auto found = object_.find(name);
        return found == object_.end() ? none : *found;
    }

    void check(const LoraSettings& lora, const char* name) const {
        try {
            check_lora(lora, family_);
        } catch (const Error& error) {
            refuse(name, error.what());
        }
    }

    [[noreturn]] void refuse(const char* name, const std::string& why) const {
        std::string value = field(name).dump();
        if (value.size() > 60) value = value.substr(0, 60) + "…";
        throw Error(ErrorCode::invalid_argument,
                    "'" + path_.string() + "': " + name + " is " + value + "; " + why);
    }

    std::vector<LoraTarget> targets() const {
        const json& names = field("target_modules");
        std::string list;
        if (names == "all-linear") {
            list = "all-linear";
        } else {
            const bool texts =
                names.is_array() && !names.empty() &&
                std::all_of(names.begin(), names.end(), [](const json& name) {
                    return name.is_string() && name.get<std::string>().find(',') == std::string::npos;
                });
            if (!texts) refuse("target_modules", "a list of names, or \"all-linear\", is needed");
            for (const json& name : names) list += (list.empty() ? "" : ",") + name.get<std::string>();
        }
        try {
            return parse_lora_targets(list, family_);
        } catch (const Error& error) {
            refuse("target_modules", error.what());
        }
    }

    std::filesystem::path path_;
    ModelFamily family_;
    json object_;
};

}  // namespace

std::vector<FolderTensor> adapter_tensors(const ModelConfig& config, const LoraSettings& lora) {
    const StateLayout layout = lora_layout(config, lora);
    const std::string layers = config.family == ModelFamily::gpt2 ? "transformer.h." : "model.layers.";
    std::vector<FolderTensor> tensors;
    for (const LoraMap& map : lora_maps(config, lora)) {
        std::size_t a = layout.tensor(map.name + ".lora_a").offset;
        std::size_t b = layout.tensor(map.name + ".lora_b").offset;
        for (const LoraMap::Part& part : map.parts) {
            const std::string module = std::string(prefix) + layers + std::to_string(map.layer) + "." +
                                       std::string(module_of(config.family, part.target));
            tensors.push_back({module + ".lora_A.weight", {lora.rank, map.in}, a, false});
            tensors.push_back({module + ".lora_B.weight", {part.rows, lora.rank}, b, false});
            a += lora.rank * map.in;
            b += part.rows * lora.rank;
        }
    }
    return tensors;
}

AdapterFolder AdapterFolder::open(const std::filesystem::path& folder, const ModelConfig& config) {
    const AdapterConfig file(folder / adapter_config_name, config.family);
    const LoraSettings settings = file.settings();
    AdapterFolder result(SafetensorsFile::open(folder / adapter_weights_name));
    result.settings_ = settings;
    result.warnings_ = file.warnings();
    result.match_tensors(config);
    return result;
}

void AdapterFolder::match_tensors(const ModelConfig& config) {
    const std::string where = "adapter '" + file_.path().string() + "': ";
    const auto refuse = [&](const std::string& what) {
        throw Error(ErrorCode::invalid_argument, where + what);
    };
    tensors_ = adapter_tensors(config, settings_);
    state_elements_ = lora_layout(config, settings_).size();
    std::map<std::string_view, const TensorEntry*> stored;
    for (const TensorEntry& entry : file_.tensors()) stored[entry.name] = &entry;
    for (const FolderTensor& tensor : tensors_) {
        const auto found = stored.find(tensor.name);
        if (found == stored.end()) refuse("tensor " + quoted_name(tensor.name) + " is missing");
        check_stored(tensor, *found->second, where);
        entries_.push_back(found->second);
        stored.erase(found);
    }
    if (!stored.empty())
        refuse("tensor " + quoted_name(stored.begin()->first) + " is not one of this configuration's");
}

void AdapterFolder::read(std::span<float> adapters) const {
    LOCKSTEP_EXPECTS(adapters.size() == state_elements_);
    std::fill(adapters.begin(), adapters.end(), 0.0F);
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        read_tensor(file_, *entries_[i], tensors_[i], adapters);
    }
}

void write_adapter_file(const std::filesystem::path& path, const ModelConfig& config,
                        const LoraSettings& lora, const StateSource& state, Overwrite overwrite) {
    write_tensors(path, adapter_tensors(config, lora), state, overwrite);
}

std::string to_adapter_config(const ModelConfig& config, const LoraSettings& lora,
                              const std::string& base_model) {
    json modules = json::array();
    for (const LoraTarget target : lora.targets) {
        const std::string_view module = module_of(config.family, target);
        const std::string_view end = module.substr(module.rfind('.') + 1);
        // Its last word, as people write it; but "c_proj" names two maps of GPT-2.
        modules.push_back(std::string(end == "c_proj" ? module : end));
    }
    const bool whole = lora.alpha == std::floor(lora.alpha);
    // The fields of PEFT since its first releases: older ones stop at a field they do not know.
    const json object = {
        {"peft_type", "LORA"},
        {"task_type", "CAUSAL_LM"},
        {"base_model_name_or_path", base_model.empty() ? json() : json(base_model)},
        {"r", lora.rank},
        {"lora_alpha", whole ? json(static_cast<std::uint64_t>(lora.alpha)) : json(lora.alpha)},
        {"lora_dropout", 0.0},
        {"target_modules", modules},
        {"bias", "none"},
        // GPT-2's Conv1D keeps its weights (in, out); the adapters are alike for both.
        {"fan_in_fan_out", config.family == ModelFamily::gpt2},
        {"init_lora_weights", true},
        {"inference_mode", true},
        {"modules_to_save", json()}};
    return object.dump(2) + "\n";
}

}  // namespace lockstep
