// coordinator/plan_store.h
//
// A plan's directory: its columns and the files that people and tools read
// (docs/formats/plan.md). Only rank 0 comes here.

#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/plan_file.h"
#include "coordinator/plan_input.h"
#include "io/files/atomic_file.h"
#include "plan/batch_plan.h"
#include "plan/plan_stats.h"

namespace lockstep {

enum class WriteJsonl { automatic, always, never };
/// "auto", "always", "never". @throws Error{invalid_argument}.
WriteJsonl parse_write_jsonl(std::string_view text);
/// With `automatic`, plan.jsonl is written up to this many segments.
inline constexpr std::uint64_t jsonl_segments_max = 1'000'000;

struct SavedPlan {
    bool wrote_jsonl = false;
};
/// Write the directory whole or not at all: beside it first, then renamed into place.
/// @param inputs  for keys in plan.jsonl; may be empty.
/// @throws Error{output_exists} unless overwriting; Error{io_failure}.
SavedPlan save_plan(const std::filesystem::path& directory, const PlanView& plan, const PlanStats& stats,
                    const std::vector<PlanInput>& inputs, WriteJsonl jsonl, Overwrite overwrite);
SavedPlan save_plan(const std::filesystem::path& directory, const BatchPlan& plan, const PlanStats& stats,
                    const std::vector<PlanInput>& inputs, WriteJsonl jsonl, Overwrite overwrite);

enum class PlanCheck {
    content,  ///< The whole proof (plan/validate_plan.h).
    files,    ///< Digests and structure alone.
};
/// @throws Error{not_found}; Error{corrupt_data, incompatible_version, fingerprint_mismatch} naming the file
/// and field.
BatchPlan load_plan(const std::filesystem::path& directory, PlanCheck check);

/// What `validate --strict` sees besides the plan itself: every file's digest, and the other files of its
/// folder against the columns.
/// @pre plan.validate or plan.check_structure passed.
void check_plan_files(const PlanFile& plan);

/// @throws Error{not_found} saying what is there instead of a plan folder.
void require_plan_folder(const std::filesystem::path& directory);

/// fingerprints.json against the plan's tree and sources. @param plan  may be a head (plan_columns.h).
/// @throws Error{corrupt_data} naming the field.
void check_fingerprints_file(const std::filesystem::path& directory, const BatchPlan& plan);

/// The plan's sources must be these corpora: lengths, tokenizer, content.
/// @param plan  may be a head.
/// @return the sources with the content they are bound to.
/// @throws Error{fingerprint_mismatch, invalid_argument} naming the source, expected and found.
std::vector<PlanSource> bind_sources(const BatchPlan& plan, const std::vector<PlanInput>& inputs);

/// Counts targets where a plan was built from lengths alone.
class TargetCount {
  public:
    /// @param inputs  the corpora `sources` are bound to; borrowed.
    TargetCount(std::vector<PlanSource> sources, const std::vector<PlanInput>& inputs);
    std::uint32_t operator()(std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens) const;

  private:
    std::vector<SourceLengths> lengths_;
};

}  // namespace lockstep
