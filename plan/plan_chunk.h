// plan/plan_chunk.h
//
// A chunk of steps: what one leaf of a plan's fingerprint tree covers, as borrowed
// columns, and the tree above the leaves. Whoever holds a chunk's rows, in memory,
// mapped from a file or just built, can name its leaf without holding the plan
// (docs/formats/plan.md, "Fingerprints").

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "io/base/fingerprint.h"
#include "plan/batch_plan.h"

namespace lockstep {

/// Rows of steps [first_step, first_step + steps), P packs from first_pack on, their segments. Only
/// differences of the offsets count, so they may be the plan's own or begin at 0.
struct PlanChunkColumns {
    std::uint64_t first_step = 0;
    std::uint64_t first_pack = 0;
    std::span<const std::uint64_t> step_begin;  ///< (steps + 1) in packs.
    std::span<const std::uint64_t> pack_begin;  ///< (P + 1) in segments.
    /// (segments) as stored; the leaf is the same either way.
    std::variant<std::span<const std::uint64_t>, std::span<const std::uint32_t>> segment_sample;
    std::span<const std::uint32_t> segment_offset;
    std::span<const std::uint32_t> segment_tokens;
    std::span<const std::uint64_t> pack_cost;
    // Absent where the plan lacks the column.
    std::optional<std::span<const std::uint32_t>> pack_targets;
    std::optional<std::span<const std::uint16_t>> pack_bucket;
    std::optional<std::span<const std::uint32_t>> pack_pad_tokens;

    std::uint64_t num_steps() const { return step_begin.size() - 1; }
    std::uint64_t num_packs() const { return pack_begin.size() - 1; }
    std::uint64_t num_segments() const { return segment_tokens.size(); }
    std::uint64_t sample(std::uint64_t segment) const {
        return std::visit([&](auto samples) { return std::uint64_t{samples[segment]}; }, segment_sample);
    }
};

/// Steps [step_begin, step_end) of a chunk that holds them.
PlanChunkColumns steps_of(const PlanChunkColumns& chunk, std::uint64_t step_begin, std::uint64_t step_end);

/// Steps [step_begin, step_end) of a plan of sound structure.
PlanChunkColumns chunk_of(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end);

/// The leaf. @pre The columns agree in length.
Fingerprint fingerprint_chunk(const PlanChunkColumns& chunk);

/// Node "settings": options, algorithms, sources, dispositions. Looks at nothing else of the plan.
Fingerprint fingerprint_settings(const BatchPlan& plan);

/// First step of each chunk, and the end: every epoch is cut from its first step on.
/// @param epoch_begin  (epochs + 1) first step of each epoch.
std::vector<std::uint64_t> chunk_bounds(std::span<const std::uint64_t> epoch_begin);

/// The chunk that holds a step. @pre step < tree.chunk_begin.back().
std::size_t chunk_of_step(const PlanFingerprints& tree, std::uint64_t step);

/// The whole tree from its leaves.
/// @param chunks  one for each of chunk_bounds(epoch_begin).
PlanFingerprints fingerprint_tree(const Fingerprint& settings, std::span<const std::uint64_t> epoch_begin,
                                  std::vector<Fingerprint> chunks, const std::optional<Fingerprint>& parent,
                                  std::uint64_t from_step);

}  // namespace lockstep
