// coordinator/run_record.h
//
// run.json: what a run is, published before its first step (docs/formats/run.md).

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/base/fingerprint.h"

namespace lockstep {

struct RunCorpus {
    std::string name;
    std::string path;  ///< Absolute.
    Fingerprint content;
};

struct RunRecord {
    std::string settings_json;  ///< The worker's settings, as an object; not understood here.
    std::string numerics;
    Fingerprint model;      ///< Of those settings.
    std::string plan_path;  ///< Absolute.
    Fingerprint plan;
    std::vector<RunCorpus> corpora;
    std::uint64_t checkpoint_every = 0;
    std::uint64_t keep = 2;
};

std::filesystem::path run_record_path(const std::filesystem::path& run);

/// @throws Error{output_exists} if the run exists already.
void write_run_record(const std::filesystem::path& run, const RunRecord& record);

/// @throws Error{not_found} naming the folder; Error{corrupt_data, incompatible_version}.
RunRecord read_run_record(const std::filesystem::path& run);

}  // namespace lockstep
