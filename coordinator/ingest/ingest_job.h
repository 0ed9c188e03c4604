// coordinator/ingest/ingest_job.h
//
// What an ingest does, as a value: which sources, cut into which pieces, and by
// which rules. Rank 0 makes it, everyone follows it, and a later start that finds
// the same one goes on where the first was interrupted.

#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/corpus/corpus.h"
#include "io/documents/document.h"
#include "io/documents/document_block.h"
#include "io/documents/source_kind.h"
#include "io/tokenizer/tokenizer.h"

namespace lockstep {

/// Which documents become samples, and of which corpus.
struct SampleFilter {
    static constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t tokens_min = 0, tokens_max = no_limit;
    std::uint64_t text_bytes_min = 0, text_bytes_max = no_limit;
    bool dedup = false;           ///< Keep the first of documents with the same text.
    double validation_share = 0;  ///< In [0, 1): documents that go to the other corpus, by hash of the text.
    friend bool operator==(const SampleFilter&, const SampleFilter&) = default;
};

struct IngestSource {
    std::string name;  ///< As the user gave it.
    SourceKind kind;
    bool is_pipe = false;
    std::uint64_t bytes = 0;    ///< Of all its files.
    std::int64_t modified = 0;  ///< The latest of them [ns since the epoch].
    std::uint64_t num_spans = 0;
};

/// Spans in the order of the sources, about `piece_bytes` of them.
using IngestPiece = std::vector<SourceSpan>;

struct IngestJob {
    static constexpr std::uint64_t piece_bytes_usual = std::uint64_t{64} << 20U;

    DocumentOptions document;
    SpecialsPolicy policy;
    SampleFilter filter;
    std::shared_ptr<const Tokenizer> tokenizer;
    CorpusTokenizer tokenizer_record;  ///< What the corpus will say of it.
    std::vector<IngestSource> sources;
    std::vector<IngestPiece> pieces;

    /// Tokenizer and record. @param file  that it was read from, if from any.
    void set_tokenizer(std::shared_ptr<const Tokenizer> made, std::optional<TokenizerFile> file = {});

    bool has_pipe() const;
    /// Bytes of files behind a span or piece; an estimate for tables.
    std::uint64_t bytes_of(const SourceSpan& span) const;
    std::uint64_t bytes_of(const IngestPiece& piece) const;

    /// What the pieces depend on; of the tokenizer a digest.
    std::string pieces_json() const;
    /// The rest, which only assembly asks: skip_bad, dedup, validation_share, the tokenizer's file.
    std::string assembly_json() const;
    /// All of it, for the other ranks, with the tokenizer's description.
    std::string to_json() const;
    /// Builds the tokenizer. @throws Error{bug} if that is not the one described.
    static IngestJob from_json(const std::string& text);
};

/// Look at the sources and divide them.
/// @throws Error{not_found, corrupt_data}; Error{invalid_argument} also for a name or option that is no
///         UTF-8, which neither the job nor the corpus could hold.
void plan_pieces(IngestJob& job, const std::vector<std::filesystem::path>& files, std::uint64_t piece_bytes);

/// @throws Error{corrupt_data} if a source is not what it was when the job was made.
void require_unchanged_sources(const IngestJob& job);

/// How documents were cut, for corpus.h5: {"version":1,"document":"line","text_field":"text",…}.
std::string ingest_record_of(const DocumentOptions& document, const SpecialsPolicy& policy);
struct IngestRecord {
    DocumentOptions document;
    SpecialsPolicy policy;
};
/// @throws Error{corrupt_data, incompatible_version}.
IngestRecord parse_ingest_record(const std::string& json);

}  // namespace lockstep
