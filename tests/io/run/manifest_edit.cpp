#include "tests/io/run/manifest_edit.h"

#include <span>

#include <nlohmann/json.hpp>

#include "io/base/digest.h"

namespace lockstep {
namespace {

using Json = nlohmann::json;

std::string sealed(Json document) {
    document["digest"] = digest_of_manifest(document.dump());
    return document.dump(2) + "\n";
}

void collect(const Json& at, const std::string& pointer, std::vector<std::string>& pointers) {
    for (const auto& [key, value] : at.items()) {
        const std::string here = pointer + "/" + key;
        if (here == "/digest") continue;
        pointers.push_back(here);
        if (value.is_structured()) collect(value, here, pointers);
    }
}

}  // namespace

std::vector<std::string> pointers_of(const std::string& json) {
    std::vector<std::string> pointers;
    collect(Json::parse(json), "", pointers);
    return pointers;
}

std::string with_value(const std::string& json, const std::string& pointer, const std::string& value) {
    Json document = Json::parse(json);
    document[Json::json_pointer(pointer)] = Json::parse(value);
    return sealed(std::move(document));
}

std::string without_member(const std::string& json, const std::string& pointer) {
    Json document = Json::parse(json);
    const Json::json_pointer member(pointer);
    document[member.parent_pointer()].erase(member.back());
    return sealed(std::move(document));
}

std::string digest_of_manifest(const std::string& json) {
    Json document = Json::parse(json);
    document.erase("digest");
    const std::string canonical = document.dump();
    return digest_of(std::as_bytes(std::span(canonical))).hex();
}

}  // namespace lockstep
