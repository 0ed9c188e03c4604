#include "io/files/json_file.h"

#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"

namespace lockstep {

using nlohmann::json;

std::size_t find_early_end(std::string_view text) {
    return text.find('\0');
}

json read_json_object(const std::filesystem::path& path, const std::string& what) {
    const std::string place = what + " '" + path.string() + "' ";
    // Opening a pipe that nobody writes to would never end.
    if (path_exists(path) && !std::filesystem::is_regular_file(path))
        throw Error(ErrorCode::corrupt_data, place + "is no regular file, expected one that holds JSON");
    const std::string text = read_file(path);
    const auto malformed = [&](std::size_t byte) {
        throw Error(ErrorCode::corrupt_data, place + "is not JSON: malformed at byte " +
                                                 std::to_string(byte) + " of " + std::to_string(text.size()));
    };
    if (const std::size_t end = find_early_end(text); end != std::string::npos) malformed(end + 1);
    json object;
    try {
        object = json::parse(text);
    } catch (const json::parse_error& failure) {
        malformed(failure.byte);
    } catch (const json::out_of_range&) {
        throw Error(ErrorCode::corrupt_data, place + "holds a number that no double can hold");
    }
    if (!object.is_object()) throw Error(ErrorCode::corrupt_data, place + "is not a JSON object");
    return object;
}

}  // namespace lockstep
