#include "coordinator/plan_tokenizers.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "coordinator/ingest/tokenizer_parts.h"
#include "io/base/error.h"
#include "io/files/sealed_json.h"

namespace lockstep {

namespace {

using nlohmann::json;

/// Null if metadata.json says nothing of this source: older plans, damaged files.
json recorded_tokenizer(const std::filesystem::path& directory, std::size_t source) {
    const std::filesystem::path path = directory / "metadata.json";
    try {
        const json metadata = json::parse(unseal_json(read_file(path), path.string()));
        return metadata.at("tokenizers").at(source);
    } catch (const Error&) {
        return {};
    } catch (const json::exception&) {
        return {};
    }
}

}  // namespace

json tokenizer_records(const std::vector<PlanInput>& inputs) {
    json records = json::array();
    for (const PlanInput& input : inputs) {
        const auto& corpus = input.corpus();
        records.push_back(corpus ? tokenizer_record(corpus->tokenizer().description_json) : json());
    }
    return records;
}

std::string problem_of_tokenizer_records(const json& metadata, std::size_t num_sources) {
    if (!metadata.contains("tokenizers")) return {};
    const json& records = metadata.at("tokenizers");
    // A plan made without its inputs has none.
    if (!records.is_array() || (!records.empty() && records.size() != num_sources))
        return "field 'tokenizers' is not a list with an entry for each source";
    for (std::size_t i = 0; i < records.size(); ++i) {
        const std::string place = "field 'tokenizers[" + std::to_string(i) + "]'";
        if (records[i].is_null()) continue;
        if (!records[i].is_array()) return place + " is not a list of parts";
        for (const json& part : records[i])
            if (!is_tokenizer_part(part)) return place + " holds what is no part of a tokenizer";
    }
    return {};
}

void require_same_tokenizers(const std::filesystem::path& directory, const std::vector<PlanSource>& sources,
                             const std::vector<PlanInput>& inputs) {
    for (std::size_t i = 0; i < std::min(inputs.size(), sources.size()); ++i) {
        const PlanSource& source = sources[i];
        const auto& corpus = inputs[i].corpus();
        if (!corpus || source.tokenizer.empty() || source.tokenizer == corpus->tokenizer().fingerprint)
            continue;
        const std::string change =
            describe_change_since(recorded_tokenizer(directory, i), corpus->tokenizer().description_json);
        throw Error(ErrorCode::fingerprint_mismatch,
                    "source '" + source.name + "': '" + corpus->path().string() + "' has tokenizer " +
                        corpus->tokenizer().fingerprint.brief() + "…, expected " + source.tokenizer.brief() +
                        "…, which the plan was built for" + (change.empty() ? "" : " (" + change + ")") +
                        "; ingest again with that tokenizer, or build a plan for this corpus");
    }
}

}  // namespace lockstep
