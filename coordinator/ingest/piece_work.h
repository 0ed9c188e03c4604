// coordinator/ingest/piece_work.h
//
// One piece of the sources to its file of tokens, by several threads, in order.

#pragma once

#include <filesystem>
#include <functional>

#include "coordinator/ingest/ingest_job.h"
#include "io/column_file.h"

namespace lockstep {

class PieceWork {
  public:
    /// @param threads  at least 1; the result does not depend on it.
    PieceWork(const IngestJob& job, const Tokenizer& tokenizer, int threads);

    /// @param progress  called after each block with the bytes of files behind this piece so far.
    /// @throws what reading and tokenizing throw; no file is left behind then.
    void run(const IngestPiece& piece, const std::filesystem::path& file,
             const std::function<void(std::uint64_t)>& progress);

  private:
    const IngestJob& job_;
    const Tokenizer& tokenizer_;
    int threads_;
};

}  // namespace lockstep
