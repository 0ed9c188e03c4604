// coordinator/lazarus_files.h
//
// Lazarus' plan folder, meta.json and epoch_N.jsonl: writing it for Lazarus to read,
// and reading one that Lazarus wrote. Lazarus itself checks next to nothing when it
// loads; we check everything that folder and lengths can tell. Page: docs/lazarus.md.

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/plan_input.h"
#include "io/files/atomic_file.h"
#include "plan/batch_plan.h"

namespace lockstep {

struct LazarusExport {
    std::uint64_t epochs = 0;
    std::uint64_t microbatches = 0;
    std::string fingerprint;  ///< What Lazarus will call the plan.
};

/// Write `directory` whole or not at all: beside it first, then renamed into place. A microbatch a pack;
/// packs left empty by a revision are passed over. Bucket plans have `packs` null, pack plans one group.
///
/// @param inputs  for ids, in the plan's order; empty: samples are called by their numbers. A sample without
///                an id is called by its number too.
/// @throws Error{invalid_argument} for a plan with pieces of samples, which Lazarus cannot say, two samples
/// of
///         one id, or a seed whose sum with an epoch is over 2^64 − 1; Error{fingerprint_mismatch} if an
///         input is not the plan's; Error{output_exists} unless overwriting, and for a folder that is not
///         Lazarus'; Error{io_failure}.
LazarusExport export_lazarus(const BatchPlan& plan, const std::vector<PlanInput>& inputs,
                             const std::filesystem::path& directory, Overwrite overwrite);

struct LazarusImport {
    BatchPlan plan;              ///< Lazarus mode; algorithms name "import=lazarus/1".
    std::string fingerprint;     ///< What Lazarus calls the plan.
    bool drop_last = false;      ///< Found from what is left out.
    bool reproduced = false;     ///< Building from the lengths gives the same packs.
    std::string dataset_hash;    ///< As meta.json says.
    std::string tokenizer_hash;  ///< As meta.json says.
};

/// @param inputs          lengths of the plan's samples, found by their ids.
/// @param packs_per_step  ≥ 1; Lazarus has no steps.
/// @throws Error{corrupt_data} naming file and line: a malformed line, an id that is unknown or comes twice
/// in
///         an epoch, a sample in a bucket that its length is not of, batches over their capacity, samples
///         missing that drop_last does not explain, counts that are not the header's, an epoch file that is
///         missing or not of this plan; Error{incompatible_version}; Error{fingerprint_mismatch} if plan and
///         lengths name different tokenizers; Error{not_found}.
LazarusImport import_lazarus(const std::filesystem::path& directory, const std::vector<PlanInput>& inputs,
                             std::uint32_t packs_per_step);

}  // namespace lockstep
