// tests/fuzz/support/fuzz_json.h
//
// JSON that carries its own digest, given a right one.

#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/files/sealed_json.h"

namespace lockstep::fuzz {

/// The text itself unless it is a JSON object.
inline std::string sealed_again(std::string_view text) {
    nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
    if (!object.is_object()) return std::string(text);
    object.erase("digest");
    return seal_json(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace lockstep::fuzz
