#include "coordinator/plan_store.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <variant>

#include "coordinator/plan_file.h"
#include "coordinator/version.h"
#include "io/base/digest.h"
#include "io/base/error.h"
#include "io/column_file.h"
#include "io/sealed_json.h"
#include "plan/dispositions.h"
#include "plan/plan_columns.h"

namespace lockstep {

namespace {

using nlohmann::json;

// --- plan.h5 ---

std::pair<std::string, std::string> group_and_name(const std::string& text_name) {
    const std::size_t slash = text_name.rfind('/');
    if (slash == std::string::npos) return {std::string(plan_text_group), text_name};
    return {std::string(plan_text_group) + "/" + text_name.substr(0, slash), text_name.substr(slash + 1)};
}

ColumnFileWriter::Published write_columns(const std::filesystem::path& path, const BatchPlan& plan) {
    const PlanColumns columns = to_columns(plan);
    ColumnFileWriter writer(path, std::string(plan_format), plan_format_version);
    for (const auto& [name, text] : columns.texts) {
        const auto [group, attribute] = group_and_name(name);
        writer.attribute(group, attribute, std::string_view(text));
    }
    for (const auto& [name, column] : columns.columns) {
        std::visit(
            [&, &column_name = name](const auto& values) {
                writer.column("/" + column_name, std::span(values.data(), values.size()));
            },
            column);
    }
    return writer.publish();
}

// --- plan.jsonl ---

/// Source of a global sample id, and the id within it.
std::pair<std::size_t, std::uint64_t> place_of(const BatchPlan& plan, std::uint64_t sample) {
    std::size_t source = plan.sources.size();
    while (source > 1 && plan.sources[source - 1].sample_base > sample) --source;
    return {source - 1, sample - plan.sources[source - 1].sample_base};
}

std::string jsonl_line(const BatchPlan& plan, const std::vector<PlanInput>& inputs, std::uint64_t epoch,
                       std::uint64_t step, std::uint64_t pack) {
    std::string samples, packing, offsets, keys;
    std::uint64_t at = 0;
    bool any_offset = false;
    bool any_key = false;
    for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s) {
        const char* comma = s == plan.pack_begin[pack] ? "" : ",";
        const std::uint64_t end = at + plan.segment_tokens[s];
        samples += comma + std::to_string(plan.segment_sample[s]);
        packing += std::string(comma) + "[" + std::to_string(at) + "," + std::to_string(end) + "]";
        offsets += comma + std::to_string(plan.segment_offset[s]);
        any_offset = any_offset || plan.segment_offset[s] != 0;
        if (!inputs.empty()) {
            const auto [source, sample] = place_of(plan, plan.segment_sample[s]);
            const std::string key = inputs[source].key(sample);
            any_key = any_key || !key.empty();
            keys += comma + json(key).dump();
        }
        at = end;
    }
    std::string line = "{\"step\":" + std::to_string(step) + ",\"pack\":" + std::to_string(pack) +
                       ",\"epoch\":" + std::to_string(epoch) + ",\"samples\":[" + samples + "]";
    if (any_key) line += ",\"keys\":[" + keys + "]";
    line += ",\"tokens\":" + std::to_string(at) + ",\"packing\":[" + packing + "]";
    if (any_offset) line += ",\"offsets\":[" + offsets + "]";
    return line + "}\n";
}

void for_each_jsonl_line(const BatchPlan& plan, const std::vector<PlanInput>& inputs,
                         const std::function<void(const std::string&)>& deliver) {
    for (std::uint64_t epoch = 0; epoch < plan.num_epochs(); ++epoch) {
        for (std::uint64_t step = plan.epoch_begin[epoch]; step < plan.epoch_begin[epoch + 1]; ++step) {
            for (std::uint64_t pack = plan.step_begin[step]; pack < plan.step_begin[step + 1]; ++pack) {
                deliver(jsonl_line(plan, inputs, epoch, step, pack));
            }
        }
    }
}

Digest write_jsonl(const std::filesystem::path& path, const BatchPlan& plan,
                   const std::vector<PlanInput>& inputs) {
    const std::filesystem::path temporary = temporary_path(path);
    DigestStream digest;
    {
        std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
        for_each_jsonl_line(plan, inputs, [&](const std::string& line) {
            file << line;
            digest.update(std::as_bytes(std::span(line.data(), line.size())));
        });
        file.close();
        if (!file) throw_errno("write", temporary.string(), errno, "free some space");
    }
    publish_file(temporary, path, Overwrite::no);
    return digest.value();
}

Digest digest_of_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw_errno("read", path.string(), errno);
    DigestStream digest;
    std::vector<char> buffer(1U << 20U);
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount() > 0) {
        digest.update(std::as_bytes(std::span(buffer.data(), static_cast<std::size_t>(file.gcount()))));
    }
    return digest.value();
}

// --- the JSON files ---

std::string utc_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

json metadata_of(const BatchPlan& plan) {
    const PlanColumns columns = to_columns(plan);
    json sources = json::array();
    for (const PlanSource& source : plan.sources) {
        sources.push_back(
            {{"name", source.name}, {"samples", source.num_samples}, {"sample_base", source.sample_base}});
    }
    return {{"format", "lockstep-plan-metadata"},
            {"plan_format_version", plan_format_version},
            {"tool_version", tool_version},
            {"created_at", utc_now()},
            {"seed", plan.options.seed},
            {"options", json::parse(columns.texts.at("options"))},
            {"algorithms", plan.algorithms},
            {"sources", sources},
            {"counts",
             {{"segments", plan.num_segments()},
              {"packs", plan.num_packs()},
              {"steps", plan.num_steps()},
              {"epochs", plan.num_epochs()}}}};
}

json fingerprints_of(const BatchPlan& plan) {
    const PlanFingerprints& prints = plan.fingerprints;
    const auto hex_list = [](const std::vector<Fingerprint>& list) {
        json texts = json::array();
        for (const Fingerprint& print : list) texts.push_back(print.hex());
        return texts;
    };
    const auto per_source = [&](auto member) {
        json texts = json::array();
        for (const PlanSource& source : plan.sources) {
            const Fingerprint& print = source.*member;
            texts.push_back(print.empty() ? json(nullptr) : json(print.hex()));
        }
        return texts;
    };
    return {{"format", "lockstep-plan-fingerprints"},
            {"format_version", 1},
            {"plan", prints.plan.hex()},
            {"settings", prints.settings.hex()},
            {"order", prints.order.hex()},
            {"lengths", per_source(&PlanSource::lengths)},
            {"tokenizer", per_source(&PlanSource::tokenizer)},
            {"corpus", per_source(&PlanSource::corpus)},
            {"epochs", hex_list(prints.epochs)},
            {"chunks", hex_list(prints.chunks)},
            {"chunk_begin", prints.chunk_begin},
            {"steps_per_chunk", prints.steps_per_chunk}};
}

json stats_json(const PlanStats& s) {
    json balance = json::array();
    for (const auto& b : s.balance) {
        balance.push_back({{"world_size", b.world_size}, {"slowest_over_mean", b.slowest_over_mean}});
    }
    json buckets = json::array();
    for (const auto& b : s.buckets) {
        buckets.push_back(
            {{"upper", b.upper}, {"samples", b.samples}, {"tokens", b.tokens}, {"pad_tokens", b.pad_tokens}});
    }
    const auto kind = [&](DispositionKind k) {
        const auto index = static_cast<std::size_t>(k);
        return index < s.dispositions_by_kind.size() ? s.dispositions_by_kind[index] : 0;
    };
    return {{"samples", s.samples},
            {"segments", s.segments},
            {"packs", s.packs},
            {"steps", s.steps},
            {"epochs", s.epochs},
            {"planned_tokens", s.planned_tokens},
            {"overlap_tokens", s.overlap_tokens},
            {"targets", s.targets},
            {"packs_lower_bound", s.packs_lower_bound},
            {"packs_first_epoch", s.packs_first_epoch},
            {"over_budget_packs", s.over_budget_packs},
            {"left_out_by_drop_last", s.left_out_by_drop_last},
            {"utilization", s.utilization},
            {"padding_waste_padded", s.padding_waste_padded},
            {"packing_ratio", s.packing_ratio},
            {"balance", balance},
            {"buckets", buckets},
            {"dispositions",
             {{"split", kind(DispositionKind::split)},
              {"truncated", kind(DispositionKind::truncated)},
              {"dropped", kind(DispositionKind::dropped)},
              {"empty", kind(DispositionKind::empty)},
              {"no_target", kind(DispositionKind::no_target)}}}};
}

/// fingerprints.json and its record of the other files; @throws Error{corrupt_data}.
json read_fingerprints(const std::filesystem::path& directory) {
    const std::filesystem::path path = directory / "fingerprints.json";
    return json::parse(unseal_json(read_file(path), path.string()));
}

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "'" + path.string() + "': " + what +
                                             "; build the plan again or restore the folder from a copy");
}

}  // namespace

void check_fingerprints_file(const std::filesystem::path& directory, const BatchPlan& plan) {
    const json found = read_fingerprints(directory);
    const json expected = fingerprints_of(plan);
    for (const auto& [field, value] : expected.items()) {
        if (!found.contains(field) || found[field] != value) {
            refuse(directory / "fingerprints.json",
                   "field '" + field + "' is " +
                       (found.contains(field) ? found[field].dump().substr(0, 80) : "missing") +
                       ", plan.h5 says " + value.dump().substr(0, 80));
        }
    }
}

namespace {

void remove_folder(const std::filesystem::path& directory) {
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
}

}  // namespace

WriteJsonl parse_write_jsonl(std::string_view text) {
    if (text == "auto") return WriteJsonl::automatic;
    if (text == "always") return WriteJsonl::always;
    if (text == "never") return WriteJsonl::never;
    throw Error(ErrorCode::invalid_argument,
                "--jsonl is '" + std::string(text) + "'; expected auto, always or never");
}

SavedPlan save_plan(const std::filesystem::path& directory, const BatchPlan& plan, const PlanStats& stats,
                    const std::vector<PlanInput>& inputs, WriteJsonl jsonl, Overwrite overwrite) {
    const std::filesystem::path target =
        std::filesystem::absolute(directory / ".").lexically_normal().parent_path();
    std::error_code failure;
    const bool exists = std::filesystem::exists(target, failure);
    if (exists && overwrite == Overwrite::no) {
        throw Error(ErrorCode::output_exists,
                    "plan folder '" + directory.string() +
                        "' exists; pass --force to replace it or choose another -o");
    }
    if (exists && !std::filesystem::exists(target / "plan.h5") && !std::filesystem::is_empty(target)) {
        throw Error(
            ErrorCode::output_exists,
            "'" + directory.string() + "' exists and is not a plan folder; --force replaces only plans");
    }
    const std::filesystem::path building = target.parent_path() / (target.filename().string() + ".tmp");
    remove_folder(building);
    std::filesystem::create_directories(building, failure);
    if (failure) throw_errno("make directory", building.string(), failure.value());

    SavedPlan saved;
    try {
        const auto columns = write_columns(building / "plan.h5", plan);
        json files = {{"plan.h5", columns.digest_hex}};
        saved.wrote_jsonl = jsonl == WriteJsonl::always ||
                            (jsonl == WriteJsonl::automatic && plan.num_segments() <= jsonl_segments_max);
        if (saved.wrote_jsonl) {
            files["plan.jsonl"] = write_jsonl(building / "plan.jsonl", plan, inputs).hex();
        }
        json fingerprints = fingerprints_of(plan);
        fingerprints["files"] = files;
        write_file_atomically(building / "fingerprints.json", seal_json(fingerprints.dump()), Overwrite::no);
        write_file_atomically(building / "metadata.json", seal_json(metadata_of(plan).dump()), Overwrite::no);
        write_file_atomically(building / "stats.json", stats_json(stats).dump(2) + "\n", Overwrite::no);
        sync_directory(building);
        if (exists) {
            const std::filesystem::path old = target.parent_path() / (target.filename().string() + ".old");
            remove_folder(old);
            std::filesystem::rename(target, old);
            std::filesystem::rename(building, target);
            sync_directory(target.parent_path());
            remove_folder(old);
        } else {
            std::filesystem::rename(building, target);
            sync_directory(target.parent_path());
        }
    } catch (const std::filesystem::filesystem_error& error) {
        remove_folder(building);
        throw Error(ErrorCode::io_failure,
                    "cannot publish plan folder '" + directory.string() + "': " + error.code().message());
    } catch (...) {
        remove_folder(building);
        throw;
    }
    return saved;
}

BatchPlan load_plan(const std::filesystem::path& directory, PlanCheck check) {
    if (!std::filesystem::is_directory(directory)) {
        throw Error(ErrorCode::not_found, "plan folder '" + directory.string() +
                                              "' does not exist; build it with lockstep batchplan build");
    }
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

void check_plan_files(const std::filesystem::path& directory, const BatchPlan& plan) {
    check_fingerprints_file(directory, plan);
    const json fingerprints = read_fingerprints(directory);
    const json files = fingerprints.value("files", json::object());
    const ColumnFile columns =
        ColumnFile::open(directory / "plan.h5", plan_format, plan_format_version, VerifyAtOpen::everything);
    if (files.value("plan.h5", "") != columns.digest_hex()) {
        refuse(directory / "fingerprints.json", "it belongs to another plan.h5");
    }
    const std::filesystem::path jsonl = directory / "plan.jsonl";
    if (files.contains("plan.jsonl") != std::filesystem::exists(jsonl)) {
        refuse(jsonl, files.contains("plan.jsonl") ? "the file is missing"
                                                   : "the file does not belong to this plan");
    }
    if (files.contains("plan.jsonl") && digest_of_file(jsonl).hex() != files["plan.jsonl"]) {
        refuse(jsonl, "its digest is not the one in fingerprints.json");
    }
    const std::filesystem::path metadata = directory / "metadata.json";
    const json meta = json::parse(unseal_json(read_file(metadata), metadata.string()));
    const json expected = metadata_of(plan);
    for (const char* field : {"options", "algorithms", "counts", "seed", "sources"}) {
        if (!meta.contains(field) || meta[field] != expected[field]) {
            refuse(metadata, std::string("field '") + field + "' does not agree with plan.h5");
        }
    }
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        const std::string name = entry.path().filename().string();
        if (name != "plan.h5" && name != "plan.jsonl" && name != "fingerprints.json" &&
            name != "metadata.json" && name != "stats.json") {
            refuse(entry.path(), "a plan folder holds no such file");
        }
    }
}

namespace {

void require_same(const std::string& what, const PlanSource& source, const Fingerprint& expected,
                  const Fingerprint& found, const char* advice) {
    if (expected == found) return;
    throw Error(ErrorCode::fingerprint_mismatch,
                "source '" + source.name + "': the plan was built for " + what + " " + expected.brief() +
                    "…, the corpus given has " + found.brief() + "…; " + advice);
}

}  // namespace

std::vector<PlanSource> bind_plan(BatchPlan& plan, const std::vector<PlanInput>& inputs) {
    if (inputs.size() != plan.sources.size()) {
        throw Error(ErrorCode::invalid_argument,
                    "the plan has " + std::to_string(plan.sources.size()) + " source(s), " +
                        std::to_string(inputs.size()) +
                        " corpora were given; pass one -d for each, in the plan's order");
    }
    std::vector<PlanSource> bound = plan.sources;
    std::vector<SourceLengths> lengths;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        const PlanSource& source = plan.sources[i];
        if (!inputs[i].corpus()) {
            throw Error(ErrorCode::invalid_argument, "source '" + source.name + "': '" + inputs[i].name() +
                                                         "' is a lengths file; training needs a corpus");
        }
        const Corpus& corpus = *inputs[i].corpus();
        if (!source.tokenizer.empty()) {
            require_same("tokenizer", source, source.tokenizer, corpus.tokenizer().fingerprint,
                         "ingest again with that tokenizer, or build a plan for this corpus");
        } else if (!source.tokenizer_hash.empty() &&
                   source.tokenizer_hash != corpus.tokenizer().fingerprint.hex()) {
            throw Error(ErrorCode::fingerprint_mismatch,
                        "source '" + source.name + "': the lengths were made by tokenizer " +
                            source.tokenizer_hash.substr(0, 12) + "…, the corpus by " +
                            corpus.tokenizer().fingerprint.brief() +
                            "…; build the lengths again from this corpus");
        }
        require_same("sample lengths", source, source.lengths, corpus.lengths_fingerprint(),
                     "give the corpus the plan was built from");
        if (!source.corpus.empty()) {
            require_same("corpus content", source, source.corpus, corpus.content_fingerprint(),
                         "give the corpus the plan was built from");
        }
        bound[i].corpus = corpus.content_fingerprint();
        bound[i].tokenizer = corpus.tokenizer().fingerprint;
        lengths.push_back(inputs[i].lengths());
        lengths.back().source.sample_base = source.sample_base;
        lengths.back().source.num_samples = source.num_samples;
    }
    if (!plan.pack_targets.empty()) return bound;
    plan.pack_targets.assign(plan.num_packs(), 0);
    for (std::uint64_t pack = 0; pack < plan.num_packs(); ++pack) {
        for (std::uint64_t s = plan.pack_begin[pack]; s < plan.pack_begin[pack + 1]; ++s) {
            const auto [source, sample] = place_of(plan, plan.segment_sample[s]);
            plan.pack_targets[pack] +=
                segment_targets(lengths[source], sample, plan.segment_offset[s], plan.segment_tokens[s]);
        }
    }
    return bound;
}

}  // namespace lockstep
