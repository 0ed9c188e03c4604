#include <filesystem>
#include <optional>

#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"
#include "io/files/sealed_json.h"
#include "io/run/checkpoint.h"
#include "launch/cli/runs/adapters.h"
#include "worker/model/adapter_folder.h"
#include "worker/model/config_file.h"
#include "worker/model/model_folder.h"

namespace lockstep {

namespace {

namespace fs = std::filesystem;

constexpr const char* config_name = "config.json";
constexpr const char* weights_name = "model.safetensors";
constexpr const char* notes_name = "lockstep.json";

struct ExportArguments {
    std::string run, output;
    std::string init;  ///< Where the frozen weights have moved.
    std::string format = "safetensors";
    std::optional<std::uint64_t> step;
    bool adapter = false, merge = false;
    bool force = false;
};

/// The generation asked for, or the newest valid one.
Manifest choose_generation(const ExportArguments& arguments) {
    if (!arguments.step) {
        std::vector<std::string> rejected;
        auto newest = newest_valid_generation(arguments.run, rejected);
        for (const std::string& reason : rejected) log_root(LogLevel::warning, reason);
        if (newest) return *newest;
        if (!rejected.empty()) {
            throw Error(ErrorCode::corrupt_data, "no committed generation of '" + arguments.run +
                                                     "' is valid; see lockstep checkpoint list " +
                                                     arguments.run);
        }
        throw Error(ErrorCode::not_found,
                    "run '" + arguments.run + "' has no generation yet; train it for a while first");
    }
    std::string known;
    for (const GenerationStatus& status : list_generations(arguments.run)) {
        if (!status.committed) continue;
        known += (known.empty() ? "" : ", ") + std::to_string(status.step);
        if (status.step != *arguments.step) continue;
        if (!status.valid) {
            throw Error(ErrorCode::corrupt_data, "generation " + std::to_string(status.step) + " of '" +
                                                     arguments.run + "' is not valid: " + status.problem);
        }
        return *status.manifest;
    }
    throw Error(ErrorCode::not_found, "run '" + arguments.run + "' has no generation " +
                                          std::to_string(*arguments.step) + "; it has " +
                                          (known.empty() ? "none" : known));
}

/// Files of a folder: the one that makes it what it is, and the weights.
struct FolderNames {
    const char* config;
    const char* weights;
};

void clear_output(const ExportArguments& arguments, const FolderNames& names) {
    const fs::path folder = arguments.output;
    if (path_exists(folder) && !fs::is_directory(folder)) {
        throw Error(ErrorCode::output_exists, "'" + folder.string() + "' exists and is no folder");
    }
    // Loaded together, the adapters would come on top of a model that has them already.
    for (const char* other : {config_name, adapter_config_name}) {
        if (std::string_view(other) != names.config && path_exists(folder / other)) {
            throw Error(ErrorCode::output_exists, "'" + folder.string() + "' holds " + other + ", and " +
                                                      names.config +
                                                      " is to be written; choose another folder");
        }
    }
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    for (const char* name : {names.config, names.weights, notes_name}) {
        require_writable_output(folder / name, overwrite);
    }
    create_directories_durably(folder);
    // The configuration first and written last: a folder without one is no model, so an export that is cut
    // off leaves nothing that passes for one.
    for (const char* name : {names.config, notes_name}) remove_file(folder / name);
    sync_directory(folder);
}

/// A generation of a run, ready to be written.
struct ExportSource {
    RunRecord record;
    TrainSettings settings;
    Manifest generation;
    GenerationReader reader;

    StateSource state() const {
        return [this](std::uint64_t begin, std::span<float> out) { reader.read_weights(begin, out); };
    }
};

ExportSource open_source(const ExportArguments& arguments) {
    RunRecord record = read_run_record(arguments.run);
    check_record(record, {});
    const TrainSettings settings = train_settings_from_json(record.settings_json);
    const Manifest generation = choose_generation(arguments);
    check_generation(record, generation, arguments.run);
    GenerationReader reader = GenerationReader::open(arguments.run, generation);
    if (generation.state_elements != trainable_layout(settings.model, settings.lora).size()) {
        throw Error(ErrorCode::corrupt_data, "generation " + std::to_string(generation.step) +
                                                 " does not hold a state of the model in run.json");
    }
    return {std::move(record), settings, generation, std::move(reader)};
}

/// What was written, by the bits of its weights.
struct Written {
    const char* kind;  ///< "weights" or "adapter": a key of lockstep.json.
    Fingerprint weights;
    std::uint64_t parameters = 0;
};

void write_notes(const ExportArguments& arguments, const ExportSource& source, const Written& written) {
    const Manifest& generation = source.generation;
    const nlohmann::json notes = {{"format", "lockstep-export"},
                                  {"format_version", 1},
                                  {"step", generation.step},
                                  {written.kind, written.weights.hex()},
                                  {"state_digest", generation.state_digest.hex()},
                                  {"plan_fingerprint", generation.cursor.plan.hex()},
                                  {"model", generation.cursor.model.hex()},
                                  {"numerics", source.record.numerics},
                                  {"settings", nlohmann::json::parse(source.record.settings_json)}};
    write_file_atomically(fs::path(arguments.output) / notes_name, seal_json(notes.dump()),
                          arguments.force ? Overwrite::yes : Overwrite::no);
}

Written write_adapter(const ExportArguments& arguments, const ExportSource& source) {
    const ModelConfig& model = source.settings.model;
    const LoraSettings& lora = *source.settings.lora;
    const fs::path folder = arguments.output;
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    clear_output(arguments, {adapter_config_name, adapter_weights_name});
    write_adapter_file(folder / adapter_weights_name, model, lora, source.state(), overwrite);
    const Written written = {"adapter", weights_fingerprint(source.state(), source.generation.state_elements),
                             lora_layout(model, lora).parameters()};
    write_notes(arguments, source, written);
    const std::string base = arguments.init.empty() ? source.record.init_path : arguments.init;
    write_file_atomically(folder / adapter_config_name, to_adapter_config(model, lora, base), overwrite);
    return written;
}

Written write_model(const ExportArguments& arguments, const ExportSource& source) {
    const ModelConfig& model = source.settings.model;
    const StateLayout layout(model);
    std::vector<float> merged;
    StateSource state = source.state();
    if (source.settings.lora) {
        merged = frozen_weights(source.record, arguments.init, source.settings);
        std::vector<float> adapters(source.generation.state_elements);
        source.reader.read_weights(0, adapters);
        merge_adapters(model, *source.settings.lora, adapters, merged);
        state = source_of(merged);
    }
    const Fingerprint weights = weights_fingerprint(state, layout.size());

    const fs::path folder = arguments.output;
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    clear_output(arguments, {config_name, weights_name});
    write_weights_file(folder / weights_name, model, state, overwrite);
    const Written written = {"weights", weights, layout.parameters()};
    write_notes(arguments, source, written);
    write_file_atomically(folder / config_name, to_config_file(model), overwrite);
    return written;
}

void check_arguments(const ExportArguments& arguments) {
    if (arguments.format != "safetensors") {
        throw Error(ErrorCode::invalid_argument,
                    "--to is '" + arguments.format + "'; supported: safetensors");
    }
    if (arguments.adapter && arguments.merge) {
        throw Error(ErrorCode::invalid_argument,
                    "--adapter leaves the adapters apart, --merge adds them to the model; give one of them");
    }
}

int run_export(const Invocation& invocation, const ExportArguments& arguments) {
    require_one_rank("checkpoint export");
    check_arguments(arguments);
    const ExportSource source = open_source(arguments);
    if (!source.settings.lora && (arguments.adapter || arguments.merge || !arguments.init.empty())) {
        throw Error(ErrorCode::invalid_argument, "run '" + arguments.run +
                                                     "' trains the model whole, it has no adapters; leave "
                                                     "--adapter, --merge and --init out");
    }
    const Written written =
        arguments.adapter ? write_adapter(arguments, source) : write_model(arguments, source);
    const Manifest& generation = source.generation;
    const fs::path file =
        fs::path(arguments.output) / (arguments.adapter ? adapter_weights_name : weights_name);
    invocation.say("generation " + std::to_string(generation.step) + " -> " + arguments.output + ": " +
                   with_commas(written.parameters) + " parameters" +
                   (arguments.adapter      ? " of adapters"
                    : source.settings.lora ? " with the adapters merged into them"
                                           : "") +
                   ", " + bytes_text(fs::file_size(file)));
    const std::string kind = written.kind;
    invocation.say("  " + kind + std::string(13 - kind.size(), ' ') + written.weights.hex());
    invocation.say("  state digest " + generation.state_digest.hex());
    invocation.give({{"run", arguments.run},
                     {"output", arguments.output},
                     {"step", generation.step},
                     {"parameters", written.parameters},
                     {kind, written.weights.hex()},
                     {"state_digest", generation.state_digest.hex()}});
    return 0;
}

}  // namespace

void add_checkpoint_export(CLI::App& checkpoint, Invocation& invocation) {
    auto arguments = std::make_shared<ExportArguments>();
    CLI::App* verb =
        add_verb(checkpoint, invocation, "export", "A generation's weights as a Hugging Face model folder",
                 "  lockstep checkpoint export -r run/ --to safetensors -o model/\n"
                 "  lockstep checkpoint export -r run/ --step 120 -o model/ --force\n"
                 "  lockstep checkpoint export -r run/ --adapter -o adapter/     (LoRA, as PEFT keeps it)\n"
                 "  lockstep train -p plan/ -d corpus.h5 --init model/ -o next/   (and go on)",
                 [&invocation, arguments] { return run_export(invocation, *arguments); });
    verb->add_option("-r,--run", arguments->run, "Run folder")->required();
    verb->add_option("--step", arguments->step, "Generation to take (the newest valid one)");
    verb->add_option("--to", arguments->format, "Format: safetensors, in float32 (safetensors)");
    verb->add_option("-o,--output", arguments->output, "Folder to make")->required();
    verb->add_flag("--merge", arguments->merge,
                   "Of a LoRA run: the model with its adapters added (the default)");
    verb->add_flag("--adapter", arguments->adapter, "Of a LoRA run: the adapters alone, as a PEFT folder");
    verb->add_option("--init", arguments->init, "Of a LoRA run: its frozen weights, if they have moved");
    verb->add_flag("--force", arguments->force, "Replace a model that is there");
}

}  // namespace lockstep
