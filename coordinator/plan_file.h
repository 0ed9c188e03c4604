// coordinator/plan_file.h
//
// A plan's folder, opened in the time of a small file whatever the plan's size: what
// grows with steps stays in the file's map, and only what an answer rests on is read
// and checked.
//
// At open the tree path is recomputed (settings, epochs, order, plan from the stored
// leaves); each chunk of steps is hashed and compared with its leaf when first read.
// `validate` goes through all of them once and proves the plan itself.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "io/columns/column_file.h"
#include "plan/batch_plan.h"
#include "plan/plan_chunk.h"
#include "plan/plan_columns.h"
#include "plan/plan_slice.h"
#include "plan/plan_view.h"

namespace lockstep {

inline constexpr std::string_view plan_format = "lockstep-plan";
inline constexpr std::uint64_t plan_format_version = 3;
/// Texts are attributes below this group: "source/0/name" is attribute "name" of "/plan/source/0".
inline constexpr std::string_view plan_text_group = "/plan";

enum class PlanColumnsRead { all, head };
/// Columns and texts of an open plan.h5. @throws Error{corrupt_data} on a type plans do not use.
PlanColumns read_plan_columns(const ColumnFile& file, PlanColumnsRead what);

/// Where a segment stands.
struct SegmentPlace {
    std::uint64_t epoch = 0, step = 0, pack = 0;  ///< Numbers in the whole plan.
    std::uint64_t segment_in_pack = 0;
    std::uint64_t token_begin = 0;  ///< Within the pack.
    std::uint32_t offset = 0;       ///< Within the sample.
    std::uint32_t tokens = 0;
};

/// Not for several threads at once.
class PlanFile {
  public:
    /// @throws Error{not_found}; Error{corrupt_data, incompatible_version, fingerprint_mismatch} naming the
    ///         file and field.
    static PlanFile open(const std::filesystem::path& directory);
    ~PlanFile();
    PlanFile(PlanFile&&) noexcept;
    PlanFile& operator=(PlanFile&&) noexcept;

    const std::filesystem::path& directory() const;
    /// The plan without its body columns: options, sources, epochs, dispositions, fingerprints.
    const BatchPlan& head() const;
    std::uint64_t num_steps() const;
    std::uint64_t num_packs() const;
    std::uint64_t num_segments() const;
    std::uint64_t num_samples() const;  ///< Of all sources.
    std::uint64_t epoch_of(std::uint64_t step) const;
    bool has_targets() const;

    std::size_t chunk_of_step(std::uint64_t step) const;
    /// Checked; borrows from this. @throws Error{corrupt_data, fingerprint_mismatch} naming the steps.
    PlanChunkColumns chunk(std::size_t index) const;

    /// Every segment of a sample, in training order. Reads one column whole.
    std::vector<SegmentPlace> find_sample(std::uint64_t sample) const;

    PlanView view() const;  ///< Borrows from this; its chunks are checked.

    /// The whole proof (plan/validate_plan.h), holding no rows; afterwards every chunk is checked.
    /// @param sources  all of the plan's, or none.
    /// @param visit    is given every chunk when it may be walked.
    /// @throws Error{corrupt_data, fingerprint_mismatch} naming the file, the field and the first step.
    void validate(std::span<const SourceLengths> sources,
                  const std::function<void(const PlanChunkColumns&)>& visit = {}) const;
    /// The proof's first part: after it every chunk may be walked freely (plan/plan_structure.h).
    void check_structure() const;
    /// Digests of all the file's blocks. @throws Error{corrupt_data}.
    void verify_everything() const;
    std::string digest_hex() const;  ///< Covers the whole file.

  private:
    PlanFile();
    struct State;
    std::unique_ptr<State> state_;
};

/// plan.validate without sources, and what only a walk over the whole plan tells.
PlanTotals prove_and_count(const PlanFile& plan);

}  // namespace lockstep
