#include "io/run/heartbeat.h"

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

namespace lockstep {

namespace {

using nlohmann::ordered_json;

/// Host names are at most 255 bytes; a line must hold the rest too.
constexpr std::size_t host_bytes_max = 200;

/// @throws ordered_json::exception if it is no whole number, or none of the type.
template <class T>
T whole_number(const ordered_json& object, const char* name) {
    const ordered_json& value = object.at(name);
    const bool whole = value.is_number_unsigned()
                           ? std::in_range<T>(value.get<std::uint64_t>())
                           : value.is_number_integer() && std::in_range<T>(value.get<std::int64_t>());
    if (!whole) throw ordered_json::type_error::create(302, "no whole number of its range", &value);
    return value.get<T>();
}

/// One line, as it is shown to people.
std::string line_of(const ordered_json& object, const char* name) {
    std::string text = object.at(name).get<std::string>();
    for (char& c : text)
        if (static_cast<unsigned char>(c) < ' ') c = '?';
    return text;
}

}  // namespace

std::filesystem::path heartbeat_path(const std::filesystem::path& run, Rank rank) {
    if (rank.value == 0) return run / "heartbeat.json";
    char name[32];
    std::snprintf(name, sizeof name, "rank-%05d.json", rank.value);
    return run / "heartbeat" / name;
}

std::string to_json_line(const Heartbeat& beat) {
    ordered_json object = {{"rank", beat.rank},
                           {"world_size", beat.world_size},
                           {"host", beat.host.substr(0, host_bytes_max)},
                           {"pid", beat.pid},
                           {"step", beat.step},
                           {"phase", beat.phase.substr(0, 32)},
                           {"pack", nullptr},
                           {"progress", beat.progress},
                           {"monotonic_seconds", beat.monotonic_seconds},
                           {"training", beat.training},
                           {"ended", beat.ended}};
    if (beat.pack) object["pack"] = *beat.pack;
    std::string line = object.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    line.resize(heartbeat_bytes - 1, ' ');
    return line + "\n";
}

std::optional<Heartbeat> heartbeat_from_json(std::string_view text) {
    const auto object = ordered_json::parse(text, nullptr, false);
    if (!object.is_object()) return std::nullopt;
    try {
        Heartbeat beat;
        beat.rank = whole_number<int>(object, "rank");
        beat.world_size = whole_number<int>(object, "world_size");
        beat.host = line_of(object, "host");
        beat.pid = whole_number<std::int64_t>(object, "pid");
        beat.step = whole_number<std::uint64_t>(object, "step");
        beat.phase = line_of(object, "phase");
        if (!object.at("pack").is_null()) beat.pack = whole_number<std::uint64_t>(object, "pack");
        beat.progress = whole_number<std::uint64_t>(object, "progress");
        object.at("monotonic_seconds").get_to(beat.monotonic_seconds);
        object.at("training").get_to(beat.training);
        object.at("ended").get_to(beat.ended);
        return beat;
    } catch (const ordered_json::exception&) {
        return std::nullopt;
    }
}

std::optional<Heartbeat> read_heartbeat_file(const std::filesystem::path& path, Rank rank) {
    std::ifstream file(path, std::ios::binary);
    std::string text(heartbeat_bytes, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.gcount() != static_cast<std::streamsize>(text.size())) return std::nullopt;
    const auto beat = heartbeat_from_json(text);
    return beat && beat->rank == rank.value ? beat : std::nullopt;
}

std::optional<Heartbeat> read_heartbeat(const std::filesystem::path& run, Rank rank) {
    return read_heartbeat_file(heartbeat_path(run, rank), rank);
}

void remove_heartbeats(const std::filesystem::path& run) {
    std::error_code ignored;
    std::filesystem::remove(heartbeat_path(run, Rank{0}), ignored);
    std::filesystem::remove_all(run / "heartbeat", ignored);
}

std::string describe(Rank rank, const std::optional<Heartbeat>& beat) {
    std::string text = "rank " + std::to_string(rank.value);
    if (!beat) return text;
    text += " on host " + beat->host + ", last in ";
    if (beat->training) text += "step " + std::to_string(beat->step) + ", ";
    text += beat->phase;
    if (beat->pack) text += ", pack " + std::to_string(*beat->pack);
    return text;
}

}  // namespace lockstep
