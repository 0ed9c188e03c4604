#include "coordinator/run_record.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "coordinator/version.h"
#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"
#include "io/files/sealed_json.h"
#include "io/run/checkpoint.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr const char* run_format = "lockstep-run";
constexpr std::uint64_t run_format_version = 2;
constexpr const char* revisions_format = "lockstep-run-revisions";
constexpr std::uint64_t revisions_format_version = 1;

std::filesystem::path revisions_path(const std::filesystem::path& run) {
    return run / "revisions.json";
}

void require_format(const json& object, const char* format, std::uint64_t newest,
                    const std::filesystem::path& path) {
    if (object.at("format") != format) {
        throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' has format " +
                                                 object.at("format").dump() + ", expected \"" + format +
                                                 "\"");
    }
    if (object.at("format_version").get<std::uint64_t>() > newest) {
        throw Error(ErrorCode::incompatible_version,
                    "'" + path.string() + "' has format version " + object.at("format_version").dump() +
                        ", this lockstep reads up to " + std::to_string(newest) + "; use a newer one");
    }
}

void add_totals(json& plan, const std::optional<PlanTotals>& totals) {
    if (!totals) return;
    plan["tokens"] = totals->planned_tokens;
    plan["pack_tokens_max"] = totals->pack_tokens_max;
    plan["segment_tokens_max"] = totals->segment_tokens_max;
    plan["mean_context"] = totals->mean_context;
}

/// All of them or, in older runs, none.
std::optional<PlanTotals> totals_in(const json& plan) {
    const char* const names[] = {"tokens", "pack_tokens_max", "segment_tokens_max", "mean_context"};
    if (std::none_of(std::begin(names), std::end(names), [&](const char* n) { return plan.contains(n); }))
        return std::nullopt;
    return PlanTotals{plan.at("tokens"), plan.at("pack_tokens_max"), plan.at("segment_tokens_max"),
                      plan.at("mean_context")};
}

void read_revisions(const std::filesystem::path& run, std::vector<PlanInForce>& plans) {
    const std::filesystem::path path = revisions_path(run);
    if (!path_exists(path)) return;
    try {
        const json object = json::parse(unseal_json(read_file(path), path.string()));
        require_format(object, revisions_format, revisions_format_version, path);
        // Older files do not name the plan they begin with.
        const std::string begun =
            object.contains("plan") ? object["plan"].get<std::string>() : plans[0].plan.hex();
        if (begun != plans[0].plan.hex()) {
            throw Error(ErrorCode::fingerprint_mismatch,
                        "'" + path.string() + "': field 'plan', which the run began with, is " +
                            begun.substr(0, 64) + ", expected " + plans[0].plan.hex() +
                            " as run.json says; put the run's own files back");
        }
        for (const json& entry : object.at("revisions")) {
            PlanInForce plan;
            plan.from_step = entry.at("from_step");
            plan.path = entry.at("path");
            plan.plan = Fingerprint::from_hex(entry.at("fingerprint").get<std::string>());
            plan.totals = totals_in(entry);
            if (plan.from_step < plans.back().from_step) {
                throw Error(ErrorCode::corrupt_data, "'" + path.string() +
                                                         "': revisions do not ascend at step " +
                                                         std::to_string(plan.from_step));
            }
            plans.push_back(plan);
        }
    } catch (const json::exception& failure) {
        throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' cannot be read: " + failure.what());
    }
}

/// A number of steps, as format version 1 has it.
bool is_number(const std::string& text) {
    return !text.empty() && text.size() < 20 && text.find_first_not_of("0123456789") == std::string::npos;
}

/// Version 2 added intervals by time and keep_every; a run without them is written as version 1.
std::uint64_t version_needed(const RunRecord& record) {
    return is_number(record.checkpoint_every) && record.keep_every == 0 ? 1 : run_format_version;
}

}  // namespace

std::filesystem::path run_record_path(const std::filesystem::path& run) {
    return run / "run.json";
}

void write_run_record(const std::filesystem::path& run, const RunRecord& record) {
    json corpora = json::array();
    for (const RunCorpus& corpus : record.corpora) {
        corpora.push_back({{"name", corpus.name}, {"path", corpus.path}, {"content", corpus.content.hex()}});
    }
    json plan = {{"path", record.plan_path}, {"fingerprint", record.plan.hex()}};
    add_totals(plan, record.plan_totals);
    json object = {{"format", run_format},
                   {"format_version", version_needed(record)},
                   {"tool_version", tool_version},
                   {"settings", json::parse(record.settings_json)},
                   {"numerics", record.numerics},
                   {"model", record.model.hex()},
                   {"plan", plan},
                   {"corpora", corpora},
                   {"keep", record.keep}};
    if (is_number(record.checkpoint_every)) {
        object["checkpoint_every"] = std::stoull(record.checkpoint_every);
    } else {
        object["checkpoint_every"] = record.checkpoint_every;
    }
    if (record.keep_every != 0) object["keep_every"] = record.keep_every;
    if (!record.init_path.empty()) object["init"] = {{"path", record.init_path}};
    if (!record.init_adapter_path.empty()) object["init_adapter"] = {{"path", record.init_adapter_path}};
    sync_name_of(run);
    write_file_atomically(run_record_path(run), seal_json(object.dump()), Overwrite::no);
}

const PlanInForce& plan_in_force(const std::vector<PlanInForce>& plans, std::uint64_t step) {
    std::size_t at = plans.size() - 1;
    while (at > 0 && plans[at].from_step > step) --at;
    return plans[at];
}

const PlanInForce& plan_behind(const std::vector<PlanInForce>& plans, std::uint64_t steps_done) {
    return steps_done == 0 ? plans.front() : plan_in_force(plans, steps_done - 1);
}

void write_run_revisions(const std::filesystem::path& run, const std::vector<PlanInForce>& plans) {
    json revisions = json::array();
    for (std::size_t i = 1; i < plans.size(); ++i) {
        revisions.push_back({{"from_step", plans[i].from_step},
                             {"path", plans[i].path},
                             {"fingerprint", plans[i].plan.hex()}});
        add_totals(revisions.back(), plans[i].totals);
    }
    const json object = {{"format", revisions_format},
                         {"format_version", revisions_format_version},
                         {"tool_version", tool_version},
                         {"plan", plans[0].plan.hex()},
                         {"revisions", revisions}};
    write_file_atomically(revisions_path(run), seal_json(object.dump()), Overwrite::yes);
}

RunRecord read_run_record(const std::filesystem::path& run) {
    const std::filesystem::path path = run_record_path(run);
    if (!path_exists(path)) {
        throw Error(ErrorCode::not_found, "'" + run.string() +
                                              "' is not a run: it has no run.json; start one with "
                                              "lockstep train -o " +
                                              run.string());
    }
    try {
        const json object = json::parse(unseal_json(read_file(path), path.string()));
        require_format(object, run_format, run_format_version, path);
        RunRecord record;
        record.settings_json = object.at("settings").dump();
        record.numerics = object.at("numerics");
        record.model = Fingerprint::from_hex(object.at("model").get<std::string>());
        record.plan_path = object.at("plan").at("path");
        record.plan = Fingerprint::from_hex(object.at("plan").at("fingerprint").get<std::string>());
        record.plan_totals = totals_in(object.at("plan"));
        for (const json& corpus : object.at("corpora")) {
            record.corpora.push_back({corpus.at("name"), corpus.at("path"),
                                      Fingerprint::from_hex(corpus.at("content").get<std::string>())});
        }
        if (object.contains("init")) record.init_path = object["init"].at("path");
        if (object.contains("init_adapter")) record.init_adapter_path = object["init_adapter"].at("path");
        const json& every = object.at("checkpoint_every");
        record.checkpoint_every = every.is_number_unsigned() ? std::to_string(every.get<std::uint64_t>())
                                                             : every.get<std::string>();
        if (object.contains("keep_every")) record.keep_every = object["keep_every"];
        record.keep = object.at("keep");
        if (record.keep < 2) {
            throw Error(ErrorCode::corrupt_data, "'" + path.string() + "': field 'keep' is " +
                                                     std::to_string(record.keep) + ", expected 2 or more");
        }
        record.plans.push_back({0, record.plan_path, record.plan, record.plan_totals});
        read_revisions(run, record.plans);
        return record;
    } catch (const json::exception& failure) {
        throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' cannot be read: " + failure.what());
    }
}

void check_generation(const RunRecord& record, const Manifest& generation, const std::string& run) {
    const auto require = [&](const std::string& what, const std::string& found, const std::string& expected) {
        if (found == expected) return;
        throw Error(ErrorCode::fingerprint_mismatch,
                    "generation " + std::to_string(generation.step) + " of '" + run + "' belongs to " + what +
                        " " + found + ", expected " + expected +
                        " as run.json and revisions.json say; put the run's own files back");
    };
    require("plan", generation.cursor.plan.hex(), plan_behind(record.plans, generation.step).plan.hex());
    require("settings", generation.cursor.model.hex(), record.model.hex());
    require("numerics", generation.cursor.numerics, record.numerics);
}

}  // namespace lockstep
