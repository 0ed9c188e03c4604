// plan/plan_coverage.h
//
// That every planned token is fed exactly once an epoch: shown by tiling every sample
// with its segments while the chunks go by, not by building the plan again.

#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "plan/batch_plan.h"
#include "plan/plan_view.h"

namespace lockstep {

/// What the dispositions say of every sample. A byte a sample, and none at all where all are whole.
class SampleFates {
  public:
    explicit SampleFates(const BatchPlan& head);

    std::uint64_t num_samples() const { return num_samples_; }
    /// In one segment from its first token on.
    bool is_single(std::uint64_t sample) const { return kind_.empty() || is_single_kind(kind_[sample]); }
    /// In pieces: split, or truncated where samples are laid end to end.
    bool is_in_pieces(std::uint64_t sample) const { return !kind_.empty() && is_pieces_kind(kind_[sample]); }
    std::uint64_t num_singles() const { return num_singles_; }
    std::uint64_t num_in_pieces() const { return num_in_pieces_; }
    /// Tokens that no segment holds.
    std::uint32_t tokens_lost(std::uint64_t sample) const;

  private:
    bool is_single_kind(std::uint8_t kind) const;
    bool is_pieces_kind(std::uint8_t kind) const;

    const BatchPlan& head_;
    const bool concatenated_;
    std::uint64_t num_samples_;
    std::uint64_t num_singles_ = 0, num_in_pieces_ = 0;
    std::vector<std::uint8_t> kind_;  ///< (samples) DispositionKind, 0 for whole ones; or empty.
};

/// The source of one sample after another: the next is likely to be of the same.
class SourceCursor {
  public:
    explicit SourceCursor(std::span<const PlanSource> sources) : sources_(sources) {}
    /// @pre The sample is of one of them.
    std::size_t of(std::uint64_t sample) {
        while (sample < sources_[at_].sample_base) --at_;
        while (sample >= sources_[at_].sample_base + sources_[at_].num_samples) ++at_;
        return at_;
    }

  private:
    std::span<const PlanSource> sources_;
    std::size_t at_ = 0;
};

/// Where each sample is to end, by its source's length.
class SampleEnds {
  public:
    /// @param sources  all of the plan's, or none: then nothing is known.
    SampleEnds(const SampleFates& fates, const BatchPlan& head, std::span<const SourceLengths> sources)
        : fates_(fates), planned_(head.sources), given_(sources), source_(head.sources) {}
    bool known() const { return !given_.empty(); }
    std::uint32_t of(std::uint64_t sample);

  private:
    const SampleFates& fates_;
    std::span<const PlanSource> planned_;
    std::span<const SourceLengths> given_;
    SourceCursor source_;
};

/// A piece of a split sample.
struct SamplePiece {
    std::uint64_t sample;
    std::uint32_t offset;
    std::uint32_t tokens;
    std::uint64_t segment;
    friend auto operator<=>(const SamplePiece&, const SamplePiece&) = default;
};

/// Every epoch by itself. Memory: a bit a sample, a byte if any has a disposition, 4 bytes if there are
/// several epochs and no lengths, 24 a piece of split samples.
class EpochCoverage {
  public:
    /// @param plan  of sound head; outlives this, as `sources` do. Asked for a chunk to say where an error
    /// is.
    /// @throws Error{corrupt_data} for more samples than its rows could ever account for, without `sources`.
    EpochCoverage(const PlanView& plan, std::span<const SourceLengths> sources);
    EpochCoverage(const EpochCoverage&) = delete;
    EpochCoverage& operator=(const EpochCoverage&) = delete;

    /// All chunks of the plan, in order, each of sound structure.
    /// @throws Error{corrupt_data} naming step, segment and sample, or the sample that is missing.
    void add(const PlanChunkColumns& chunk);

  private:
    template <class Samples>
    void add_segments(const PlanChunkColumns& chunk, Samples samples);
    void check_single(std::uint64_t sample, std::uint32_t offset, std::uint32_t tokens,
                      std::uint64_t segment);
    void check_end(std::uint64_t sample, std::uint32_t end, std::uint64_t segment);
    void end_epoch();
    void check_pieces();
    [[noreturn]] void name_missing_sample() const;

    const PlanView& plan_;
    const BatchPlan& head_;
    const SampleFates fates_;
    SampleEnds ends_;
    std::vector<std::uint32_t> learned_end_;  ///< (samples) from the first epoch; 0: not seen yet.
    std::vector<bool> seen_;                  ///< (samples) in this epoch.
    std::vector<SamplePiece> pieces_;         ///< Of this epoch.
    std::uint64_t num_seen_ = 0;
    std::uint64_t epoch_ = 0;
};

/// Over the run, every sample of a source with passes comes as often as it has passes; those of a source with
/// a weight come as often as each other, give or take one, and at most passes_max times. Pieces of a sample
/// come equally often and tile it. Of a revision, none comes more often or is longer. Memory: 8 bytes a
/// sample, a byte if any has a disposition, 24 a piece.
class MixtureCoverage {
  public:
    /// As EpochCoverage.
    MixtureCoverage(const PlanView& plan, std::span<const SourceLengths> sources);
    MixtureCoverage(const MixtureCoverage&) = delete;
    MixtureCoverage& operator=(const MixtureCoverage&) = delete;

    void add(const PlanChunkColumns& chunk);
    void finish();

  private:
    template <class Samples>
    void add_segments(const PlanChunkColumns& chunk, Samples samples);
    void check_pieces();
    void check_source(std::size_t source);

    const PlanView& plan_;
    const BatchPlan& head_;
    const SampleFates fates_;
    SampleEnds ends_;
    std::vector<std::uint32_t> passes_;  ///< (samples)
    std::vector<std::uint32_t> end_;     ///< (samples) 0: not seen yet.
    std::vector<SamplePiece> pieces_;    ///< Of the run.
};

}  // namespace lockstep
