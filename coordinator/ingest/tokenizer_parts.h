// coordinator/ingest/tokenizer_parts.h
//
// A tokenizer in named parts, so that it can be said which of them changed. What
// is compared is the description a corpus holds; a plan keeps digests of its parts.

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lockstep {

struct TokenizerPart {
    std::string name;      ///< "vocabulary", "merges", "normalizer", "chat template", …
    bool is_list = false;  ///< Of entries in order; else one text.
    std::vector<std::string> entries;
};

/// The parts of a description (JSON), in a fixed order. Of one that makes no sense, fewer.
std::vector<TokenizerPart> tokenizer_parts(const std::string& description_json);

/// What a plan keeps of a description: of each part name, digest, and the count of a list, a short text
/// itself or the size of a long one.
nlohmann::json tokenizer_record(const std::string& description_json);
/// True for what could stand in such a record.
bool is_tokenizer_part(const nlohmann::json& part);
/// What is said of a description that differs from a record: "merges: 49992 before, 49993 now"; empty if none
/// of the parts differs, or the record is none.
std::string describe_change_since(const nlohmann::json& record, const std::string& description_json);

}  // namespace lockstep
