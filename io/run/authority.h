// io/run/authority.h
//
// Files of runs and plans from which nothing follows: kept for people and for the
// supervisor, without a digest, and never read to decide what is trained.

#pragma once

#include <filesystem>

namespace lockstep {

/// @param place  of a file below a run's or a plan's folder, relative to it; of one met alone, the name of
///               its folder and its own are enough.
bool has_authority(const std::filesystem::path& place);

}  // namespace lockstep
