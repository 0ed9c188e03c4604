#include "io/run/generation_files.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view generation_prefix = "step-";

/// Step of a generation's directory name; none for any other name.
std::optional<std::uint64_t> step_of_directory(const fs::path& directory) {
    const std::string name = directory.filename().string();
    if (!name.starts_with(generation_prefix)) return std::nullopt;
    std::uint64_t step = 0;
    const char* const begin = name.data() + generation_prefix.size();
    const char* const end = name.data() + name.size();
    const auto [last, failure] = std::from_chars(begin, end, step);
    // Only the name we would give counts, so that two directories never mean one step.
    if (failure != std::errc() || last != end || zero_padded(step, 8) != std::string_view(begin, end)) {
        return std::nullopt;
    }
    return step;
}

}  // namespace

std::string zero_padded(std::uint64_t number, std::size_t digits) {
    const std::string text = std::to_string(number);
    return std::string(text.size() < digits ? digits - text.size() : 0, '0') + text;
}

fs::path generation_directory(const fs::path& run, std::uint64_t step) {
    return run / "checkpoints" / (std::string(generation_prefix) + zero_padded(step, 8));
}

std::vector<std::uint64_t> generation_steps(const fs::path& run) {
    std::vector<std::uint64_t> steps;
    for (const fs::path& entry : directory_entries(run / "checkpoints")) {
        if (const auto step = step_of_directory(entry)) steps.push_back(*step);
    }
    std::sort(steps.begin(), steps.end());
    return steps;
}

fs::path manifest_path(const fs::path& run, std::uint64_t step) {
    return generation_directory(run, step) / manifest_file_name;
}

Manifest read_manifest(const fs::path& run, std::uint64_t step) {
    const fs::path path = manifest_path(run, step);
    Manifest manifest = manifest_from_json(read_file(path), path.string());
    if (manifest.step != step) {
        throw Error(ErrorCode::corrupt_data,
                    "manifest '" + path.string() + "' is of step " + std::to_string(manifest.step) +
                        ", expected " + std::to_string(step) +
                        " as its folder is named; it was copied here, move the generation away");
    }
    return manifest;
}

}  // namespace lockstep
