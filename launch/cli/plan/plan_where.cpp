#include <algorithm>
#include <filesystem>

#include "coordinator/run_record.h"
#include "io/base/error.h"
#include "io/run/checkpoint.h"
#include "launch/cli/plan/plan_verbs.h"

namespace lockstep {

namespace {

struct WhereArguments {
    std::string sample, key, plan, run;
    std::vector<std::string> sources;
};

/// Steps done, by the newest generation that has a manifest. What it says of shards is not checked here.
std::uint64_t cursor_of_run(const std::filesystem::path& run) {
    std::uint64_t cursor = 0;
    std::error_code failure;
    for (const auto& entry : std::filesystem::directory_iterator(run / "checkpoints", failure)) {
        const std::filesystem::path path = entry.path() / "manifest.json";
        if (!std::filesystem::exists(path)) continue;
        cursor = std::max(cursor, manifest_from_json(read_file(path), path.string()).step);
    }
    return cursor;
}

std::string name_of(DispositionKind kind) {
    switch (kind) {
        case DispositionKind::split:
            return "split";
        case DispositionKind::truncated:
            return "truncated";
        case DispositionKind::dropped:
            return "dropped";
        case DispositionKind::empty:
            return "empty";
        case DispositionKind::no_target:
            return "no_target";
    }
    return "unknown";
}

std::string explain(const Disposition& fate) {
    switch (fate.kind) {
        case DispositionKind::split:
            return "split: longer than a pack, trained in pieces";
        case DispositionKind::truncated:
            return "truncated: its last " + with_commas(fate.tokens_lost) + " tokens are left out";
        case DispositionKind::dropped:
            return "dropped: longer than a pack (--long drop), " + with_commas(fate.tokens_lost) +
                   " tokens left out";
        case DispositionKind::empty:
            return "empty: it has no tokens";
        case DispositionKind::no_target:
            return "without target: fed, but predicts nothing";
    }
    return "unknown";
}

std::optional<Disposition> fate_of(const BatchPlan& head, std::uint64_t sample) {
    const auto at = std::lower_bound(head.dispositions.begin(), head.dispositions.end(), sample,
                                     [](const Disposition& row, std::uint64_t s) { return row.sample < s; });
    if (at == head.dispositions.end() || at->sample != sample) return std::nullopt;
    return *at;
}

int run_where(const Invocation& invocation, const WhereArguments& arguments) {
    require_one_rank("batchplan where");
    if (arguments.sample.empty() == arguments.key.empty()) {
        throw Error(ErrorCode::invalid_argument,
                    "name one sample: its number, SOURCE:NUMBER, or --key with -d CORPUS");
    }
    std::string plan_path = arguments.plan;
    std::optional<std::uint64_t> cursor;
    if (!arguments.run.empty()) {
        const RunRecord record = read_run_record(arguments.run);
        if (plan_path.empty()) plan_path = record.plans.back().path;
        cursor = cursor_of_run(arguments.run);
    }
    if (plan_path.empty()) throw Error(ErrorCode::invalid_argument, "where needs -p PLAN or --run RUN");
    const PlanFile plan = PlanFile::open(plan_path);
    std::vector<PlanInput> inputs;
    if (!arguments.sources.empty()) inputs = open_plan_sources(plan, arguments.sources, false);
    if (!arguments.key.empty() && inputs.empty()) {
        throw Error(ErrorCode::invalid_argument, "--key needs the file that holds the keys: pass -d SOURCE");
    }
    const std::uint64_t sample = arguments.key.empty()
                                     ? parse_sample(plan.head(), arguments.sample)
                                     : find_keys(plan.head(), inputs, {arguments.key}).front();
    const SamplePlace at = place_of_sample(plan.head(), sample);
    const std::string key = inputs.empty() ? std::string() : inputs[at.source].key(at.sample);
    const std::optional<Disposition> fate = fate_of(plan.head(), sample);
    const std::vector<SegmentPlace> places = plan.find_sample(sample);

    invocation.say("sample " + with_commas(sample) + (key.empty() ? "" : " '" + key + "'") + ", number " +
                   with_commas(at.sample) + " of source '" + plan.head().sources[at.source].name +
                   "': " + (fate ? explain(*fate) : std::string("whole")));
    nlohmann::ordered_json object = {{"plan_fingerprint", plan.head().fingerprints.plan.hex()},
                                     {"sample", sample},
                                     {"source", plan.head().sources[at.source].name},
                                     {"sample_in_source", at.sample},
                                     {"key", nullptr},
                                     {"disposition", fate ? name_of(fate->kind) : "whole"},
                                     {"tokens_lost", fate ? fate->tokens_lost : 0},
                                     {"next_step", nullptr}};
    if (!key.empty()) object["key"] = key;
    if (cursor) object["next_step"] = *cursor;
    auto list = nlohmann::ordered_json::array();
    std::uint64_t past = 0;
    for (const SegmentPlace& place : places) {
        std::string line = "  epoch " + std::to_string(place.epoch) + "  step " + with_commas(place.step) +
                           "  pack " + with_commas(place.pack) + "  tokens [" +
                           std::to_string(place.token_begin) + ", " +
                           std::to_string(place.token_begin + place.tokens) + ") of the pack";
        if (place.offset > 0 || (fate && fate->kind == DispositionKind::split)) {
            line += ", from its token " + std::to_string(place.offset);
        }
        nlohmann::ordered_json row = {
            {"epoch", place.epoch},       {"step", place.step},
            {"pack", place.pack},         {"segment_in_pack", place.segment_in_pack},
            {"begin", place.token_begin}, {"end", place.token_begin + place.tokens},
            {"offset", place.offset}};
        if (cursor) {
            const bool is_past = place.step < *cursor;
            past += is_past ? 1 : 0;
            line += is_past ? "  (past)" : "  (future)";
            row["past"] = is_past;
        }
        invocation.say(line);
        list.push_back(row);
    }
    if (places.empty()) {
        const bool revised = plan.head().parent.has_value();
        invocation.say(std::string("  in no step") +
                       (!fate && revised ? ": this revision leaves it out" : ""));
    }
    if (cursor) {
        invocation.say("  the run is at step " + with_commas(*cursor) + ": " + std::to_string(past) +
                       " past, " + std::to_string(places.size() - past) + " to come");
    }
    object["places"] = list;
    invocation.give(object);
    return 0;
}

}  // namespace

void add_plan_where(CLI::App& noun, Invocation& invocation) {
    auto arguments = std::make_shared<WhereArguments>();
    CLI::App* verb = add_verb(noun, invocation, "where", "Every step and pack that trains a sample",
                              "  lockstep batchplan where 4711 -p plan/\n"
                              "  lockstep batchplan where --key doc-17 -p plan/ -d corpus.h5\n"
                              "  lockstep batchplan where web:4711 --run run/       (past and to come)",
                              [&invocation, arguments] { return run_where(invocation, *arguments); });
    verb->add_option("sample", arguments->sample, "Number in the whole plan, or SOURCE:NUMBER");
    verb->add_option("--key", arguments->key, "The sample's own id instead; needs -d");
    verb->add_option("-p,--plan", arguments->plan, "Plan folder (the run's, with --run)");
    verb->add_option("-d,--data,-l,--lengths", arguments->sources,
                     "[NAME=]FILE: corpus or lengths of each source, for keys");
    verb->add_option("--run", arguments->run, "Run folder: say what is past and what is to come");
}

}  // namespace lockstep
