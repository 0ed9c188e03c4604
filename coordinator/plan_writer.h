// coordinator/plan_writer.h
//
// Writes a plan's folder (docs/formats/plan.md) chunk by chunk, so that its memory does
// not depend on the plan's length. Nothing appears at its place before it is whole.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "coordinator/plan_store.h"
#include "io/comm/communicator.h"
#include "plan/epoch_order.h"
#include "plan/plan_chunk.h"

namespace lockstep {

/// Fail before the work rather than after it. @throws as the PlanWriter.
void require_plan_output(const std::filesystem::path& directory, Overwrite overwrite);

class PlanWriter {
  public:
    /// @param directory  to appear; @throws Error{output_exists} unless overwriting a plan folder with
    /// nothing else in it; Error{environment} while another process builds there; Error{io_failure}.
    /// @param head    the plan's head (head_to_columns) but for its fingerprints; outlives this.
    /// @param total   rows of the whole plan.
    /// @param targets whether chunks bring pack_targets.
    /// @param inputs  for keys in plan.jsonl; may be empty; outlive this.
    PlanWriter(const std::filesystem::path& directory, const BatchPlan& head, const EpochCounts& total,
               bool targets, const std::vector<PlanInput>& inputs, WriteJsonl jsonl, Overwrite overwrite);
    ~PlanWriter();  ///< Without publish: removes what was written.
    PlanWriter(const PlanWriter&) = delete;
    PlanWriter& operator=(const PlanWriter&) = delete;

    /// All chunks of the plan, in order.
    void add(const PlanChunkColumns& chunk);

    /// @param whole_head  the head with its fingerprints.
    SavedPlan publish(const BatchPlan& whole_head, const PlanStats& stats);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Build a plan and write it as it is made: memory is one epoch's index.
struct BuiltPlanFolder {
    BatchPlan head;  ///< Without rows.
    PlanStats stats;
    SavedPlan saved;
    double seconds = 0;  ///< Without opening the inputs.
};
/// @param threads  chunks made at once, ≥ 1; changes nothing but the time.
/// @param comm     collective: every rank makes its chunks (all with the same arguments), rank 0 writes; the
///                 others return an empty result. Null: this process alone.
BuiltPlanFolder build_plan_folder(const std::filesystem::path& directory, const PlanOptions& options,
                                  const std::vector<PlanInput>& inputs,
                                  std::span<const SourceLengths> lengths, WriteJsonl jsonl,
                                  Overwrite overwrite, int threads, Communicator* comm = nullptr);

}  // namespace lockstep
