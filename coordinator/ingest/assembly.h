// coordinator/ingest/assembly.h
//
// The pieces of an ingest, in order, to one corpus or two: what is repeated, bad
// or for validation is decided here, where everything is known.

#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "coordinator/ingest/ingest_job.h"
#include "io/corpus/corpus.h"
#include "io/corpus/corpus_tokens.h"
#include "io/corpus/ingest_piece.h"
#include "io/documents/document_reader.h"

namespace lockstep {

struct IngestOutputs {
    std::filesystem::path corpus;
    std::filesystem::path validation;  ///< Used when the job has a validation share.
    Overwrite overwrite = Overwrite::no;
    /// There already, from an earlier start of this very job: replaced without asking.
    bool corpus_is_own = false, validation_is_own = false;

    Overwrite corpus_overwrite() const { return corpus_is_own ? Overwrite::yes : overwrite; }
    Overwrite validation_overwrite() const { return validation_is_own ? Overwrite::yes : overwrite; }
};

struct IngestTotals {
    PublishedCorpus corpus;
    std::optional<PublishedCorpus> validation;
    Fingerprint tokenizer;
    std::uint64_t vocabulary_size = 0;
    PieceCounts counts;
    std::uint64_t source_bytes = 0, bad = 0, duplicates = 0;
    std::uint64_t pieces_found = 0;  ///< Done by an earlier start.
};

/// @param tokens      of all samples, where the pieces' are in the corpus' file already; nothing: they are
///                    copied from the pieces. Only for a job that keeps all samples in one corpus.
/// @param identities  of the sources, in order; pipes' are taken from the pieces.
/// @param threads     at least 1; the corpora do not depend on it.
/// @param when_ready  called when all outputs are on the disk under their temporary names, and none has
///                    appeared. They appear in the order validation, corpus (points "validation:…" and
///                    "corpus:written", "…:renamed").
/// @throws Error{corrupt_data} for a repeated id and for more bad documents than are tolerated;
///         Error{invalid_argument} if a corpus would be empty. Nothing is published then.
IngestTotals assemble(const IngestJob& job,
                      const std::function<std::filesystem::path(std::size_t)>& piece_path,
                      std::optional<CorpusTokens> tokens, std::vector<SourceIdentity> identities,
                      const IngestOutputs& outputs, int threads,
                      const std::function<void(const IngestTotals&)>& when_ready);

}  // namespace lockstep
