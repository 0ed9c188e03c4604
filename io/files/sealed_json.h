// io/files/sealed_json.h
//
// JSON files that carry their own digest field, so that no bit of them can change
// unseen (DESIGN §4).

#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace lockstep {

/// The object with a `digest` field added: XXH3-128 of its canonical form (compact, keys sorted) without that
/// field. Indented for people. @pre `json_object` is a JSON object without a `digest` field.
std::string seal_json(std::string_view json_object);

/// Checks the digest and returns the object without it, in canonical form.
/// @throws Error{corrupt_data} naming `origin`: not an object, no digest, or another one.
std::string unseal_json(std::string_view text, const std::string& origin);
/// The same as a value: a long plan's fingerprints are megabytes, which are then read once.
nlohmann::json unseal_json_object(std::string_view text, const std::string& origin);

}  // namespace lockstep
