#include "coordinator/lazarus_files.h"
#include "coordinator/plan_export.h"
#include "io/base/error.h"
#include "launch/cli/plan/plan_reader.h"
#include "launch/cli/plan/plan_verbs.h"

namespace lockstep {

namespace {

/// More files than this in one folder help nobody.
constexpr int world_size_max = 100'000;

struct ShardArguments {
    std::string plan, output;
    std::vector<std::string> sources;
    int world_size = 1;
    bool force = false;
};

int run_shard(const Invocation& invocation, const ShardArguments& arguments) {
    require_one_rank("batchplan shard");
    if (arguments.world_size < 1 || arguments.world_size > world_size_max) {
        throw Error(ErrorCode::invalid_argument, "--world-size is " + std::to_string(arguments.world_size) +
                                                     "; expected 1 to " + std::to_string(world_size_max));
    }
    const PlanFile plan = PlanFile::open(arguments.plan);
    std::vector<PlanInput> inputs;
    if (!arguments.sources.empty()) inputs = open_plan_sources(plan, arguments.sources, false);
    const auto counts = export_shards(plan, inputs, WorldSize{arguments.world_size}, arguments.output,
                                      arguments.force ? Overwrite::yes : Overwrite::no);
    auto ranks = nlohmann::ordered_json::array();
    std::uint64_t least = counts[0].tokens, most = 0;
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
        least = std::min(least, counts[rank].tokens);
        most = std::max(most, counts[rank].tokens);
        ranks.push_back({{"rank", rank},
                         {"packs", counts[rank].packs},
                         {"segments", counts[rank].segments},
                         {"tokens", counts[rank].tokens}});
    }
    invocation.say(with_commas(plan.num_packs()) + " packs of " + with_commas(plan.num_steps()) +
                   " steps for " + std::to_string(arguments.world_size) + " rank(s), " + with_commas(least) +
                   " to " + with_commas(most) + " tokens each -> " + arguments.output);
    invocation.give({{"output", arguments.output},
                     {"plan_fingerprint", plan.head().fingerprints.plan.hex()},
                     {"world_size", arguments.world_size},
                     {"ranks", ranks}});
    return 0;
}

struct ExportArguments {
    std::string plan, to, output;
    std::vector<std::string> sources;
    std::optional<std::uint64_t> step_begin, step_end;
    bool force = false;
};

/// One form a plan can be exported to. A new form is a new row below.
struct ExportForm {
    const char* name;
    Exported (*run)(const PlanFile& plan, const ExportArguments& arguments, Overwrite overwrite);
};

std::vector<PlanInput> sources_if_given(const PlanFile& plan, const ExportArguments& arguments) {
    if (arguments.sources.empty()) return {};
    return open_plan_sources(plan, arguments.sources, false);
}

Exported to_jsonl(const PlanFile& plan, const ExportArguments& arguments, Overwrite overwrite) {
    return export_jsonl(plan, sources_if_given(plan, arguments), arguments.output, overwrite);
}

Exported to_npy(const PlanFile& plan, const ExportArguments& arguments, Overwrite overwrite) {
    return export_columns(plan, "npy", {}, arguments.output, overwrite);
}

Exported to_torch_sampler(const PlanFile& plan, const ExportArguments& arguments, Overwrite overwrite) {
    return export_columns(plan, "torch-sampler", {{"lockstep_plan.py", plan_reader_source()}},
                          arguments.output, overwrite);
}

Exported to_npz(const PlanFile& plan, const ExportArguments& arguments, Overwrite overwrite) {
    if (arguments.sources.empty()) {
        throw Error(ErrorCode::invalid_argument,
                    "--to npz writes tokens, so it needs the corpus of each source: pass -d CORPUS");
    }
    const std::uint64_t begin = arguments.step_begin.value_or(0);
    const std::uint64_t end = arguments.step_end.value_or(plan.num_steps());
    if (begin > end || end > plan.num_steps()) {
        throw Error(ErrorCode::invalid_argument,
                    "steps " + std::to_string(begin) + " to " + std::to_string(end) +
                        " are not in the plan, which ends at " + std::to_string(plan.num_steps()));
    }
    const std::vector<PlanInput> inputs = open_plan_sources(plan, arguments.sources, true);
    return export_batches(plan, inputs, begin, end, arguments.output, overwrite);
}

Exported to_lazarus(const PlanFile& plan, const ExportArguments& arguments, Overwrite overwrite) {
    const std::vector<PlanInput> inputs = sources_if_given(plan, arguments);
    const LazarusExport exported =
        export_lazarus(load_plan(plan.directory(), PlanCheck::content), inputs, arguments.output, overwrite);
    Exported files;
    for (const auto& entry : std::filesystem::directory_iterator(arguments.output)) {
        ++files.files;
        files.bytes += entry.file_size();
    }
    static_cast<void>(exported);
    return files;
}

constexpr ExportForm export_forms[] = {
    {"jsonl", to_jsonl},     {"npy", to_npy}, {"npz", to_npz}, {"torch-sampler", to_torch_sampler},
    {"lazarus", to_lazarus},
};

int run_export(const Invocation& invocation, const ExportArguments& arguments) {
    require_one_rank("batchplan export");
    const ExportForm* form = nullptr;
    std::string known;
    for (const ExportForm& candidate : export_forms) {
        if (arguments.to == candidate.name) form = &candidate;
        known += (known.empty() ? "" : ", ") + std::string(candidate.name);
    }
    if (form == nullptr) {
        throw Error(ErrorCode::invalid_argument, "--to is '" + arguments.to + "'; expected one of " + known);
    }
    if ((arguments.step_begin || arguments.step_end) && arguments.to != "npz") {
        throw Error(ErrorCode::invalid_argument, "--from-step and --to-step belong to --to npz");
    }
    const PlanFile plan = PlanFile::open(arguments.plan);
    const Exported exported = form->run(plan, arguments, arguments.force ? Overwrite::yes : Overwrite::no);
    invocation.say(arguments.to + ": " + with_commas(exported.files) + " file(s), " +
                   bytes_text(exported.bytes) + " -> " + arguments.output);
    invocation.give({{"output", arguments.output},
                     {"to", arguments.to},
                     {"plan_fingerprint", plan.head().fingerprints.plan.hex()},
                     {"files", exported.files},
                     {"bytes", exported.bytes}});
    return 0;
}

}  // namespace

void add_plan_exports(CLI::App& noun, Invocation& invocation) {
    auto shard = std::make_shared<ShardArguments>();
    CLI::App* shard_verb = add_verb(noun, invocation, "shard", "The packs of every rank, a file a rank",
                                    "  lockstep batchplan shard -p plan/ --world-size 8 -o shards/",
                                    [&invocation, shard] { return run_shard(invocation, *shard); });
    shard_verb->add_option("-p,--plan", shard->plan, "Plan folder")->required();
    shard_verb->add_option("--world-size", shard->world_size, "Ranks")->required();
    shard_verb->add_option("-o,--output", shard->output, "Folder to write")->required();
    shard_verb->add_option("-d,--data,-l,--lengths", shard->sources,
                           "[NAME=]FILE of each source, for the samples' keys");
    shard_verb->add_flag("--force", shard->force, "Replace an existing export");

    auto out = std::make_shared<ExportArguments>();
    CLI::App* export_verb = add_verb(
        noun, invocation, "export", "A plan for other programs: jsonl, npy, npz, torch-sampler, lazarus",
        "  lockstep batchplan export -p plan/ --to npz -d corpus.h5 -o batches/\n"
        "  lockstep batchplan export -p plan/ --to torch-sampler -o sampler/     (docs/python.md)",
        [&invocation, out] { return run_export(invocation, *out); });
    export_verb->add_option("-p,--plan", out->plan, "Plan folder")->required();
    export_verb->add_option("--to", out->to, "jsonl, npy, npz, torch-sampler or lazarus")->required();
    export_verb->add_option("-o,--output", out->output, "File (jsonl) or folder to write")->required();
    export_verb->add_option("-d,--data,-l,--lengths", out->sources,
                            "[NAME=]FILE of each source: tokens (npz), keys (jsonl, lazarus)");
    export_verb->add_option("--from-step", out->step_begin, "npz: first step (0)");
    export_verb->add_option("--to-step", out->step_end, "npz: step after the last (the plan's end)");
    export_verb->add_flag("--force", out->force, "Replace an existing export");
}

}  // namespace lockstep
