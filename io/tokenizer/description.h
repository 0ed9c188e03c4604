// io/tokenizer/description.h
//
// What the descriptions and fingerprints of all tokenizers have in common: the
// type, the version of its description, and the specials policy.

#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "io/base/fingerprint.h"
#include "io/tokenizer/tokenizer.h"

namespace lockstep {

/// The tokenizers that use no Unicode tables (no normalization, no character classes) say so in their
/// fingerprint; the others put the version of their tables here.
constexpr std::string_view no_unicode_tables = "none";

/// {"type": …, "version": 1, "bos": "auto", "eos": "auto", "specials": "text"}; the tokenizer adds its own
/// fields.
nlohmann::json describe(std::string_view type, const SpecialsPolicy& policy);

/// @throws Error{corrupt_data} for a missing or unknown value.
SpecialsPolicy policy_of(const nlohmann::json& description);

/// Type, policy and Unicode tables; the tokenizer adds its vocabulary.
FingerprintBuilder begin_tokenizer_fingerprint(std::string_view type, const SpecialsPolicy& policy,
                                               std::string_view unicode_tables);

/// Descriptions of tokenizers that came from files; null for another type.
std::unique_ptr<Tokenizer> make_file_tokenizer(const nlohmann::json& description,
                                               const SpecialsPolicy& policy);

}  // namespace lockstep
