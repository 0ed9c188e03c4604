// tests/io/run/small_run.h
//
// A run directory made by hand: a few steps, a state of known values, generations
// of any world size. What training leaves behind, without training.

#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/run/checkpoint.h"
#include "io/run/ledger.h"

namespace lockstep {

/// Two packs a step, and step 3 excluded: no rows.
std::vector<LedgerRow> small_rows(std::uint64_t step_begin, std::uint64_t step_end);

class SmallRun {
  public:
    static constexpr std::uint64_t state_elements = 23;

    explicit SmallRun(std::filesystem::path run) : run_(std::move(run)) {}

    /// Continue from a committed generation of this directory.
    void resume(const Manifest& manifest);

    /// The segment from where this run is to `step`; nothing is written.
    LedgerSegment segment_until(std::uint64_t step) const;

    /// Train to `step` and commit: shards of `world_size` ranks, ledger segment, manifest.
    Manifest commit(std::uint64_t step, int world_size);

    /// Element of the weights (which = 0) or moments (1, 2) after `step` steps.
    static float value(std::uint64_t step, int which, std::uint64_t element);

  private:
    std::filesystem::path run_;
    std::optional<Manifest> last_;
};

/// Whether a generation holds exactly the values of its step, read in pieces of every size up to 9.
bool holds_its_values(const std::filesystem::path& run, const Manifest& manifest);

/// Every regular file below `run` with its bytes, by relative path.
std::map<std::string, std::string> all_files(const std::filesystem::path& run);

/// Of the newest generation that can be resumed. @param why  what was rejected before it.
std::optional<std::uint64_t> newest_step(const std::filesystem::path& run,
                                         std::vector<std::string>* why = nullptr);

/// Of every generation that can be resumed, oldest first.
std::vector<std::uint64_t> valid_steps(const std::filesystem::path& run);

/// One byte in the middle of a file changed.
void damage(const std::filesystem::path& file);

}  // namespace lockstep
