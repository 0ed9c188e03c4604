#include "io/files/sealed_json.h"

#include <nlohmann/json.hpp>

#include "io/base/digest.h"
#include "io/base/error.h"

namespace lockstep {

namespace {

using nlohmann::json;

std::string digest_hex(const json& body) {
    const std::string canonical = body.dump(-1, ' ', false, json::error_handler_t::replace);
    return digest_of(std::as_bytes(std::span(canonical))).hex();
}

}  // namespace

std::string seal_json(std::string_view json_object) {
    json body = json::parse(json_object);
    body["digest"] = digest_hex(body);
    return body.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

nlohmann::json unseal_json_object(std::string_view text, const std::string& origin) {
    json body = json::parse(text, nullptr, false);
    if (!body.is_object()) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + origin + "' is not a JSON object (" + std::to_string(text.size()) +
                        " bytes), expected one with its digest; restore it from a copy");
    }
    if (!body.contains("digest") || !body["digest"].is_string()) {
        throw Error(ErrorCode::corrupt_data,
                    "'" + origin +
                        "' has no digest field, expected that of its content; it was altered or not "
                        "written by lockstep");
    }
    const std::string found = body["digest"];
    body.erase("digest");
    const std::string expected = digest_hex(body);
    if (found != expected) {
        throw Error(ErrorCode::corrupt_data, "'" + origin + "' was altered: its digest is " + expected +
                                                 ", expected " + found.substr(0, 64) +
                                                 " as it says; restore it from a copy");
    }
    return body;
}

std::string unseal_json(std::string_view text, const std::string& origin) {
    return unseal_json_object(text, origin).dump();
}

}  // namespace lockstep
