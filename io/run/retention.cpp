#include "io/run/retention.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

#include "io/base/error.h"
#include "io/base/log.h"
#include "io/files/atomic_file.h"
#include "io/files/commit_hook.h"
#include "io/files/directory.h"
#include "io/files/file_system.h"
#include "io/files/posix_file.h"
#include "io/run/generation_files.h"

namespace lockstep {

namespace fs = std::filesystem;

namespace {

/// @throws Error{io_failure} if it cannot be looked at.
bool has_bytes(const fs::path& path, std::uint64_t bytes) {
    const PosixFile file(path, O_RDONLY | O_NONBLOCK);
    return file.is_regular() && file.size() == bytes;
}

/// Manifest sound and its files there, at their lengths: what can be seen without reading them.
/// @throws Error if the disk does not let us look, which says nothing about the generation.
bool looks_complete(const fs::path& run, std::uint64_t step) {
    try {
        const Manifest manifest = read_manifest(run, step);
        if (manifest.ledger_head && !path_exists(run / "ledger" / manifest.ledger_head->file)) return false;
        return std::all_of(manifest.shards.begin(), manifest.shards.end(), [&](const ShardName& shard) {
            return has_bytes(generation_directory(run, step) / shard.file, shard.file_bytes);
        });
    } catch (const Error& error) {
        if (error.code() != ErrorCode::corrupt_data && error.code() != ErrorCode::incompatible_version &&
            error.code() != ErrorCode::not_found)
            throw;
        return false;
    }
}

}  // namespace

void retire_generation(const fs::path& run, std::uint64_t step) {
    const fs::path generation = generation_directory(run, step);
    const CommitScope scope("prune");
    commit_point("before-manifest");
    // Synced before any shard goes: a manifest that a power cut brings back must find its shards.
    remove_file(manifest_path(run, step));
    sync_directory(generation);
    commit_point("manifest-removed");
    for (const fs::path& entry : directory_entries(generation)) {
        const std::string name = entry.filename().string();
        if (name.starts_with("shard-") && name.ends_with(".h5")) remove_file(entry);
    }
    remove_temporaries(generation);
    commit_point("shards-removed");
    if (file_system().remove_directory(generation.c_str()) != 0) {
        log_root(LogLevel::warning, "'" + generation.string() +
                                        "' holds no generation any more and stays as a directory: " +
                                        std::generic_category().message(errno));
        return;
    }
    sync_directory(generation.parent_path());
    commit_point("directory-removed");
}

std::vector<std::uint64_t> kept_generations(std::span<const std::uint64_t> steps, const RetentionRule& rule) {
    std::vector<std::uint64_t> kept;
    std::uint64_t last_interval = 0;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const std::uint64_t interval = rule.every == 0 ? 0 : steps[i] / rule.every;
        const bool first_of_interval = interval > last_interval;
        last_interval = interval;
        if (first_of_interval || steps.size() - i <= rule.newest) kept.push_back(steps[i]);
    }
    return kept;
}

PruneResult plan_pruning(const fs::path& run, const RetentionRule& rule) {
    if (rule.newest < 2) {
        throw Error(ErrorCode::invalid_argument,
                    "cannot keep " + std::to_string(rule.newest) +
                        " generations (one may turn out damaged); keep at least 2");
    }
    const std::vector<std::uint64_t> steps = generation_steps(run);
    std::vector<std::uint64_t> complete;
    for (const std::uint64_t step : steps) {
        if (looks_complete(run, step)) complete.push_back(step);
    }
    PruneResult result;
    if (complete.empty()) return result;
    result.kept = kept_generations(complete, rule);
    // Behind fewer complete ones than are to be kept, a damaged one may still be mended.
    const std::uint64_t old_before =
        complete.size() >= rule.newest ? complete[complete.size() - rule.newest] : 0;
    for (const std::uint64_t step : steps) {
        const bool committed = path_exists(manifest_path(run, step));
        // Without a manifest and behind a generation: what an attempt or a cut-off pruning left.
        const bool left_over = !committed && step < complete.back();
        const bool kept = std::binary_search(result.kept.begin(), result.kept.end(), step);
        if (left_over || (step < old_before && !kept)) result.removed.push_back(step);
    }
    return result;
}

PruneResult prune_generations(const fs::path& run, const RetentionRule& rule) {
    PruneResult result = plan_pruning(run, rule);
    for (const std::uint64_t step : result.removed) retire_generation(run, step);
    return result;
}

}  // namespace lockstep
