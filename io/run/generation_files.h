// io/run/generation_files.h
//
// Names and places of a run's generations, for those who read, settle, prune and
// watch them.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "io/run/checkpoint.h"

namespace lockstep {

inline constexpr std::string_view manifest_file_name = "manifest.json";

std::string zero_padded(std::uint64_t number, std::size_t digits);

/// Steps of all generation directories, committed or not, ascending.
std::vector<std::uint64_t> generation_steps(const std::filesystem::path& run);

std::filesystem::path manifest_path(const std::filesystem::path& run, std::uint64_t step);

/// @throws Error{corrupt_data, incompatible_version, not_found, io_failure}.
Manifest read_manifest(const std::filesystem::path& run, std::uint64_t step);

}  // namespace lockstep
