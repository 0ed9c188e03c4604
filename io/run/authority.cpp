#include "io/run/authority.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace lockstep {

namespace {

constexpr std::array<std::string_view, 3> folders_without = {"abandoned", "heartbeat", "logs"};
constexpr std::array<std::string_view, 7> files_without = {
    "LOCK",          "generations.jsonl", "heartbeat.json", "leftovers.json",
    "metrics.jsonl", "stats.json",        "supervisor.json"};

template <class List>
bool is_one_of(const List& list, const std::filesystem::path& name) {
    return std::find(list.begin(), list.end(), name.string()) != list.end();
}

}  // namespace

bool has_authority(const std::filesystem::path& place) {
    const auto in_folder_without = [](const std::filesystem::path& part) {
        return is_one_of(folders_without, part);
    };
    const std::filesystem::path folder = place.parent_path();
    return !is_one_of(files_without, place.filename()) &&
           std::none_of(folder.begin(), folder.end(), in_folder_without);
}

}  // namespace lockstep
