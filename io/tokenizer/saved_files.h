// io/tokenizer/saved_files.h
//
// The JSON files of a tokenizer as it was saved: how they are read, and what
// tokenizer_config.json says.

#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/tokenizer.h"

namespace lockstep {

/// @param file  its name, for messages.
/// @throws Error{corrupt_data} with line and column; also for what is nested so deeply that functions which
///         call themselves could not walk it.
nlohmann::json parse_saved_json(std::string_view text, const std::string& file);

/// Of two equal names in one object a parser takes the last; here that is an error.
/// @param value  what `text` was parsed to. @throws Error{corrupt_data} naming place and name.
void require_names_once(std::string_view text, const nlohmann::json& value, const std::string& file);

/// "line 3, column 7" of a value, by the names and numbers that lead to it; of what is not there, of the
/// innermost value that is. @param text  JSON that parses.
std::string place_in_json(std::string_view text, std::span<const std::string> path);

/// Tokens by their texts.
struct SavedConfig {
    std::optional<std::string> bos, eos, pad;
    bool without_bos = false, without_eos = false, without_pad = false;  ///< It says that there is none.
    std::string chat_template;                           ///< The one of no name, or named "default".
    std::map<std::string, std::string> named_templates;  ///< The others.
};
/// @param text           tokenizer_config.json; may be empty.
/// @param chat_template  chat_template.jinja, which counts for more; may be empty.
SavedConfig saved_config_of(std::string_view text, std::string_view chat_template);

/// What was saved with a tokenizer, each as text; empty if it is not there.
struct SavedTexts {
    std::string tokenizer, config, specials_map;  ///< tokenizer.json, …_config.json, special_tokens_map.json
};
/// Settings there that are not followed and would change ids or lengths, by name: truncation, padding, BOS
/// and EOS that the configuration wants otherwise than the post-processor has them, tokens that it alone
/// knows.
std::vector<std::string> ignored_settings(const SavedTexts& saved, const Tokenizer& tokenizer);

}  // namespace lockstep
