#include <algorithm>
#include <chrono>
#include <optional>
#include <span>

#include "coordinator/distribution.h"
#include "coordinator/plan_file.h"
#include "coordinator/plan_store.h"
#include "coordinator/plan_tokenizers.h"
#include "io/base/error.h"
#include "io/corpus/corpus.h"
#include "io/corpus/length_cache.h"
#include "launch/cli/plan/plan_building.h"
#include "launch/cli/plan/plan_verbs.h"
#include "launch/cli/runs/training.h"
#include "launch/cli/world.h"
#include "plan/plan_revision.h"
#include "plan/shard.h"
#include "plan/validate_plan.h"

namespace lockstep {

namespace {

int run_build(const Invocation& invocation, const PlanBuildArguments& arguments) {
    if (arguments.output.empty()) throw Error(ErrorCode::invalid_argument, "batchplan build needs -o FOLDER");
    return run_in_world([&](World& world) {
        const BuiltPlanFolder built = build_and_save_plan(invocation, arguments, world, world.comm.get());
        if (!world.is_root()) return 0;
        nlohmann::ordered_json object = plan_json(built.head, built.stats);
        object["plan"] = arguments.output;
        object["build_seconds"] = built.seconds;
        object["jsonl"] = built.saved.wrote_jsonl;
        invocation.give(object);
        return 0;
    });
}

struct InfoArguments {
    std::string plan;
    std::uint64_t show_batches = 0;
    std::optional<int> rank, world_size;
};

/// What `info` says beyond the statistics, gathered while the chunks go by.
struct InfoRows {
    struct Pack {
        std::uint64_t step, pack, tokens;
        std::vector<std::uint64_t> samples;
        std::vector<std::uint32_t> sample_tokens;
    };
    std::vector<Pack> shown;                   ///< The first packs of all, or of one rank.
    std::uint64_t packs = 0, tokens = 0;       ///< Of all, or of one rank.
    std::vector<std::uint64_t> source_tokens;  ///< (sources)
};

void add_rows(const PlanChunkColumns& chunk, const BatchPlan& head, const InfoArguments& arguments,
              InfoRows& rows) {
    std::vector<Rank> ranks;
    if (arguments.rank) ranks = assign_steps(chunk, WorldSize{*arguments.world_size});
    std::uint64_t step = 0;
    for (std::uint64_t p = 0; p < chunk.num_packs(); ++p) {
        while (chunk.step_begin[step + 1] - chunk.step_begin.front() <= p) ++step;
        const bool wanted = !arguments.rank || ranks[p].value == *arguments.rank;
        InfoRows::Pack pack{chunk.first_step + step, chunk.first_pack + p, 0, {}, {}};
        const bool shown = wanted && rows.shown.size() < arguments.show_batches;
        for (std::uint64_t row = chunk.pack_begin[p]; row < chunk.pack_begin[p + 1]; ++row) {
            const std::uint64_t s = row - chunk.pack_begin.front();
            pack.tokens += chunk.segment_tokens[s];
            rows.source_tokens[head.source_of(chunk.sample(s))] += chunk.segment_tokens[s];
            if (!shown) continue;
            pack.samples.push_back(chunk.sample(s));
            pack.sample_tokens.push_back(chunk.segment_tokens[s]);
        }
        if (!wanted) continue;
        ++rows.packs;
        rows.tokens += pack.tokens;
        if (shown) rows.shown.push_back(std::move(pack));
    }
}

/// Packs of the first epoch over what no packing can do without.
void say_gap(const Invocation& invocation, const PlanStats& stats, nlohmann::ordered_json& object) {
    if (stats.packs_lower_bound == 0 || stats.packs_first_epoch < stats.packs_lower_bound) return;
    const std::uint64_t gap = stats.packs_first_epoch - stats.packs_lower_bound;
    const double share = static_cast<double>(gap) / static_cast<double>(stats.packs_lower_bound);
    invocation.say("  gap to the lower bound: " + with_commas(gap) + " packs an epoch (" +
                   fixed(100 * share, 3) + " %)");
    object["packs_gap"] = gap;
    object["packs_gap_share"] = share;
}

/// What each source of a mixture was given, beside what it was to have.
void say_shares(const Invocation& invocation, const BatchPlan& plan, std::span<const std::uint64_t> tokens,
                nlohmann::ordered_json& object) {
    std::uint64_t total = 0;
    for (const std::uint64_t of_source : tokens) total += of_source;
    std::uint64_t weights = 0;
    bool mixture = plan.sources.size() > 1;
    for (const PlanSource& source : plan.sources) {
        weights += source.weight;
        mixture = mixture || source.weight > 0 || source.passes > 0;
    }
    if (!mixture || total == 0) return;
    auto list = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < plan.sources.size(); ++i) {
        const PlanSource& source = plan.sources[i];
        const double share = static_cast<double>(tokens[i]) / static_cast<double>(total);
        std::string line = "  share of '" + source.name + "': " + fixed(100 * share, 3) + " % of the tokens";
        nlohmann::ordered_json row = {{"name", source.name}, {"tokens", tokens[i]}, {"share", share}};
        if (source.weight > 0) {
            const double wanted = static_cast<double>(source.weight) / static_cast<double>(weights);
            line += ", weight " + fixed(100 * wanted, 3) + " % of the weights";
            row["weight_share"] = wanted;
        }
        if (source.passes > 0) {
            line += ", " + std::to_string(source.passes) + " pass(es)";
            row["passes"] = source.passes;
        }
        if (source.passes_max > 0) row["passes_max"] = source.passes_max;
        invocation.say(line);
        list.push_back(row);
    }
    object["shares"] = list;
}

int run_info(const Invocation& invocation, const InfoArguments& arguments) {
    require_one_rank("batchplan info");
    if (arguments.rank.has_value() != arguments.world_size.has_value()) {
        throw Error(ErrorCode::invalid_argument, "--rank and --world-size belong together");
    }
    if (arguments.world_size && *arguments.world_size < 1) {
        throw Error(ErrorCode::invalid_argument,
                    "--world-size is " + std::to_string(*arguments.world_size) + "; at least 1");
    }
    if (arguments.rank && (*arguments.rank < 0 || *arguments.rank >= *arguments.world_size)) {
        throw Error(ErrorCode::invalid_argument, "--rank is " + std::to_string(*arguments.rank) +
                                                     "; a world of " + std::to_string(*arguments.world_size) +
                                                     " has ranks 0 to " +
                                                     std::to_string(*arguments.world_size - 1));
    }
    const PlanFile file = PlanFile::open(arguments.plan);
    file.check_structure();
    const BatchPlan& plan = file.head();
    const PlanView view = file.view();
    const PlanStats stats = plan_stats(view);
    InfoRows rows;
    rows.source_tokens.assign(plan.sources.size(), 0);
    for (std::size_t c = 0; c < view.num_chunks(); ++c) add_rows(view.chunk(c), plan, arguments, rows);
    describe_plan(invocation, plan, stats);
    nlohmann::ordered_json object = plan_json(plan, stats);
    say_gap(invocation, stats, object);
    say_shares(invocation, plan, rows.source_tokens, object);
    for (const PlanSource& source : plan.sources) {
        invocation.say("  source '" + source.name + "': " + with_commas(source.num_samples) +
                       " samples, lengths " + source.lengths.brief() + "…" +
                       (source.corpus.empty() ? std::string(", lengths only")
                                              : ", corpus " + source.corpus.brief() + "…"));
    }
    if (plan.parent) {
        invocation.say("  revision of plan " + plan.parent->brief() + "… from step " +
                       with_commas(plan.from_step) + " on");
        object["parent"] = plan.parent->hex();
        object["from_step"] = plan.from_step;
    }
    if (arguments.world_size) {
        const int world = *arguments.world_size;
        invocation.say("  rank " + std::to_string(*arguments.rank) + " of " + std::to_string(world) + ": " +
                       with_commas(rows.packs) + " packs, " + with_commas(rows.tokens) + " tokens");
        object["rank"] = {
            {"rank", *arguments.rank}, {"world_size", world}, {"packs", rows.packs}, {"tokens", rows.tokens}};
    }
    auto batches = nlohmann::ordered_json::array();
    for (const InfoRows::Pack& pack : rows.shown) {
        std::string samples;
        for (std::size_t s = 0; s < pack.samples.size(); ++s) {
            samples += (s == 0 ? "" : " ") + std::to_string(pack.samples[s]) + ":" +
                       std::to_string(pack.sample_tokens[s]);
        }
        invocation.say("  step " + std::to_string(pack.step) + " pack " + std::to_string(pack.pack) + " (" +
                       std::to_string(pack.tokens) + " tokens)  " + samples);
        batches.push_back(
            {{"step", pack.step}, {"pack", pack.pack}, {"tokens", pack.tokens}, {"samples", pack.samples}});
    }
    if (arguments.show_batches > 0) object["batches"] = batches;
    invocation.give(object);
    return 0;
}

struct ValidateArguments {
    std::string plan, parent;
    std::vector<std::string> inputs;
    bool strict = false;
};

int run_validate(const Invocation& invocation, const ValidateArguments& arguments) {
    require_one_rank("batchplan validate");
    const auto begin = std::chrono::steady_clock::now();
    const PlanFile file = PlanFile::open(arguments.plan);
    const BatchPlan& plan = file.head();
    std::vector<PlanInput> inputs;
    if (!arguments.inputs.empty()) inputs = open_plan_sources(file, arguments.inputs, false);
    std::vector<SourceLengths> lengths;
    for (const PlanInput& input : inputs) {
        lengths.push_back(input.lengths());
        if (arguments.strict) input.verify_everything();
    }
    file.validate(lengths);
    if (arguments.strict) check_plan_files(file);
    std::optional<RevisionCounts> left_out;
    if (!arguments.parent.empty()) {
        const PlanFile parent = PlanFile::open(arguments.parent);
        parent.validate({});
        try {
            left_out = check_revision(parent.view(), file.view());
        } catch (const Error& error) {
            throw Error(error.code(), "'" + arguments.plan + "': " + error.what());
        }
    }
    std::string not_rebuilt = "its sources are not given";
    if (!inputs.empty()) {
        not_rebuilt = arguments.strict ? check_rebuilt_plan(file.view(), lengths) : "--strict does it";
        for (const PlanInput& input : inputs) {
            if (input.corpus() != nullptr) warn_of_drift(*input.corpus());
        }
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const bool rebuilt = not_rebuilt.empty();
    const std::string checked =
        std::string(arguments.strict ? "files, " : "") + "columns and fingerprint tree" +
        (inputs.empty() ? "" : ", lengths of the sources") + (rebuilt ? ", built again" : "");
    invocation.say("plan " + plan.fingerprints.plan.hex() + " is sound: " + checked + " (" +
                   fixed(seconds, 2) + " s)");
    if (!rebuilt) invocation.say("  not built again: " + not_rebuilt);
    nlohmann::ordered_json object = {{"plan_fingerprint", plan.fingerprints.plan.hex()},
                                     {"valid", true},
                                     {"strict", arguments.strict},
                                     {"sources_checked", inputs.size()},
                                     {"rebuilt", rebuilt},
                                     {"seconds", seconds}};
    if (left_out) {
        invocation.say("  it is plan " + plan.parent->brief() + "… less " +
                       with_commas(left_out->segments_removed) + " segments (" +
                       with_commas(left_out->tokens_removed) + " tokens) from step " +
                       with_commas(plan.from_step) + " on; all else is the same");
        // Which tokens of a changed pack are still trained only its corpus tells.
        const bool targets_proven =
            !file.has_targets() || left_out->packs_changed == 0 ||
            (!lengths.empty() && std::ranges::none_of(lengths, &SourceLengths::lengths_only));
        if (!targets_proven)
            invocation.say("  targets of the " + with_commas(left_out->packs_changed) +
                           " changed packs are within bounds, not proven: give the corpora with -l");
        object["revision"] = {{"parent", plan.parent->hex()},
                              {"from_step", plan.from_step},
                              {"segments_removed", left_out->segments_removed},
                              {"tokens_removed", left_out->tokens_removed},
                              {"packs_changed", left_out->packs_changed},
                              {"packs_emptied", left_out->packs_emptied},
                              {"targets_proven", targets_proven}};
    }
    invocation.give(object);
    return 0;
}

}  // namespace

void add_batchplan(CLI::App& app, Invocation& invocation) {
    CLI::App* noun = app.add_subcommand("batchplan", "Build, look at and check plans");
    noun->require_subcommand(1);

    auto build = std::make_shared<PlanBuildArguments>();
    CLI::App* build_verb =
        add_verb(*noun, invocation, "build", "Decide the whole order of a run",
                 "  lockstep batchplan build -l corpus.h5 -e 2 -b 4096 -o plan/\n"
                 "  lockstep batchplan build -l lengths.jsonl --mode bucket -b 8192 -o plan/",
                 [&invocation, build] { return run_build(invocation, *build); });
    add_plan_options(*build_verb, *build, "The plan");
    build_verb
        ->add_option("--threads", build->threads,
                     "Threads of each rank (cores over ranks on the node); any number, the same plan")
        ->check(CLI::Range(1, 1024));
    build_verb->add_option("-o,--output", build->output, "Plan folder to write")->required();

    auto info = std::make_shared<InfoArguments>();
    CLI::App* info_verb = add_verb(*noun, invocation, "info", "What a plan holds",
                                   "  lockstep batchplan info -p plan/ --show-batches 3\n"
                                   "  lockstep batchplan info -p plan/ --rank 1 --world-size 4",
                                   [&invocation, info] { return run_info(invocation, *info); });
    info_verb->add_option("-p,--plan", info->plan, "Plan folder")->required();
    info_verb->add_option("--show-batches", info->show_batches, "Show the first N packs");
    info_verb->add_option("--rank", info->rank, "Show one rank's view");
    info_verb->add_option("--world-size", info->world_size, "Of a world of this size");

    auto validate = std::make_shared<ValidateArguments>();
    CLI::App* validate_verb =
        add_verb(*noun, invocation, "validate", "Recompute a plan's fingerprints and check it",
                 "  lockstep batchplan validate -p plan/ --strict -l corpus.h5\n"
                 "  lockstep batchplan validate -p revision/ --parent plan/",
                 [&invocation, validate] { return run_validate(invocation, *validate); });
    validate_verb->add_option("-p,--plan", validate->plan, "Plan folder")->required();
    validate_verb->add_option("-l,--lengths", validate->inputs, "[NAME=]FILE: the sources, to check against");
    validate_verb->add_option("--parent", validate->parent,
                              "The plan that this one revises: proves that only what was excluded is gone");
    validate_verb->add_flag("--strict", validate->strict, "Every file of the folder and of the sources too");

    add_plan_step(*noun, invocation);
    add_plan_where(*noun, invocation);
    add_plan_diff(*noun, invocation);
    add_plan_exclude(*noun, invocation);
    add_plan_exports(*noun, invocation);
    add_plan_import(*noun, invocation);
}

}  // namespace lockstep
