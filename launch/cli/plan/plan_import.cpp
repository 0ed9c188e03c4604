// batchplan import: plans of other tools.

#include <memory>

#include "coordinator/lazarus_files.h"
#include "coordinator/plan_writer.h"
#include "io/base/error.h"
#include "launch/cli/plan/plan_building.h"

namespace lockstep {

namespace {

struct ImportArguments {
    std::string directory, output, jsonl = "auto";
    std::vector<std::string> inputs;
    std::uint32_t packs_per_step = 1;
    bool force = false;
};

int run_import(const Invocation& invocation, const ImportArguments& arguments) {
    require_one_rank("batchplan import");
    const WriteJsonl jsonl = parse_write_jsonl(arguments.jsonl);
    // Refuse now rather than after the work.
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    require_plan_output(arguments.output, overwrite);
    std::vector<PlanInput> inputs;
    for (const std::string& argument : arguments.inputs) {
        const auto [name, file] = split_named(argument);
        inputs.push_back(PlanInput::open(file, name, duplicates_allowed(PlanCompat::lazarus)));
    }
    const LazarusImport imported = import_lazarus(arguments.directory, inputs, arguments.packs_per_step);
    std::vector<SourceLengths> lengths;
    for (const PlanInput& input : inputs) lengths.push_back(input.lengths());
    const PlanStats stats = plan_stats(imported.plan);
    const SavedPlan saved = save_plan(arguments.output, imported.plan, stats, inputs, jsonl, overwrite);
    describe_plan(invocation, imported.plan, stats);
    invocation.say("  imported from " + arguments.directory + " (Lazarus calls it " + imported.fingerprint +
                   ") -> " + arguments.output);
    invocation.say(imported.reproduced
                       ? "  it is the plan that batchplan build --compat lazarus makes of these lengths"
                       : "  it is not the plan that these lengths give in this order; taken as it is");
    nlohmann::ordered_json object = plan_json(imported.plan, stats);
    object["plan"] = arguments.output;
    object["jsonl"] = saved.wrote_jsonl;
    object["lazarus_fingerprint"] = imported.fingerprint;
    object["dataset_hash"] = imported.dataset_hash;
    object["tokenizer_hash"] = imported.tokenizer_hash;
    object["drop_last"] = imported.drop_last;
    object["reproduced"] = imported.reproduced;
    invocation.give(object);
    return 0;
}

}  // namespace

void add_plan_import(CLI::App& batchplan, Invocation& invocation) {
    auto arguments = std::make_shared<ImportArguments>();
    CLI::App* verb = add_verb(batchplan, invocation, "import", "Take over a plan that Lazarus wrote",
                              "  lockstep batchplan import lazarus_plan/ -l lengths.jsonl -o plan/",
                              [&invocation, arguments] { return run_import(invocation, *arguments); });
    verb->add_option("folder", arguments->directory, "Folder with meta.json and epoch_N.jsonl")->required();
    verb->add_option("-l,--lengths", arguments->inputs, "[NAME=]FILE: lengths or corpus of its samples")
        ->required();
    verb->add_option("-o,--output", arguments->output, "Plan folder to write")->required();
    verb->add_option("--packs-per-step", arguments->packs_per_step, "Packs of one optimizer step (1)");
    verb->add_option("--jsonl", arguments->jsonl,
                     "Write plan.jsonl: auto (up to 10^6 segments), always or never");
    verb->add_flag("--force", arguments->force, "Replace an existing plan");
}

}  // namespace lockstep
