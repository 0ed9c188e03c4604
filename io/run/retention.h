// io/run/retention.h
//
// Which generations of a run are kept, and how the others go: oldest first, the
// manifest before the shards, so that wherever it is cut off no manifest names
// what is gone (docs/formats/checkpoint.md).

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace lockstep {

struct RetentionRule {
    std::size_t newest = 2;   ///< So many of the newest, ≥ 2: one may turn out damaged.
    std::uint64_t every = 0;  ///< Also the first generation in every so many steps, for ever; 0: none.
};

/// Which of `steps` (complete generations, ascending) the rule keeps; ascending. With `every` = E these are
/// the newest ones and, of the generations in each [k·E, (k + 1)·E) with k ≥ 1, the first. Pure.
std::vector<std::uint64_t> kept_generations(std::span<const std::uint64_t> steps, const RetentionRule& rule);

struct PruneResult {
    std::vector<std::uint64_t> kept;     ///< Steps of complete generations that stay.
    std::vector<std::uint64_t> removed;  ///< Generations retired, attempts that never became one included.
};

/// What prune_generations would do; looks only. @throws Error{io_failure} rather than judge a generation that
/// cannot be read.
PruneResult plan_pruning(const std::filesystem::path& run, const RetentionRule& rule);

/// Delete a generation, or an attempt at one: manifest first, then shards. Other files stay, and the folder
/// with them. @throws Error{io_failure}.
void retire_generation(const std::filesystem::path& run, std::uint64_t step);

/// Delete what the rule does not keep. What looks incomplete does not count among the kept ones and goes only
/// where a complete one is newer. Ledger segments stay. For the holder of the run's lock.
/// @throws Error{invalid_argument} if the rule keeps fewer than 2; Error{io_failure}.
PruneResult prune_generations(const std::filesystem::path& run, const RetentionRule& rule);

}  // namespace lockstep
