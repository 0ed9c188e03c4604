// coordinator/ingest/piece_work.h
//
// Pieces of the sources to their files of tokens, by several threads, in order.

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "coordinator/ingest/ingest_job.h"
#include "io/corpus/corpus_tokens.h"
#include "io/documents/document_reader.h"

namespace lockstep {

struct IdentifiedSource {
    std::uint64_t source_index = 0;
    SourceIdentity identity;
};

/// The threads go on with the next piece while the last one is still being finished.
class PieceWork {
  public:
    /// Borrows the job.
    /// @param threads  at least 1; the files do not depend on it.
    /// @param corpus   that takes the tokens, as PieceWriter.
    PieceWork(const IngestJob& job, int threads, CorpusTokens* corpus = nullptr);
    /// A piece that is not finished leaves no file behind.
    ~PieceWork();
    PieceWork(const PieceWork&) = delete;
    PieceWork& operator=(const PieceWork&) = delete;

    /// Reads a piece; `file` appears later, by `finish` at the latest.
    /// @param progress  called after each block with the bytes of files behind this piece so far.
    /// @throws what reading and tokenizing throw, of earlier pieces too; then nothing more may be called.
    void add(const IngestPiece& piece, const std::filesystem::path& file,
             const std::function<void(std::uint64_t)>& progress);

    /// All files are there. @throws as add.
    void finish();

    /// The plain files of which every byte was read here: known without reading them again.
    const std::vector<IdentifiedSource>& identified() const;

  private:
    class State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
