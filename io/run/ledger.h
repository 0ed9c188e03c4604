// io/run/ledger.h
//
// The ledger: what was trained, one row a pack, in immutable segments that name
// their predecessor by digest (docs/formats/ledger.md, DESIGN §4.4 and §7).
//
// `ledger_root` is a running hash over the deterministic columns, advanced once a
// step, so that it is equal for every history of kills and every segment length.

#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/digest.h"
#include "io/base/fingerprint.h"

namespace lockstep {

/// What became of a pack. Stored: append, never renumber.
enum class PackEvent : std::uint8_t {
    trained = 0,
    no_target = 1,           ///< Nothing to predict: computed, no gradient.
    skipped_non_finite = 2,  ///< The step was skipped because some gradient was not finite.
};

struct LedgerRow {
    std::uint64_t step = 0;
    std::uint64_t pack = 0;  ///< Of the whole plan.
    std::uint32_t tokens = 0;
    std::uint32_t targets = 0;
    Digest token_digest;  ///< Over the very buffers the kernels were given.
    double loss = 0.0;    ///< Sum over the pack's targets [nat].
    PackEvent event = PackEvent::trained;
    // Observations: true of this history, not part of ledger_root.
    std::uint32_t rank = 0;
    float seconds = 0.0F;
};

/// Root of a ledger with no rows.
Fingerprint empty_ledger_root();

/// Root after one more step. `rows` are all packs of that step in plan order (may be empty: an excluded
/// step).
Fingerprint advance_ledger_root(const Fingerprint& root, std::uint64_t step, std::span<const LedgerRow> rows);

/// How a segment, or a manifest, names a segment.
struct LedgerSegmentName {
    std::string file;        ///< "steps-00000100-00000120-1a2b3c4d.h5" (step_begin, step_end)
    std::string digest_hex;  ///< Of the whole file (column_file.h).
    friend bool operator==(const LedgerSegmentName&, const LedgerSegmentName&) = default;
};

/// Excluded steps have no rows, so the row count does not bound the walk over a segment's steps; this does.
inline constexpr std::uint64_t ledger_segment_steps_max = std::uint64_t{1} << 24U;

struct LedgerSegment {
    std::uint64_t step_begin = 0;  ///< Covers steps [step_begin, step_end), 1 to ledger_segment_steps_max.
    std::uint64_t step_end = 0;
    Fingerprint plan;  ///< The plan (revision) these steps were trained from.
    Fingerprint root_before;
    Fingerprint root_after;
    std::optional<LedgerSegmentName> previous;  ///< None: the first.
    std::vector<LedgerRow> rows;                ///< Ascending (step, pack).
};

/// Write and publish a segment under `ledger_directory`. Recomputes root_after from root_before and rows and
/// refuses to write a segment that disagrees. Idempotent: an equal segment already there is kept.
LedgerSegmentName write_ledger_segment(const std::filesystem::path& ledger_directory,
                                       const LedgerSegment& segment);

/// @throws Error{corrupt_data} if the file's digest is not the named one, columns disagree, or the root does
/// not recompute.
LedgerSegment read_ledger_segment(const std::filesystem::path& ledger_directory,
                                  const LedgerSegmentName& name);

/// Any segment file, for `inspect`. A name of a segment's form must be its own; any other will do.
LedgerSegment read_ledger_segment_file(const std::filesystem::path& file);

/// The chain behind `head`, oldest first. @throws Error{corrupt_data, not_found} naming the segment that
/// breaks it.
std::vector<LedgerSegmentName> ledger_chain(const std::filesystem::path& ledger_directory,
                                            const LedgerSegmentName& head);

/// Steps a segment's file name says it covers.
struct LedgerSegmentSteps {
    std::uint64_t step_begin = 0;
    std::uint64_t step_end = 0;
};

/// None unless `file` is the plain name of a segment file.
std::optional<LedgerSegmentSteps> parse_ledger_segment_file(std::string_view file);

/// What a chain needs to know of one segment.
struct LedgerLink {
    LedgerSegmentName name;
    std::uint64_t step_begin = 0;
    std::uint64_t step_end = 0;
    Fingerprint root_before;
    Fingerprint root_after;
    std::optional<LedgerSegmentName> previous;
};

/// Walks chains; a segment that several heads share is read and checked once.
class LedgerChains {
  public:
    explicit LedgerChains(std::filesystem::path ledger_directory);
    /// As ledger_chain.
    std::vector<LedgerLink> behind(const LedgerSegmentName& head);

  private:
    const LedgerLink& link(const LedgerSegmentName& name);

    std::filesystem::path ledger_directory_;
    std::map<std::string, LedgerLink> links_;  ///< By file name.
};

}  // namespace lockstep
