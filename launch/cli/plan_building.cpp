#include "launch/cli/plan_building.h"

#include <charconv>
#include <chrono>
#include <filesystem>

#include "io/base/error.h"

namespace lockstep {

namespace {

/// "a,b" as integers. Model names come with the planner's next version.
CostModel parse_cost(const std::string& text) {
    CostModel cost;
    const std::size_t comma = text.find(',');
    const auto number = [&](std::string_view part, std::uint64_t& value) {
        const auto [end, failure] = std::from_chars(part.data(), part.data() + part.size(), value);
        return failure == std::errc{} && end == part.data() + part.size();
    };
    if (comma == std::string::npos || !number(std::string_view(text).substr(0, comma), cost.token_cost) ||
        !number(std::string_view(text).substr(comma + 1), cost.square_cost)) {
        throw Error(ErrorCode::invalid_argument,
                    "--cost is '" + text +
                        "'; expected two whole numbers A,B: A a token and B a squared segment length");
    }
    return cost;
}

PlanOptions options_from(const PlanBuildArguments& a) {
    PlanOptions options;
    options.mode = parse_plan_mode(a.mode);
    options.token_budget = a.budget;
    options.packs_per_step = a.packs_per_step;
    options.epochs = a.epochs;
    options.seed = a.seed;
    options.packing = parse_packing_policy(a.packing);
    options.order = parse_pack_order(a.order);
    options.long_policy = parse_long_policy(a.long_policy);
    options.predictable = a.predictable;
    options.compat = parse_plan_compat(a.compat);
    options.drop_last = a.drop_last;
    if (!a.cost.empty()) options.cost = parse_cost(a.cost);
    if (!a.bucket_edges.empty()) options.bucket_edges = a.bucket_edges;
    if (a.bucket_overflow_max) options.bucket_overflow_max = *a.bucket_overflow_max;
    return options;
}

PlanInput open_input(const std::string& argument) {
    const auto [name, file] = split_named(argument);
    std::error_code ignored;
    const std::size_t colon = file.rfind(':');
    if (colon != std::string::npos && !std::filesystem::exists(file, ignored) &&
        std::filesystem::exists(file.substr(0, colon), ignored)) {
        throw Error(ErrorCode::invalid_argument, "'" + argument +
                                                     "' gives a weight; weighted mixtures are not part of "
                                                     "this version, leave out '" +
                                                     file.substr(colon) + "'");
    }
    return PlanInput::open(file, name);
}

}  // namespace

std::vector<CLI::Option*> add_plan_options(CLI::App& verb, PlanBuildArguments& a, const std::string& group) {
    std::vector<CLI::Option*> options;
    options.push_back(
        verb.add_option("-l,--lengths", a.inputs, "[NAME=]FILE: a corpus or a lengths file")->group(group));
    options.push_back(verb.add_option("-e,--epochs", a.epochs, "Epochs (1)")->group(group));
    options.push_back(
        verb.add_option("-b,--token-budget", a.budget, "Most tokens a pack may hold (4096)")->group(group));
    options.push_back(verb.add_option("--packs-per-step", a.packs_per_step, "Packs of one optimizer step (8)")
                          ->group(group));
    options.push_back(verb.add_option("--seed", a.seed, "Seed of the order (42)")->group(group));
    options.push_back(
        verb.add_option("--mode", a.mode, "pack, or bucket: length buckets with a padded budget")
            ->group(group));
    options.push_back(
        verb.add_option("--packing", a.packing, "best-fit-decreasing or in-order")->group(group));
    options.push_back(verb.add_option("--order", a.order, "shuffle or in-order")->group(group));
    options.push_back(verb.add_option("--long", a.long_policy,
                                      "Samples over the budget: auto, split, truncate, drop or error")
                          ->group(group));
    options.push_back(verb.add_option("--bucket-edges", a.bucket_edges, "Bucket mode: upper edges, inclusive")
                          ->delimiter(',')
                          ->group(group));
    options.push_back(
        verb.add_option("--bucket-overflow-max", a.bucket_overflow_max, "Bucket mode: longest sample")
            ->group(group));
    options.push_back(verb.add_option("--cost", a.cost, "A,B: cost A a token and B a squared segment length")
                          ->group(group));
    options.push_back(
        verb.add_option("--compat", a.compat, "lazarus: exactly its plans (needs --mode bucket)")
            ->group(group));
    options.push_back(
        verb.add_flag("--drop-last", a.drop_last, "Lazarus mode: leave out a bucket's last, short batch")
            ->group(group));
    options.push_back(
        verb.add_flag("--predictable", a.predictable, "Fixed seed, in order, no balancing")->group(group));
    options.push_back(
        verb.add_option("--jsonl", a.jsonl, "Write plan.jsonl: auto (up to 10^6 segments), always or never")
            ->group(group));
    options.push_back(verb.add_flag("--force", a.force, "Replace an existing plan")->group(group));
    return options;
}

nlohmann::ordered_json plan_json(const BatchPlan& plan, const PlanStats& stats) {
    nlohmann::ordered_json balance = nlohmann::ordered_json::array();
    for (const auto& b : stats.balance) {
        balance.push_back({{"world_size", b.world_size}, {"slowest_over_mean", b.slowest_over_mean}});
    }
    return {{"plan_fingerprint", plan.fingerprints.plan.hex()},
            {"mode", std::string(name_of(plan.options.mode))},
            {"token_budget", plan.options.token_budget},
            {"seed", plan.options.seed},
            {"samples", stats.samples},
            {"epochs", stats.epochs},
            {"steps", stats.steps},
            {"packs", stats.packs},
            {"segments", stats.segments},
            {"planned_tokens", stats.planned_tokens},
            {"overlap_tokens", stats.overlap_tokens},
            {"targets", stats.targets},
            {"over_budget_packs", stats.over_budget_packs},
            {"left_out_by_drop_last", stats.left_out_by_drop_last},
            {"utilization", stats.utilization},
            {"padding_waste_padded", stats.padding_waste_padded},
            {"packs_first_epoch", stats.packs_first_epoch},
            {"packs_lower_bound", stats.packs_lower_bound},
            {"balance", balance}};
}

void describe_plan(const Invocation& invocation, const BatchPlan& plan, const PlanStats& stats) {
    invocation.say("plan " + plan.fingerprints.plan.hex());
    invocation.say("  " + with_commas(stats.samples) + " samples, " + with_commas(stats.epochs) +
                   " epoch(s): " + with_commas(stats.steps) + " steps, " + with_commas(stats.packs) +
                   " packs of at most " + with_commas(plan.options.token_budget) + " tokens, " +
                   with_commas(stats.segments) + " segments");
    invocation.say("  " + with_commas(stats.planned_tokens) + " tokens planned, " +
                   with_commas(stats.targets) + " targets; packs are " + fixed(100 * stats.utilization, 2) +
                   " % full (padding would waste " + fixed(100 * stats.padding_waste_padded, 1) + " %); " +
                   with_commas(stats.packs_first_epoch) + " packs an epoch, no plan can have fewer than " +
                   with_commas(stats.packs_lower_bound));
    std::string fates;
    const auto fate = [&](DispositionKind kind, const char* name) {
        const auto index = static_cast<std::size_t>(kind);
        const std::uint64_t count =
            index < stats.dispositions_by_kind.size() ? stats.dispositions_by_kind[index] : 0;
        if (count > 0) fates += (fates.empty() ? "" : ", ") + with_commas(count) + " " + name;
    };
    fate(DispositionKind::split, "split");
    fate(DispositionKind::truncated, "truncated");
    fate(DispositionKind::dropped, "dropped");
    fate(DispositionKind::empty, "empty");
    fate(DispositionKind::no_target, "without target");
    if (stats.over_budget_packs > 0 || stats.left_out_by_drop_last > 0) {
        invocation.say("  Lazarus mode: " + with_commas(stats.over_budget_packs) +
                       " packs over the budget, " + with_commas(stats.left_out_by_drop_last) +
                       " samples left out by drop_last (all epochs)");
    }
    invocation.say("  fates: " + (fates.empty() ? std::string("every sample whole") : fates));
}

BuiltPlan build_and_save_plan(const Invocation& invocation, const PlanBuildArguments& arguments) {
    if (arguments.inputs.empty())
        throw Error(ErrorCode::invalid_argument, "a plan needs -l FILE: a corpus or a lengths file");
    const PlanOptions options = options_from(arguments);
    const WriteJsonl jsonl = parse_write_jsonl(arguments.jsonl);
    check_options(options);
    // Refuse now rather than after the work.
    if (!arguments.force && std::filesystem::exists(arguments.output)) {
        throw Error(ErrorCode::output_exists,
                    "plan folder '" + arguments.output +
                        "' exists; pass --force to replace it or choose another folder");
    }
    std::vector<PlanInput> inputs;
    for (const std::string& argument : arguments.inputs) inputs.push_back(open_input(argument));
    std::vector<SourceLengths> lengths;
    for (const PlanInput& input : inputs) lengths.push_back(input.lengths());

    BuiltPlan built;
    const auto begin = std::chrono::steady_clock::now();
    built.plan = build_plan(options, lengths);
    built.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    built.stats = plan_stats(built.plan, lengths);
    built.saved = save_plan(arguments.output, built.plan, built.stats, inputs, jsonl,
                            arguments.force ? Overwrite::yes : Overwrite::no);
    describe_plan(invocation, built.plan, built.stats);
    invocation.say("  built in " + fixed(built.seconds, 3) + " s -> " + arguments.output +
                   (built.saved.wrote_jsonl ? "" : "  (without plan.jsonl: --jsonl always writes it)"));
    return built;
}

}  // namespace lockstep
