// coordinator/plan_export.h
//
// A plan in forms that other programs read (docs/formats/plan.md, "Exports"): lines
// of JSON, NumPy arrays, collated batches, shards of ranks. Every folder carries an
// index.json that names the plan and the SHA-256 of each file; it appears whole or
// not at all. Equal plans give equal files.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coordinator/plan_file.h"
#include "coordinator/plan_input.h"
#include "io/base/ids.h"
#include "io/files/atomic_file.h"

namespace lockstep {

struct Exported {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
};

/// One line of plan.jsonl, with its newline. @param inputs  for keys; may be empty.
std::string jsonl_line_of_pack(const BatchPlan& head, const PlanChunkColumns& chunk, std::uint64_t epoch,
                               std::uint64_t step, std::uint64_t pack, const std::vector<PlanInput>& inputs);

/// Where such a file first says something else than the plan, for people; sample ids are not looked at.
std::string first_difference_in_jsonl(const PlanFile& plan, const std::filesystem::path& path);

/// `path` becomes what plan.jsonl is. @throws Error{output_exists, io_failure}, as all below.
Exported export_jsonl(const PlanFile& plan, const std::vector<PlanInput>& inputs,
                      const std::filesystem::path& path, Overwrite overwrite);

/// A folder of one .npy a column, epoch_begin to segment_tokens, and index.json.
/// @param readers  (name, text) of files to lay beside them: the Python reader, in a torch-sampler folder.
Exported export_columns(const PlanFile& plan, const std::string& kind,
                        const std::vector<std::pair<std::string, std::string_view>>& readers,
                        const std::filesystem::path& folder, Overwrite overwrite);

/// A folder of one .npz a step of [step_begin, step_end), padded to the step's longest pack:
/// step-00000012.npz with input_ids, attention_mask, segment_ids, position_ids, loss_mask, labels, packs, and
/// of every segment its row, begin, sample and offset. Plain arrays: nothing in them is pickled.
/// @param inputs  the plan's corpora.
Exported export_batches(const PlanFile& plan, const std::vector<PlanInput>& inputs, std::uint64_t step_begin,
                        std::uint64_t step_end, const std::filesystem::path& folder, Overwrite overwrite);

struct ShardCounts {
    std::uint64_t packs = 0, segments = 0, tokens = 0;
};
/// A folder of one rank-00000.jsonl a rank (lines as in plan.jsonl, the packs that assign_packs gives it) and
/// index.json. @return (world size) what each rank has.
std::vector<ShardCounts> export_shards(const PlanFile& plan, const std::vector<PlanInput>& inputs,
                                       WorldSize world_size, const std::filesystem::path& folder,
                                       Overwrite overwrite);

/// Whether a folder's index.json is an export's: only such a folder is replaced by another.
bool is_plan_export(const std::filesystem::path& folder);

}  // namespace lockstep
