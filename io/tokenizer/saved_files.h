// io/tokenizer/saved_files.h
//
// The JSON files of a tokenizer as it was saved: how they are read, and what
// tokenizer_config.json says.

#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

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
    std::string chat_template;
};
/// @param text           tokenizer_config.json; may be empty.
/// @param chat_template  chat_template.jinja, which counts for more; may be empty.
SavedConfig saved_config_of(std::string_view text, std::string_view chat_template);

}  // namespace lockstep
