// coordinator/plan_input.h
//
// What a plan is built from and bound to: a corpus, or lengths alone.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/corpus/corpus.h"
#include "io/corpus/length_cache.h"
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
    /// What opening a large file leaves for later: every block, ids, fingerprints.
    /// @throws Error{corrupt_data, fingerprint_mismatch} naming the file.
    void verify_everything() const;
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

}  // namespace lockstep
