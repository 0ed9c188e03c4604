#include "coordinator/run_record.h"

#include <nlohmann/json.hpp>

#include "coordinator/version.h"
#include "io/atomic_file.h"
#include "io/base/error.h"
#include "io/sealed_json.h"

namespace lockstep {

namespace {

using nlohmann::json;

constexpr const char* run_format = "lockstep-run";
constexpr std::uint64_t run_format_version = 1;

}  // namespace

std::filesystem::path run_record_path(const std::filesystem::path& run) {
    return run / "run.json";
}

void write_run_record(const std::filesystem::path& run, const RunRecord& record) {
    json corpora = json::array();
    for (const RunCorpus& corpus : record.corpora) {
        corpora.push_back({{"name", corpus.name}, {"path", corpus.path}, {"content", corpus.content.hex()}});
    }
    const json object = {{"format", run_format},
                         {"format_version", run_format_version},
                         {"tool_version", tool_version},
                         {"settings", json::parse(record.settings_json)},
                         {"numerics", record.numerics},
                         {"model", record.model.hex()},
                         {"plan", {{"path", record.plan_path}, {"fingerprint", record.plan.hex()}}},
                         {"corpora", corpora},
                         {"checkpoint_every", record.checkpoint_every},
                         {"keep", record.keep}};
    write_file_atomically(run_record_path(run), seal_json(object.dump()), Overwrite::no);
}

RunRecord read_run_record(const std::filesystem::path& run) {
    const std::filesystem::path path = run_record_path(run);
    if (!std::filesystem::exists(path)) {
        throw Error(ErrorCode::not_found, "'" + run.string() +
                                              "' is not a run: it has no run.json; start one with "
                                              "lockstep train -o " +
                                              run.string());
    }
    try {
        const json object = json::parse(unseal_json(read_file(path), path.string()));
        if (object.at("format") != run_format) {
            throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' has format " +
                                                     object.at("format").dump() + ", expected \"" +
                                                     run_format + "\"");
        }
        if (object.at("format_version").get<std::uint64_t>() > run_format_version) {
            throw Error(ErrorCode::incompatible_version,
                        "'" + path.string() + "' has format version " + object.at("format_version").dump() +
                            ", this lockstep reads up to " + std::to_string(run_format_version) +
                            "; use a newer one");
        }
        RunRecord record;
        record.settings_json = object.at("settings").dump();
        record.numerics = object.at("numerics");
        record.model = Fingerprint::from_hex(object.at("model").get<std::string>());
        record.plan_path = object.at("plan").at("path");
        record.plan = Fingerprint::from_hex(object.at("plan").at("fingerprint").get<std::string>());
        for (const json& corpus : object.at("corpora")) {
            record.corpora.push_back({corpus.at("name"), corpus.at("path"),
                                      Fingerprint::from_hex(corpus.at("content").get<std::string>())});
        }
        record.checkpoint_every = object.at("checkpoint_every");
        record.keep = object.at("keep");
        if (record.keep < 2) {
            throw Error(ErrorCode::corrupt_data, "'" + path.string() + "': keep is below 2");
        }
        return record;
    } catch (const json::exception& failure) {
        throw Error(ErrorCode::corrupt_data, "'" + path.string() + "' cannot be read: " + failure.what());
    }
}

}  // namespace lockstep
