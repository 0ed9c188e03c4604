#include "coordinator/plan_store.h"

#include <fcntl.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "coordinator/plan_documents.h"
#include "coordinator/plan_export.h"
#include "coordinator/plan_tokenizers.h"
#include "io/base/digest.h"
#include "io/base/error.h"
#include "io/columns/column_file.h"
#include "io/files/file_digest.h"
#include "io/files/sealed_json.h"
#include "plan/dispositions.h"
#include "plan/plan_columns.h"
#include "plan/validate_plan.h"

namespace lockstep {

namespace {

using nlohmann::json;

Digest digest_of_file(const std::filesystem::path& path) {
    PosixFile file(path, O_RDONLY);
    DigestStream digest;
    digest_rest(file, digest);
    return digest.value();
}

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "'" + path.string() + "': " + what +
                                             "; build the plan again or restore the folder from a copy");
}

/// A file that no plan folder lacks.
std::string read_member(const std::filesystem::path& path) {
    std::error_code unknown;
    if (!std::filesystem::exists(path, unknown) && !unknown)
        refuse(path, "the file is missing, expected in every plan folder");
    return read_file(path);
}

/// fingerprints.json and its record of the other files; @throws Error{corrupt_data}.
json read_fingerprints(const std::filesystem::path& directory) {
    const std::filesystem::path path = directory / "fingerprints.json";
    return unseal_json_object(read_member(path), path.string());
}

/// The first place where two texts part, with a little before it: what differs may come late.
/// @param found  null: missing.
[[noreturn]] void refuse_field(const std::filesystem::path& path, const std::string& field, const json* found,
                               const json& expected) {
    constexpr std::size_t shown = 80, before = 20;
    const auto dumped = [](const json& value) {
        return value.dump(-1, ' ', true, json::error_handler_t::replace);
    };
    const std::string is = found != nullptr ? dumped(*found) : "missing";
    const std::string wanted = dumped(expected);
    std::size_t at = 0;
    while (at < is.size() && at < wanted.size() && is[at] == wanted[at]) ++at;
    const std::size_t begin = at > before ? at - before : 0;
    const auto part = [&](const std::string& text) {
        return (begin > 0 ? "…" : "") + text.substr(std::min(begin, text.size()), shown);
    };
    refuse(path, "field '" + field + "' is " + part(is) + ", expected " + part(wanted) + " as plan.h5 says");
}

/// The first field that is not as expected. @param steps  what row i of the field 'chunks' is about.
void require_fields(const std::filesystem::path& path, const json& object, const json& expected,
                    const std::function<std::string(std::size_t)>& steps = {}) {
    for (const auto& [field, value] : expected.items()) {
        const json* const found = object.contains(field) ? &object[field] : nullptr;
        if (found != nullptr && *found == value) continue;
        if (found == nullptr || !found->is_array() || !value.is_array() || found->size() != value.size())
            refuse_field(path, field, found, value);
        std::size_t row = 0;
        while ((*found)[row] == value[row]) ++row;
        const std::string about = field == "chunks" && steps ? ", " + steps(row) : "";
        refuse_field(path, field + "[" + std::to_string(row) + "]" + about, &(*found)[row], value[row]);
    }
}

/// All that is in it is right, but these are other bytes than were written.
void require_text(const std::filesystem::path& path, const std::string& found, const std::string& expected) {
    if (found == expected) return;
    std::size_t at = 0;
    while (at < found.size() && at < expected.size() && found[at] == expected[at]) ++at;
    const auto line = 1 + std::count(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    refuse(path, "its fields are right but its text is not as it was written, from line " +
                     std::to_string(line) + " on: it has " + std::to_string(found.size()) +
                     " bytes, expected " + std::to_string(expected.size()));
}

}  // namespace

void require_plan_folder(const std::filesystem::path& directory) {
    const std::string name = "'" + directory.string() + "'";
    std::error_code unknown;
    if (!std::filesystem::exists(directory, unknown)) {
        throw Error(ErrorCode::not_found,
                    "plan folder " + name + " does not exist; build it with lockstep batchplan build");
    }
    if (!std::filesystem::is_directory(directory, unknown)) {
        throw Error(ErrorCode::not_found,
                    name + " is no folder, expected a plan folder as lockstep batchplan build writes it");
    }
    if (std::filesystem::exists(directory / "plan.h5", unknown) || unknown) return;
    const auto holds = [&](const char* file) { return std::filesystem::exists(directory / file, unknown); };
    throw Error(ErrorCode::not_found,
                name + " is no plan folder, it has no plan.h5" +
                    (holds("run.json")    ? ": it is a run, give the plan it was started with"
                     : holds("meta.json") ? ": Lazarus' plans are taken over by lockstep batchplan import"
                                          : "; build one with lockstep batchplan build"));
}

void check_fingerprints_file(const std::filesystem::path& directory, const BatchPlan& plan) {
    const std::vector<std::uint64_t>& begin = plan.fingerprints.chunk_begin;
    require_fields(directory / "fingerprints.json", read_fingerprints(directory), fingerprints_of(plan),
                   [&](std::size_t chunk) {
                       return "steps " + std::to_string(begin[chunk]) + " to " +
                              std::to_string(begin[chunk + 1] - 1);
                   });
}

WriteJsonl parse_write_jsonl(std::string_view text) {
    if (text == "auto") return WriteJsonl::automatic;
    if (text == "always") return WriteJsonl::always;
    if (text == "never") return WriteJsonl::never;
    throw Error(ErrorCode::invalid_argument,
                "--jsonl is '" + std::string(text) + "'; expected auto, always or never");
}

BatchPlan load_plan(const std::filesystem::path& directory, PlanCheck check) {
    require_plan_folder(directory);
    const std::filesystem::path path = directory / "plan.h5";
    const ColumnFile file = ColumnFile::open(path, plan_format, plan_format_version);
    BatchPlan plan;
    try {
        plan = from_columns(read_plan_columns(file, PlanColumnsRead::all));
        if (check == PlanCheck::content) validate_plan(plan, {});
    } catch (const Error& error) {
        throw Error(error.code(), "'" + path.string() + "': " + error.what());
    }
    check_fingerprints_file(directory, plan);
    return plan;
}

void check_plan_files(const PlanFile& plan) {
    const std::filesystem::path& directory = plan.directory();
    const json fingerprints = read_fingerprints(directory);
    const json files = fingerprints.value("files", json::object());
    if (!files.is_object()) refuse(directory / "fingerprints.json", "field 'files' is not an object");
    for (const auto& [name, digest] : files.items()) {
        if (!digest.is_string())
            refuse(directory / "fingerprints.json", "field 'files." + name + "' is no text");
    }
    plan.verify_everything();
    if (files.value("plan.h5", "") != plan.digest_hex()) {
        refuse(directory / "fingerprints.json", "it belongs to another plan.h5 (" +
                                                    files.value("plan.h5", "none") + "), expected " +
                                                    plan.digest_hex() + ", the digest of the one beside it");
    }
    const std::filesystem::path jsonl = directory / "plan.jsonl";
    if (files.contains("plan.jsonl") != std::filesystem::exists(jsonl)) {
        refuse(jsonl,
               files.contains("plan.jsonl")
                   ? "the file is missing, expected as fingerprints.json names it"
                   : "the file does not belong to this plan, expected only what fingerprints.json names");
    }
    if (files.contains("plan.jsonl")) {
        const std::string found = digest_of_file(jsonl).hex();
        if (files["plan.jsonl"] != found) {
            refuse(jsonl, first_difference_in_jsonl(plan, jsonl) + "; its digest is " + found +
                              ", expected " + files["plan.jsonl"].dump() + " as fingerprints.json says");
        }
    }
    json whole_fingerprints = fingerprints_of(plan.head());
    whole_fingerprints["files"] = files;
    require_text(directory / "fingerprints.json", read_member(directory / "fingerprints.json"),
                 seal_json(whole_fingerprints.dump()));
    const std::filesystem::path metadata = directory / "metadata.json";
    const std::string metadata_text = read_member(metadata);
    const json meta = unseal_json_object(metadata_text, metadata.string());
    json expected_meta = metadata_of(plan.head(), {plan.num_segments(), plan.num_packs(), plan.num_steps()});
    for (const char* of_the_build : {"tool_version", "created_at"}) expected_meta.erase(of_the_build);
    require_fields(metadata, meta, expected_meta);
    const std::string problem = problem_of_tokenizer_records(meta, plan.head().sources.size());
    if (!problem.empty()) refuse(metadata, problem);
    require_text(metadata, metadata_text, seal_json(meta.dump()));
    const std::filesystem::path stats = directory / "stats.json";
    const std::string stats_text = read_member(stats);
    const json found_stats = json::parse(stats_text, nullptr, false);
    const json expected_stats = stats_json(plan_stats(plan.view()));
    if (!found_stats.is_object()) refuse(stats, "it is no JSON, expected an object");
    require_fields(stats, found_stats, expected_stats);
    require_text(stats, stats_text, expected_stats.dump(2) + "\n");
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        const std::string name = entry.path().filename().string();
        if (name != "plan.h5" && name != "plan.jsonl" && name != "fingerprints.json" &&
            name != "metadata.json" && name != "stats.json") {
            refuse(entry.path(), "a plan folder holds no such file, expected only those of the plan");
        }
    }
}

namespace {

void require_same(const std::string& what, const PlanSource& source, const Corpus& corpus,
                  const Fingerprint& expected, const Fingerprint& found, const char* advice) {
    if (expected == found) return;
    throw Error(ErrorCode::fingerprint_mismatch, "source '" + source.name + "': '" + corpus.path().string() +
                                                     "' has " + what + " " + found.brief() + "…, expected " +
                                                     expected.brief() + "…, which the plan was built for; " +
                                                     advice);
}

}  // namespace

std::vector<PlanSource> bind_sources(const BatchPlan& plan, const std::vector<PlanInput>& inputs) {
    if (inputs.size() != plan.sources.size()) {
        throw Error(ErrorCode::invalid_argument,
                    "the plan has " + std::to_string(plan.sources.size()) + " source(s), " +
                        std::to_string(inputs.size()) +
                        " corpora were given; pass one -d for each, in the plan's order");
    }
    std::vector<PlanSource> bound = plan.sources;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        const PlanSource& source = plan.sources[i];
        if (!inputs[i].corpus()) {
            throw Error(ErrorCode::invalid_argument,
                        "source '" + source.name + "': '" + inputs[i].name() +
                            "' is a lengths file, expected what training needs, a corpus");
        }
        const Corpus& corpus = *inputs[i].corpus();
        if (!source.tokenizer.empty()) {
            require_same("tokenizer", source, corpus, source.tokenizer, corpus.tokenizer().fingerprint,
                         "ingest again with that tokenizer, or build a plan for this corpus");
        } else if (!source.tokenizer_hash.empty() &&
                   source.tokenizer_hash != corpus.tokenizer().fingerprint.hex()) {
            throw Error(ErrorCode::fingerprint_mismatch,
                        "source '" + source.name + "': the lengths were made by tokenizer " +
                            source.tokenizer_hash.substr(0, 12) + "…, '" + corpus.path().string() + "' by " +
                            corpus.tokenizer().fingerprint.brief() +
                            "…; build the lengths again from this corpus");
        }
        require_same("sample lengths", source, corpus, source.lengths, corpus.lengths_fingerprint(),
                     "give the corpus the plan was built from");
        if (!source.corpus.empty()) {
            require_same("corpus content", source, corpus, source.corpus, corpus.content_fingerprint(),
                         "give the corpus the plan was built from");
        }
        bound[i].corpus = corpus.content_fingerprint();
        bound[i].tokenizer = corpus.tokenizer().fingerprint;
    }
    return bound;
}

TargetCount::TargetCount(std::vector<PlanSource> sources, const std::vector<PlanInput>& inputs) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        lengths_.push_back(inputs[i].lengths());
        lengths_.back().source = std::move(sources[i]);
    }
}

std::uint32_t TargetCount::operator()(std::uint64_t sample, std::uint32_t offset,
                                      std::uint32_t tokens) const {
    std::size_t source = lengths_.size() - 1;
    while (source > 0 && lengths_[source].source.sample_base > sample) --source;
    return segment_targets(lengths_[source], sample - lengths_[source].source.sample_base, offset, tokens);
}

}  // namespace lockstep
