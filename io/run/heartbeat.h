// io/run/heartbeat.h
//
// What a rank is doing, in a small file beside the run: for whoever has to name a
// rank that fell silent, and for the supervisor. Without authority: nothing of a
// run's state follows from it.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "io/base/ids.h"

namespace lockstep {

struct Heartbeat {
    int rank = 0;
    int world_size = 1;
    std::string host;
    std::int64_t pid = 0;
    std::string phase = "starting";
    std::uint64_t step = 0;
    std::optional<std::uint64_t> pack;  ///< While one is computed.
    std::uint64_t progress = 0;         ///< Grows with every phase and pack: standing still is silence.
    double monotonic_seconds = 0;  ///< Clock of the host when it was written; never compared across hosts.
    bool training = false;         ///< The first step has begun.
    bool ended = false;            ///< The rank is ending in order, or has said why not.
    friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};

/// Rank 0's is run/heartbeat.json, the others' are run/heartbeat/rank-00001.json and so on.
std::filesystem::path heartbeat_path(const std::filesystem::path& run, Rank rank);

/// Environment variable: where rank 0 reports before it holds the run, for the supervisor that set it. Of the
/// names that mpirun hands to ranks on every host by itself: a site may forbid its -x.
inline constexpr const char* start_heartbeat_variable = "OMPI_LOCKSTEP_START_HEARTBEAT";

/// One line of heartbeat_bytes bytes, blank-padded, so that it can be replaced in place by one write.
std::string to_json_line(const Heartbeat& beat);
inline constexpr std::size_t heartbeat_bytes = 512;

/// None when the text is not a whole heartbeat.
std::optional<Heartbeat> heartbeat_from_json(std::string_view text);

/// None when there is no file, it is torn, or of another rank.
std::optional<Heartbeat> read_heartbeat_file(const std::filesystem::path& path, Rank rank);
std::optional<Heartbeat> read_heartbeat(const std::filesystem::path& run, Rank rank);

/// Remove what an earlier start left. For whoever starts the run, before it starts.
void remove_heartbeats(const std::filesystem::path& run);

/// "rank 2 on host n3, last in step 12, forward, pack 38"; only the rank when there is no heartbeat.
std::string describe(Rank rank, const std::optional<Heartbeat>& beat);

}  // namespace lockstep
