// plan/plan_builder.h
//
// Builds a plan piece by piece: what comes before the rows, then one epoch after
// another, each in chunks of steps. Memory is one epoch's index (epoch_order.h), however
// many epochs there are. What chunks hold is drawn for one after another; their columns
// may then be filled by many threads at once. Every rank draws the same.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "plan/balance.h"
#include "plan/batch_plan.h"
#include "plan/epoch_order.h"
#include "plan/plan_chunk.h"

namespace lockstep {

/// A chunk of steps that owns its columns; offsets begin at 0.
struct PlanChunk {
    std::uint64_t first_step = 0;
    std::uint64_t first_pack = 0;
    std::vector<std::uint64_t> step_begin{0};
    std::vector<std::uint64_t> pack_begin{0};
    std::vector<std::uint32_t> narrow_sample;  ///< If the plan's sample ids fit 32 bits, else wide_sample.
    std::vector<std::uint64_t> wide_sample;
    std::vector<std::uint32_t> segment_offset;
    std::vector<std::uint32_t> segment_tokens;
    std::vector<std::uint64_t> pack_cost;
    std::vector<std::uint32_t> pack_targets;     ///< Empty in a lengths-only plan.
    std::vector<std::uint16_t> pack_bucket;      ///< Bucket mode.
    std::vector<std::uint32_t> pack_pad_tokens;  ///< Bucket mode.

    // Drawn, beside segment_tokens, for the other columns to be filled from.
    std::vector<NarrowIndex> narrow_segment;  ///< (segments) of the table, or wide_segment.
    std::vector<WideIndex> wide_segment;
    std::vector<PackWork> pack_work;  ///< (packs)

    PlanChunkColumns columns() const;
};

/// How segments and packs are numbered while a plan is built. The plan does not depend on it.
enum class NumberWidth : std::uint8_t {
    fitting,  ///< Narrow where that holds.
    wide,     ///< As from 2^32 segments an epoch on.
};

class PlanBuilder {
  public:
    /// Decides fates and packs; `sources` outlive this.
    /// @throws as build_plan.
    PlanBuilder(const PlanOptions& options, std::span<const SourceLengths> sources,
                NumberWidth width = NumberWidth::fitting);
    ~PlanBuilder();
    PlanBuilder(const PlanBuilder&) = delete;
    PlanBuilder& operator=(const PlanBuilder&) = delete;

    /// Everything that comes before the rows: options, algorithms, sources, dispositions, epoch_begin.
    const BatchPlan& frame() const { return frame_; }
    const SegmentTable& segments() const { return fates_segments_; }
    EpochCounts total() const { return total_; }  ///< Of all epochs.
    bool counts_targets() const { return count_targets_; }
    bool has_narrow_samples() const { return narrow_samples_; }

    /// Make epoch `epoch`: 0, then each the one after the last.
    void begin_epoch(std::uint64_t epoch);
    /// Lengths of the segments of the epoch begun, in arrival order; as often as it holds them. Draws all of
    /// its chunks.
    std::vector<std::uint32_t> arrival_tokens();
    std::uint64_t num_chunks() const;  ///< Of the epoch begun.
    /// Draw what steps [1024 · index, …) of the epoch begun hold. Cheap in ascending order; going back costs
    /// a walk from the epoch's start.
    void draw_chunk(std::uint64_t index, PlanChunk& chunk);
    /// The other columns of a chunk, once for each time it is drawn and before the next epoch is begun. May
    /// be called from many threads, and while other chunks are drawn.
    void fill_chunk(PlanChunk& chunk) const;
    void make_chunk(std::uint64_t index, PlanChunk& chunk) {
        draw_chunk(index, chunk);
        fill_chunk(chunk);
    }

  private:
    template <class Index>
    struct Epochs {
        std::unique_ptr<EpochSequence<Index>> sequence;
        EpochOrder<Index> order;  ///< Of the epoch begun.
    };
    template <class Index>
    void fill_from(const EpochOrder<Index>& order, std::vector<Index>& drawn, PlanChunk& chunk) const;
    void count_epochs();

    BatchPlan frame_;
    SegmentTable fates_segments_;
    std::vector<double> segment_score_;
    std::variant<Epochs<NarrowIndex>, Epochs<WideIndex>> epochs_;
    EpochCounts total_;
    bool count_targets_ = true;
    bool narrow_samples_ = true;
    std::uint64_t epoch_first_step_ = 0, epoch_first_pack_ = 0;  ///< Of the epoch begun.
    std::uint64_t next_epoch_ = 0;
};

}  // namespace lockstep
