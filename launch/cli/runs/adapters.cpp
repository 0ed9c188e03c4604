#include "launch/cli/runs/adapters.h"

#include "io/base/error.h"
#include "io/base/log.h"
#include "worker/model/adapter_folder.h"
#include "worker/model/model_folder.h"

namespace lockstep {

namespace {

/// Of adapters without --lora-rank.
constexpr std::size_t default_rank = 8;

std::string text_of(const LoraSettings& lora) {
    return "rank " + std::to_string(lora.rank) + ", alpha " + nlohmann::json(lora.alpha).dump() + " on " +
           text_of(lora.targets);
}

Fingerprint fingerprint_of(const AdapterFolder& folder, const LoraSettings& lora, const ModelConfig& model) {
    std::vector<float> adapters(lora_layout(model, lora).size());
    folder.read(adapters);
    return weights_fingerprint(source_of(adapters), adapters.size());
}

}  // namespace

void add_lora_options(CLI::App& verb, TrainingArguments& a) {
    const std::string group = "LoRA: adapters on frozen weights";
    verb.add_flag("--use-lora", a.use_lora, "Train adapters alone; implied by the options below")
        ->group(group);
    verb.add_option("--lora-rank", a.lora_rank, "Rank of the adapters (8)")->group(group);
    verb.add_option("--lora-alpha", a.lora_alpha, "They are scaled by alpha over rank (twice the rank)")
        ->group(group);
    verb.add_option("--lora-targets", a.lora_targets,
                    "Maps with an adapter: of q, k, v, o, gate, up, down; GPT-2: of qkv, o, up, down; or "
                    "all-linear (q,v; GPT-2: qkv)")
        ->group(group);
    verb.add_option(
            "--init-adapter", a.init_adapter,
            "Begin with the adapters of this PEFT folder (adapter_config.json, adapter_model.safetensors)")
        ->group(group);
}

bool asks_for_lora(const TrainingArguments& a) {
    return a.use_lora || a.lora_rank || a.lora_alpha || a.lora_targets || !a.init_adapter.empty();
}

void lay_over_lora(TrainSettings& settings, const TrainingArguments& a) {
    if (!asks_for_lora(a)) return;
    if (!settings.lora) {
        LoraSettings fresh;
        fresh.rank = a.lora_rank.value_or(default_rank);
        fresh.alpha = 2 * static_cast<double>(fresh.rank);
        fresh.targets = default_lora_targets(settings.model.family);
        settings.lora = fresh;
    }
    LoraSettings& lora = *settings.lora;
    lora.rank = a.lora_rank.value_or(lora.rank);
    lora.alpha = a.lora_alpha.value_or(lora.alpha);
    if (a.lora_targets) lora.targets = parse_lora_targets(*a.lora_targets, settings.model.family);
}

std::optional<LoraSettings> initial_adapter_settings(const TrainingArguments& arguments,
                                                     const ModelConfig& model) {
    if (arguments.init_adapter.empty()) return std::nullopt;
    const AdapterFolder folder = AdapterFolder::open(arguments.init_adapter, model);
    for (const std::string& warning : folder.warnings()) log_root(LogLevel::warning, warning);
    LoraSettings lora = folder.settings();
    TrainSettings asked;
    asked.model = model;
    asked.lora = lora;
    lay_over_lora(asked, arguments);
    if (*asked.lora != lora) {
        throw Error(ErrorCode::invalid_argument, "'" + arguments.init_adapter + "' holds adapters of " +
                                                     text_of(lora) + ", " + text_of(*asked.lora) +
                                                     " was asked for; leave the --lora options out");
    }
    lora.init = fingerprint_of(folder, lora, model);
    return lora;
}

void check_init_adapter(const TrainSettings& run, const TrainingArguments& arguments) {
    if (arguments.init_adapter.empty()) return;
    const std::string why = "a run keeps its initial adapters; leave --init-adapter out or start a new run: ";
    if (!run.lora || run.lora->init.empty()) {
        throw Error(ErrorCode::fingerprint_mismatch, why + "this one began with " +
                                                         (run.lora ? "fresh ones" : "none") + ", '" +
                                                         arguments.init_adapter + "' was asked for");
    }
    const AdapterFolder folder = AdapterFolder::open(arguments.init_adapter, run.model);
    LoraSettings settings = *run.lora;
    settings.init = {};
    if (folder.settings() == settings && fingerprint_of(folder, settings, run.model) == run.lora->init)
        return;
    throw Error(ErrorCode::fingerprint_mismatch, why + "'" + arguments.init_adapter +
                                                     "' does not hold the run's, which are " +
                                                     run.lora->init.brief() + "…");
}

std::function<void(std::span<float>)> initial_adapters_of(const RunRecord& record,
                                                          const TrainingArguments& arguments,
                                                          const TrainSettings& settings) {
    const std::string folder =
        arguments.init_adapter.empty() ? record.init_adapter_path : arguments.init_adapter;
    return [folder, settings](std::span<float> adapters) {
        const AdapterFolder found = AdapterFolder::open(folder, settings.model);
        LoraSettings wanted = *settings.lora;
        wanted.init = {};
        if (found.settings() != wanted) {
            throw Error(ErrorCode::fingerprint_mismatch,
                        "'" + folder + "' holds adapters of " + text_of(found.settings()) +
                            ", the run began with " + text_of(wanted) +
                            "; put the folder back, or pass --init-adapter with a copy of it");
        }
        found.read(adapters);
    };
}

std::vector<float> frozen_weights(const RunRecord& record, const std::string& moved_to,
                                  const TrainSettings& settings) {
    const StateLayout layout(settings.model);
    std::vector<float> weights(layout.size());
    if (settings.init.empty()) {
        initialize_weights(layout, settings.seed, weights);
        return weights;
    }
    const std::string folder = moved_to.empty() ? record.init_path : moved_to;
    WeightsFolder::open(folder, settings.model).read(weights);
    const Fingerprint found = weights_fingerprint(source_of(weights), weights.size());
    if (found != settings.init) {
        throw Error(ErrorCode::fingerprint_mismatch,
                    "the adapters were trained on weights " + settings.init.brief() + "…, '" + folder +
                        "' holds " + found.brief() + "…; pass --init with the model they were trained on");
    }
    return weights;
}

}  // namespace lockstep
