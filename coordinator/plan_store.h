// coordinator/plan_store.h
//
// A plan's directory: its columns and the files that people and tools read
// (docs/formats/plan.md). Only rank 0 comes here.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/atomic_file.h"
#include "io/corpus.h"
#include "io/length_cache.h"
#include "plan/batch_plan.h"

namespace lockstep {

/// What lengths files of a plan may repeat: Lazarus lets the last one win.
DuplicateIds duplicates_allowed(PlanCompat compat);

/// One input of a plan: a corpus, or lengths alone. Owns what SourceLengths borrows.
class PlanInput {
  public:
    /// Opens `path`: a corpus, a lengths.h5 or a lengths.jsonl, told apart by content. `name` may be empty:
    /// the file's stem. `duplicates` matters in lines only.
    static PlanInput open(const std::filesystem::path& path, std::string name,
                          DuplicateIds duplicates = DuplicateIds::refuse);

    SourceLengths lengths() const;  ///< Borrows from this; valid while it lives.
    const std::shared_ptr<const Corpus>& corpus() const { return corpus_; }  ///< Null: lengths alone.
    const std::string& name() const { return name_; }
    std::string key(std::uint64_t sample) const;  ///< The user's id; empty without keys.
    /// (num_samples) targets when samples are kept whole, or empty: not recorded, or a corpus.
    std::span<const std::uint32_t> loss_tokens() const;

  private:
    std::string name_;
    std::shared_ptr<const Corpus> corpus_;
    std::optional<LengthCache> cache_;
    std::vector<std::uint32_t> sample_tokens_;  ///< Of a corpus; those of a cache stay where they are.
    Fingerprint scores_;
    std::vector<std::uint64_t> span_begin_;
    std::vector<std::uint32_t> spans_;
};

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
SavedPlan save_plan(const std::filesystem::path& directory, const BatchPlan& plan, const PlanStats& stats,
                    const std::vector<PlanInput>& inputs, WriteJsonl jsonl, Overwrite overwrite);

enum class PlanCheck {
    content,  ///< Recompute the whole fingerprint tree: validate, and rank 0's first load.
    files,    ///< Digests of the files alone.
};
/// @throws Error{not_found}; Error{corrupt_data, incompatible_version, fingerprint_mismatch} naming the file
/// and field.
BatchPlan load_plan(const std::filesystem::path& directory, PlanCheck check);

/// Everything `validate` can see without the inputs: every file's digest, fingerprints.json and plan.jsonl
/// against the columns.
void check_plan_files(const std::filesystem::path& directory, const BatchPlan& plan);

/// fingerprints.json against the plan's tree and sources. @param plan  may be a head (plan_columns.h).
/// @throws Error{corrupt_data, not_found} naming the field.
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

/// bind_sources for a whole plan: one of lengths alone gets its targets, its fingerprint stays.
std::vector<PlanSource> bind_plan(BatchPlan& plan, const std::vector<PlanInput>& inputs);

}  // namespace lockstep
