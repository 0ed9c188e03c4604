#include "launch/cli/plan/plan_building.h"

#include <charconv>
#include <filesystem>
#include <tuple>

#include "coordinator/plan_writer.h"
#include "io/base/error.h"
#include "io/comm/agreement.h"
#include "worker/model/model_config.h"

namespace lockstep {

namespace {

bool whole_number(std::string_view text, std::uint64_t& value) {
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    return failure == std::errc{} && end == text.data() + text.size();
}

CostModel parse_cost(const std::string& text) {
    CostModel cost;
    const std::size_t comma = text.find(',');
    std::uint64_t alone = 0;
    if (comma == std::string::npos && !whole_number(text, alone))
        return cost_of_model(load_model_config(text, 50257).config);
    if (comma == std::string::npos ||
        !whole_number(std::string_view(text).substr(0, comma), cost.token_cost) ||
        !whole_number(std::string_view(text).substr(comma + 1), cost.square_cost)) {
        throw Error(
            ErrorCode::invalid_argument,
            "--cost is '" + text +
                "'; expected a model, or two whole numbers A,B: A a token and B a squared segment length");
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
    if (options.mode == PlanMode::pack && (!a.bucket_edges.empty() || a.bucket_overflow_max)) {
        throw Error(ErrorCode::invalid_argument,
                    "--bucket-edges and --bucket-overflow-max go with --mode bucket");
    }
    options.segments_per_pack_max = a.segments_per_pack.value_or(0);
    if (a.stages) {
        if (options.order != PackOrder::length_stages && options.order != PackOrder::score_stages) {
            throw Error(ErrorCode::invalid_argument,
                        "--stages goes with --order length-stages or score-stages");
        }
        options.stages = *a.stages;
    }
    if (a.no_balance) options.balance = false;
    if (a.predictable && (a.seed != PlanOptions().seed || options.order != PackOrder::shuffle) &&
        options.compat == PlanCompat::none) {
        throw Error(ErrorCode::invalid_argument, "--predictable means seed " +
                                                     std::to_string(predictable_seed) +
                                                     " and in order; leave out --seed and --order");
    }
    return options;
}

/// A packing that was asked for is that of the plan. @pre check_options(options).
void refuse_other_packing(const PlanBuildArguments& a, const PlanOptions& options) {
    const PackingPolicy packing = effective_options(options).packing;
    if (options.packing == PackingPolicy::automatic || packing == options.packing) return;
    const bool by_mode = options.mode == PlanMode::bucket;
    throw Error(ErrorCode::invalid_argument, "--packing " + a.packing + " does not go with " +
                                                 (by_mode         ? "--mode bucket"
                                                  : a.predictable ? "--predictable"
                                                                  : "--order " + a.order) +
                                                 ", which packs " + std::string(name_of(packing)) +
                                                 "; leave it out");
}

/// A source as given: [NAME=]FILE[:WEIGHT].
struct SourceArgument {
    std::string name, file, weight;
};

SourceArgument parse_source(const std::string& argument) {
    SourceArgument source;
    std::tie(source.name, source.file) = split_named(argument);
    std::error_code ignored;
    const std::size_t colon = source.file.rfind(':');
    if (colon != std::string::npos && !std::filesystem::exists(source.file, ignored)) {
        source.weight = source.file.substr(colon + 1);
        source.file.resize(colon);
    }
    return source;
}

/// Names tell sources apart wherever one is meant: in --repeat-max, `where`, `train -d`.
void refuse_equal_names(const std::vector<PlanInput>& inputs) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (inputs[i].name() != inputs[j].name()) continue;
            throw Error(ErrorCode::invalid_argument,
                        "two sources are named '" + inputs[i].name() + "'; give each its own: -l NAME=FILE");
        }
    }
}

/// One model is trained with one tokenizer.
void refuse_other_tokenizers(const std::vector<SourceLengths>& lengths) {
    const PlanSource* first = nullptr;
    for (const SourceLengths& one : lengths) {
        if (one.source.tokenizer_hash.empty()) continue;
        if (first == nullptr) first = &one.source;
        if (one.source.tokenizer_hash == first->tokenizer_hash) continue;
        throw Error(ErrorCode::fingerprint_mismatch, "source '" + first->name + "' was made by tokenizer '" +
                                                         first->tokenizer_hash + "', '" + one.source.name +
                                                         "' by '" + one.source.tokenizer_hash +
                                                         "'; ingest both with one tokenizer");
    }
}

/// Whole numbers are relative; fractions are shares and sum to 1.
std::vector<std::uint64_t> parse_weights(const std::vector<SourceArgument>& sources) {
    constexpr std::uint64_t one = 1'000'000'000;
    std::vector<std::uint64_t> weights(sources.size(), 0);
    std::size_t fractions = 0;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const std::string& text = sources[i].weight;
        if (text.empty()) continue;
        const std::size_t point = text.find('.');
        std::uint64_t whole = 0;
        std::uint64_t part = 0;
        const std::string digits = point == std::string::npos ? "" : text.substr(point + 1);
        const bool sound = (point == 0 || whole_number(std::string_view(text).substr(0, point), whole)) &&
                           (point == std::string::npos ||
                            (!digits.empty() && digits.size() <= 9 &&
                             whole_number(digits + std::string(9 - digits.size(), '0'), part)));
        if (!sound || whole > one || (whole == 0 && part == 0)) {
            throw Error(ErrorCode::invalid_argument,
                        "weight '" + text + "' of '" + sources[i].file +
                            "'; expected a positive number such as 3 or 0.25, with at most 9 decimals");
        }
        fractions += point != std::string::npos ? 1 : 0;
        weights[i] = point == std::string::npos ? whole : whole * one + part;
        sum += weights[i];
    }
    if (fractions > 0 && (fractions != sources.size() || sum != one)) {
        throw Error(ErrorCode::invalid_argument, "the weights are fractions but do not sum to 1: they give " +
                                                     fixed(static_cast<double>(sum) / one, 9) +
                                                     "; mend them, or give every source a whole number");
    }
    return weights;
}

/// "NAME=K" for one of the sources.
void apply_counts(const std::vector<std::string>& arguments, const std::string& option,
                  const std::vector<PlanInput>& inputs, std::vector<SourceLengths>& lengths,
                  std::uint32_t PlanSource::*field) {
    for (const std::string& argument : arguments) {
        const std::size_t equals = argument.rfind('=');
        std::uint64_t count = 0;
        if (equals == std::string::npos ||
            !whole_number(std::string_view(argument).substr(equals + 1), count) || count < 1 ||
            count > 1'000'000'000) {
            throw Error(ErrorCode::invalid_argument,
                        option + " is '" + argument + "'; expected NAME=K with K from 1 to 10^9");
        }
        const std::string name = argument.substr(0, equals);
        std::size_t i = 0;
        while (i < inputs.size() && inputs[i].name() != name) ++i;
        if (i == inputs.size()) {
            std::string known;
            for (const PlanInput& input : inputs) known += (known.empty() ? "" : ", ") + input.name();
            throw Error(ErrorCode::invalid_argument,
                        option + " names '" + name + "', which is no source; the sources are " + known);
        }
        lengths[i].source.*field = static_cast<std::uint32_t>(count);
    }
}

/// Sources with their shares.
std::vector<SourceLengths> lengths_of(const PlanBuildArguments& arguments,
                                      const std::vector<SourceArgument>& sources,
                                      const std::vector<PlanInput>& inputs) {
    const std::vector<std::uint64_t> weights = parse_weights(sources);
    std::vector<SourceLengths> lengths;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        lengths.push_back(inputs[i].lengths());
        lengths.back().source.weight = weights[i];
    }
    if (!arguments.source_passes.empty()) {
        // The others are passed over once an epoch.
        for (SourceLengths& source : lengths)
            source.source.passes = static_cast<std::uint32_t>(arguments.epochs);
    }
    apply_counts(arguments.source_passes, "--source-epochs", inputs, lengths, &PlanSource::passes);
    apply_counts(arguments.repeat_max, "--repeat-max", inputs, lengths, &PlanSource::passes_max);
    for (const SourceLengths& source : lengths) {
        if (source.source.passes_max == 0 || source.source.weight > 0) continue;
        throw Error(ErrorCode::invalid_argument,
                    "--repeat-max names '" + source.source.name +
                        "', which has no weight; it caps a source with a share: -l NAME=FILE:WEIGHT");
    }
    return lengths;
}

}  // namespace

std::vector<CLI::Option*> add_plan_options(CLI::App& verb, PlanBuildArguments& a, const std::string& group) {
    std::vector<CLI::Option*> options;
    options.push_back(
        verb.add_option("-l,--lengths", a.inputs,
                        "[NAME=]FILE[:WEIGHT]: a corpus or a lengths file, and its share of the tokens")
            ->group(group));
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
        verb.add_option(
                "--packing", a.packing,
                "auto, best-fit-decreasing, patterns, first-fit-decreasing, best-fit, first-fit, in-order "
                "or concat-and-chunk")
            ->group(group));
    options.push_back(
        verb.add_option("--segments-per-pack", a.segments_per_pack, "Most segments a pack may hold")
            ->group(group));
    options.push_back(
        verb.add_option(
                "--order", a.order,
                "shuffle, in-order, short-to-long, length-stages, score-stages or buckets-interleaved")
            ->group(group));
    options.push_back(
        verb.add_option("--stages", a.stages, "Stages of a staged order, of equal tokens (4)")->group(group));
    options.push_back(verb.add_option("--source-epochs", a.source_passes,
                                      "NAME=K: every sample of the source exactly K times")
                          ->group(group));
    options.push_back(verb.add_option("--repeat-max", a.repeat_max,
                                      "NAME=K: a source with a weight, passed over at most K times")
                          ->group(group));
    options.push_back(
        verb.add_flag("--no-balance", a.no_balance, "Leave packs as they were shuffled")->group(group));
    options.push_back(verb.add_option("--long", a.long_policy,
                                      "Samples over the budget: auto, split, truncate, drop or error")
                          ->group(group));
    options.push_back(verb.add_option("--bucket-edges", a.bucket_edges, "Bucket mode: upper edges, inclusive")
                          ->delimiter(',')
                          ->group(group));
    options.push_back(
        verb.add_option("--bucket-overflow-max", a.bucket_overflow_max, "Bucket mode: longest sample")
            ->group(group));
    options.push_back(
        verb.add_option("--cost", a.cost,
                        "A,B: cost A a token and B a squared segment length; or a model (4096,1)")
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
            {"targets",
             stats.targets_known ? nlohmann::ordered_json(stats.targets) : nlohmann::ordered_json(nullptr)},
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
                   (stats.targets_known ? with_commas(stats.targets) + " targets"
                                        : "targets not known from lengths alone") +
                   "; packs are " + fixed(100 * stats.utilization, 2) + " % full (padding would waste " +
                   fixed(100 * stats.padding_waste_padded, 1) + " %); " +
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

BuiltPlanFolder build_and_save_plan(const Invocation& invocation, const PlanBuildArguments& arguments,
                                    const World& world, Communicator* comm) {
    if (arguments.inputs.empty())
        throw Error(ErrorCode::invalid_argument, "a plan needs -l FILE: a corpus or a lengths file");
    const PlanOptions options = options_from(arguments);
    const WriteJsonl jsonl = parse_write_jsonl(arguments.jsonl);
    check_options(options);
    refuse_other_packing(arguments, options);
    const Overwrite overwrite = arguments.force ? Overwrite::yes : Overwrite::no;
    const bool is_root = comm == nullptr || comm->rank().value == 0;
    std::vector<PlanInput> inputs;
    std::vector<SourceLengths> lengths;
    const auto open_inputs = [&] {
        // Refuse now rather than after the work.
        if (is_root) require_plan_output(arguments.output, overwrite);
        std::vector<SourceArgument> sources;
        for (const std::string& argument : arguments.inputs) sources.push_back(parse_source(argument));
        for (const SourceArgument& source : sources) {
            inputs.push_back(PlanInput::open(source.file, source.name, duplicates_allowed(options.compat)));
        }
        refuse_equal_names(inputs);
        lengths = lengths_of(arguments, sources, inputs);
        refuse_other_tokenizers(lengths);
    };
    if (comm == nullptr) {
        open_inputs();
    } else {
        together(*comm, "opening the sources", open_inputs);
    }
    BuiltPlanFolder built =
        build_plan_folder(arguments.output, options, inputs, lengths, jsonl, overwrite,
                          arguments.threads > 0 ? arguments.threads : default_threads(world), comm);
    if (!is_root) return built;
    describe_plan(invocation, built.head, built.stats);
    invocation.say("  built in " + fixed(built.seconds, 3) + " s -> " + arguments.output +
                   (built.saved.wrote_jsonl ? "" : "  (without plan.jsonl: --jsonl always writes it)"));
    return built;
}

}  // namespace lockstep
