#include "io/tokenizer/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/tokenizer/description.h"
#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

constexpr std::uint64_t description_version = 1;

[[noreturn]] void refuse(const std::string& problem) {
    throw Error(ErrorCode::corrupt_data, "tokenizer description: " + problem);
}

std::string text_field(const nlohmann::json& description, const char* name) {
    const auto field = description.find(name);
    if (field == description.end() || !field->is_string())
        refuse(std::string("no text in field '") + name + "'");
    return field->get<std::string>();
}

/// True for `first`, false for `second`.
bool choice_field(const nlohmann::json& description, const char* name, const char* first,
                  const char* second) {
    const std::string value = text_field(description, name);
    if (value == first) return true;
    if (value == second) return false;
    refuse(std::string("field '") + name + "' is '" + value + "'; expected " + first + " or " + second);
}

AddSpecial add_field(const nlohmann::json& description, const char* name) {
    return choice_field(description, name, "auto", "none") ? AddSpecial::automatic : AddSpecial::none;
}

void check_version(const nlohmann::json& description) {
    const auto version = description.find("version");
    if (version == description.end() || !version->is_number_unsigned())
        refuse("no number in field 'version'");
    const auto value = version->get<std::uint64_t>();
    if (value > description_version) {
        throw Error(ErrorCode::incompatible_version,
                    "tokenizer description is of version " + std::to_string(value) +
                        "; this build reads up to version " + std::to_string(description_version));
    }
}

std::vector<char32_t> code_points_field(const nlohmann::json& description) {
    const auto field = description.find("code_points");
    if (field == description.end() || !field->is_array()) refuse("no array in field 'code_points'");
    std::vector<char32_t> code_points;
    code_points.reserve(field->size());
    for (const nlohmann::json& value : *field) {
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() > 0x10FFFF) {
            refuse("'" + value.dump() + "' in field 'code_points' is no code point");
        }
        code_points.push_back(value.get<char32_t>());
    }
    return code_points;
}

}  // namespace

nlohmann::json describe(std::string_view type, const SpecialsPolicy& policy) {
    const auto add = [](AddSpecial special) { return special == AddSpecial::automatic ? "auto" : "none"; };
    return {{"type", type},
            {"version", description_version},
            {"bos", add(policy.bos)},
            {"eos", add(policy.eos)},
            {"specials", policy.literal == LiteralSpecials::text ? "text" : "parse"}};
}

SpecialsPolicy policy_of(const nlohmann::json& description) {
    SpecialsPolicy policy;
    policy.bos = add_field(description, "bos");
    policy.eos = add_field(description, "eos");
    policy.literal = choice_field(description, "specials", "text", "parse") ? LiteralSpecials::text
                                                                            : LiteralSpecials::parse;
    return policy;
}

FingerprintBuilder begin_tokenizer_fingerprint(std::string_view type, const SpecialsPolicy& policy,
                                               std::string_view unicode_tables) {
    FingerprintBuilder builder("lockstep-tokenizer-v1");
    builder.add(type)
        .add(static_cast<std::uint64_t>(policy.bos))
        .add(static_cast<std::uint64_t>(policy.eos))
        .add(static_cast<std::uint64_t>(policy.literal))
        .add(unicode_tables);
    return builder;
}

std::unique_ptr<Tokenizer> make_tokenizer_from_description(std::string_view description_json) {
    const nlohmann::json description = nlohmann::json::parse(description_json, nullptr, false);
    if (!description.is_object()) refuse("not a JSON object");
    check_version(description);
    const std::string type = text_field(description, "type");
    const SpecialsPolicy policy = policy_of(description);
    if (type == "bytes") return make_bytes_tokenizer(policy);
    if (type == "chars") {
        try {
            return make_chars_tokenizer(code_points_field(description), policy);
        } catch (const Error& error) {
            // What is a wrong argument elsewhere is damage here.
            refuse(error.what());
        }
    }
    if (auto loaded = make_file_tokenizer(description, policy)) return loaded;
    throw Error(ErrorCode::incompatible_version,
                "tokenizer description is of type '" + type +
                    "'; this build knows bytes, chars, tokenizer.json, tiktoken and sentencepiece");
}

std::vector<std::uint32_t> Tokenizer::ids_before() const {
    if (!adds_bos() || !bos_id()) return {};
    return {*bos_id()};
}

std::vector<std::uint32_t> Tokenizer::ids_after() const {
    if (!adds_eos() || !eos_id()) return {};
    return {*eos_id()};
}

void append_ids_before(const Tokenizer& tokenizer, const SpecialsPolicy& policy,
                       std::vector<std::uint32_t>& ids) {
    if (policy.bos != AddSpecial::automatic) return;
    const std::vector<std::uint32_t> before = tokenizer.ids_before();
    ids.insert(ids.end(), before.begin(), before.end());
}

void append_ids_after(const Tokenizer& tokenizer, const SpecialsPolicy& policy,
                      std::vector<std::uint32_t>& ids) {
    if (policy.eos != AddSpecial::automatic) return;
    const std::vector<std::uint32_t> after = tokenizer.ids_after();
    ids.insert(ids.end(), after.begin(), after.end());
}

void encode_document(const Tokenizer& tokenizer, const SpecialsPolicy& policy, std::string_view text,
                     std::vector<std::uint32_t>& ids) {
    append_ids_before(tokenizer, policy, ids);
    tokenizer.encode(text, ids);
    append_ids_after(tokenizer, policy, ids);
}

void collect_code_points(std::string_view text, std::vector<char32_t>& ascending_unique) {
    // A vocabulary is small and soon complete, so nearly every look-up finds its character.
    for (std::size_t offset = 0; offset < text.size();) {
        const char32_t code_point = take_code_point(text, offset);
        const auto place = std::lower_bound(ascending_unique.begin(), ascending_unique.end(), code_point);
        if (place == ascending_unique.end() || *place != code_point)
            ascending_unique.insert(place, code_point);
    }
}

}  // namespace lockstep
