#include <filesystem>
#include <optional>

#include "coordinator/run_record.h"
#include "io/atomic_file.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/checkpoint.h"
#include "io/directory.h"
#include "io/sealed_json.h"
#include "launch/cli/training.h"
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
    std::string format = "safetensors";
    std::optional<std::uint64_t> step;
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

void clear_output(const ExportArguments& arguments) {
    const fs::path folder = arguments.output;
    if (path_exists(folder) && !fs::is_directory(folder)) {
        throw Error(ErrorCode::output_exists, "'" + folder.string() + "' exists and is no folder");
    }
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    for (const char* name : {config_name, weights_name, notes_name}) {
        require_writable_output(folder / name, overwrite);
    }
    create_directories_durably(folder);
    // The configuration first and written last: a folder without one is no model, so an export that is cut
    // off leaves nothing that passes for one.
    for (const char* name : {config_name, notes_name}) remove_file(folder / name);
    sync_directory(folder);
}

int run_export(const Invocation& invocation, const ExportArguments& arguments) {
    require_one_rank("checkpoint export");
    if (arguments.format != "safetensors") {
        throw Error(ErrorCode::invalid_argument,
                    "--to is '" + arguments.format + "'; supported: safetensors");
    }
    const RunRecord record = read_run_record(arguments.run);
    check_record(record, {});
    const ModelConfig model = train_settings_from_json(record.settings_json).model;
    const Manifest generation = choose_generation(arguments);
    check_generation(record, generation, arguments.run);
    const GenerationReader reader = GenerationReader::open(arguments.run, generation);
    if (generation.state_elements != StateLayout(model).size()) {
        throw Error(ErrorCode::corrupt_data, "generation " + std::to_string(generation.step) +
                                                 " does not hold a state of the model in run.json");
    }
    const StateSource state = [&](std::uint64_t begin, std::span<float> out) {
        reader.read_weights(begin, out);
    };
    const Fingerprint weights = weights_fingerprint(state, generation.state_elements);

    clear_output(arguments);
    const fs::path folder = arguments.output;
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    write_weights_file(folder / weights_name, model, state, overwrite);
    const nlohmann::json notes = {{"format", "lockstep-export"},
                                  {"format_version", 1},
                                  {"step", generation.step},
                                  {"weights", weights.hex()},
                                  {"state_digest", generation.state_digest.hex()},
                                  {"plan_fingerprint", generation.cursor.plan.hex()},
                                  {"model", generation.cursor.model.hex()},
                                  {"numerics", record.numerics},
                                  {"settings", nlohmann::json::parse(record.settings_json)}};
    write_file_atomically(folder / notes_name, seal_json(notes.dump()), overwrite);
    write_file_atomically(folder / config_name, to_config_file(model), overwrite);

    const std::uint64_t parameters = StateLayout(model).parameters();
    invocation.say("generation " + std::to_string(generation.step) + " -> " + arguments.output + ": " +
                   with_commas(parameters) + " parameters, " +
                   bytes_text(fs::file_size(folder / weights_name)));
    invocation.say("  weights      " + weights.hex());
    invocation.say("  state digest " + generation.state_digest.hex());
    invocation.give({{"run", arguments.run},
                     {"output", arguments.output},
                     {"step", generation.step},
                     {"parameters", parameters},
                     {"weights", weights.hex()},
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
                 "  lockstep train -p plan/ -d corpus.h5 --init model/ -o next/   (and go on)",
                 [&invocation, arguments] { return run_export(invocation, *arguments); });
    verb->add_option("-r,--run", arguments->run, "Run folder")->required();
    verb->add_option("--step", arguments->step, "Generation to take (the newest valid one)");
    verb->add_option("--to", arguments->format, "Format: safetensors, in float32 (safetensors)");
    verb->add_option("-o,--output", arguments->output, "Folder to make")->required();
    verb->add_flag("--force", arguments->force, "Replace a model that is there");
}

}  // namespace lockstep
