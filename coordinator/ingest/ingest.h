// coordinator/ingest/ingest.h
//
// Documents to a corpus, by any number of ranks and threads: the same bytes
// always. Pieces of the sources become files of a work folder, "<corpus>.ingest/",
// which all ranks must reach; rank 0 assembles them. An ingest that was killed
// goes on with the pieces it finds there.

#pragma once

#include <functional>
#include <optional>

#include "coordinator/ingest/assembly.h"
#include "coordinator/ingest/ingest_job.h"
#include "io/comm/communicator.h"

namespace lockstep {

std::filesystem::path ingest_work_folder(const std::filesystem::path& corpus);

/// Bytes of files done and to do on this rank; what an earlier start did is not counted.
using IngestProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

/// Collective. @param make_job  called on rank 0 alone; may take its time, as all work here (long_work.h).
/// @return totals on rank 0, nullopt elsewhere.
/// @throws AgreedError. After an error in the input or the settings nothing is left behind; after one of the
///         disk, and when killed, the work folder stays for the next start, which also knows outputs of this
///         job that appeared already. A rank that fails ends the others after the piece they are at.
std::optional<IngestTotals> run_ingest(Communicator& comm, const std::function<IngestJob()>& make_job,
                                       const IngestOutputs& outputs, int threads,
                                       const IngestProgress& progress);

}  // namespace lockstep
