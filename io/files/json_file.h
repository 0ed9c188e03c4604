// io/files/json_file.h
//
// JSON objects as people and other programs leave them beside a model.

#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace lockstep {

/// Where in `text` a JSON parser would stop as at the end, though more follows: at a zero byte.
/// @return npos if there is none.
std::size_t find_early_end(std::string_view text);

/// @param what  the file is, for errors: "model config".
/// @throws Error{not_found, io_failure}; Error{corrupt_data} if it is no regular file, no JSON (naming the
///         byte) or no object.
nlohmann::json read_json_object(const std::filesystem::path& path, const std::string& what);

}  // namespace lockstep
