// plan/mixture.h
//
// Several sources in one plan, each with its share. The run is cut into quota blocks of
// one balance window; each block takes from every source what brings it to its share, and
// packs all of it together. So the error at any step boundary is at most one window,
// whatever the sizes of the sources.
//
// A source is passed over again and again, each time in another order (seed, source,
// pass). Shares are given in one of two ways: weights, relative shares of the run's tokens,
// with a cap on the passes; or passes, how often each sample is trained.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/epoch_order.h"

namespace lockstep {

/// Whether any source has a weight or passes of its own.
bool is_mixture(std::span<const PlanSource> sources);

/// Tokens that every source gives to the run. With weights, the run is as long as the source that runs out
/// first allows: none is passed over more than its passes_max (or, where that is 0, than `epochs`) times. A
/// source gives whole samples: those begun before its quota was reached.
///
/// @param source_tokens  (sources) tokens of one pass, segments included as often as they overlap.
/// @throws Error{invalid_argument} if only some sources have a weight, some have both weight and passes, or
///         one with a share has no tokens or gets none of the run's.
std::vector<std::uint64_t> mixture_quotas(std::span<const PlanSource> sources,
                                          std::span<const std::uint64_t> source_tokens, std::uint64_t epochs);

/// What a run takes of a source.
struct MixtureSource {
    std::uint64_t segment_begin, segment_end;  ///< In the table.
    std::uint64_t tokens;                      ///< Of one pass.
    std::uint64_t quota;                       ///< Tokens of the run.
};
/// @param sources  numbered (sample_base, num_samples).
/// @throws as mixture_quotas.
std::vector<MixtureSource> mixture_sources(std::span<const PlanSource> sources, const SegmentTable& table,
                                           std::uint64_t epochs);
/// No epoch of the mixture holds more segments.
std::uint64_t mixture_epoch_segments_max(std::span<const MixtureSource> sources, std::uint64_t epochs);

/// Epochs of a mixture: equal parts of the run's tokens.
/// @param options  effective, pack mode, without stages.
/// @param table    outlives the result.
template <class Index>
std::unique_ptr<EpochSequence<Index>> make_mixture_epochs(const PlanOptions& options,
                                                          std::span<const MixtureSource> sources,
                                                          const SegmentTable& table);

}  // namespace lockstep
