// io/corpus/corpus.h
//
// A corpus: the tokens of all samples end to end, where each begins, what is
// trained, and where it came from. Immutable once published. Format:
// docs/formats/corpus.md (DESIGN §4.1).

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/digest.h"
#include "io/base/fingerprint.h"
#include "io/files/atomic_file.h"

namespace lockstep {

class CorpusTokens;

/// Half-open range of predicted tokens, relative to the sample.
struct LossSpan {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    friend bool operator==(const LossSpan&, const LossSpan&) = default;
};

/// The file or folder that a tokenizer was read from.
struct TokenizerFile {
    std::string name;     ///< As the user gave it.
    std::string pattern;  ///< --pattern of a .tiktoken file; may be empty.
    Digest digest;        ///< As digest_of_tokenizer_files.
};

/// What a corpus says of the tokenizer that made it.
struct CorpusTokenizer {
    std::string description_json;  ///< Enough to build it again.
    Fingerprint fingerprint;       ///< Of the effective tokenizer (DESIGN §4.1).
    std::uint64_t vocabulary_size = 0;
    std::optional<std::uint32_t> bos_id, eos_id, pad_id;
    /// Absent for built-in ones, OpenAI's by name, and in older corpora. No part of any fingerprint.
    std::optional<TokenizerFile> file;
};

/// One source file as it was read.
struct SourceFile {
    std::string name;  ///< As the user gave it.
    std::uint64_t bytes = 0;
    Digest digest;
};

/// One sample on its way into a corpus.
struct SampleRecord {
    std::span<const std::uint32_t> tokens;  ///< Each below the vocabulary size. May be empty.
    bool has_loss_spans = false;            ///< False: the whole sample is trained.
    std::span<const LossSpan> loss_spans;   ///< Ascending, disjoint, within the sample.
    std::string_view key;                   ///< The user's id; empty: none.
    std::uint32_t source_index = 0;
    std::uint64_t source_offset = 0;  ///< Byte offset of the document in its source.
    Digest source_digest;             ///< Of the document's bytes.
    std::optional<double> score;      ///< Finite; of all samples or of none.
};

/// One sample whose tokens lie elsewhere, stored as the corpus will store them.
struct StoredSample {
    std::uint64_t num_tokens = 0;
    bool has_loss_spans = false;
    std::span<const LossSpan> loss_spans;
    std::string_view key;
    std::uint32_t source_index = 0;
    std::uint64_t source_offset = 0;
    Digest source_digest;
    std::optional<double> score;
};

/// What a corpus is known by, as it was published.
struct PublishedCorpus {
    std::uint64_t num_samples = 0, num_tokens = 0;
    Fingerprint content, lengths;
    std::string file_digest;  ///< As ColumnFile::digest_hex: of every bit of the file.
};

/// Collects samples in order and publishes the corpus. Tokens are spooled beside `path`, so memory stays
/// bounded by the per-sample columns.
class CorpusWriter {
  public:
    CorpusWriter(const std::filesystem::path& path, const CorpusTokenizer& tokenizer, Overwrite overwrite);
    ~CorpusWriter();
    CorpusWriter(const CorpusWriter&) = delete;
    CorpusWriter& operator=(const CorpusWriter&) = delete;

    /// @return the index that samples of this source carry.
    std::uint32_t add_source(const SourceFile& source);
    /// The digest and size of a source become known only after reading it.
    void set_source(std::uint32_t index, const SourceFile& source);
    /// @throws Error{invalid_argument} naming a token id beyond the vocabulary, a bad span, or a score that
    /// is not finite or that only some samples have.
    void add(const SampleRecord& sample);
    /// Documents left out, by reason ("bad_line", "empty"); recorded in the corpus.
    void count_left_out(std::string_view reason, std::uint64_t documents);

    /// How the documents were cut, as JSON: enough to find them in their sources again. No part of any
    /// fingerprint.
    void set_ingest_record(std::string_view json);

    /// @throws Error{invalid_argument} if no sample was added or an id is repeated.
    PublishedCorpus publish();

    /// Instead of `add`: the tokens are asked for once, by `publish`.
    void add_stored(const StoredSample& sample);
    using TokenSink = std::function<void(std::span<const std::byte>)>;
    /// @param give  hands the tokens of all samples, in order and in any pieces of whole tokens, to the sink.
    PublishedCorpus publish(const std::function<void(const TokenSink&)>& give);

    /// `publish` in two halves, for corpora that are to appear together: all of it under its temporary name,
    /// then what the disk can hardly refuse any more.
    /// @param threads  at least 1; the file does not depend on it.
    PublishedCorpus prepare(const std::function<void(const TokenSink&)>& give, int threads = 1);
    /// With the tokens of all samples where they are (corpus_tokens.h).
    PublishedCorpus prepare(CorpusTokens tokens, int threads);
    /// The temporary name, of a prepared corpus.
    const std::filesystem::path& prepared_path() const;
    void publish_prepared();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// A published corpus, memory-mapped.
class Corpus {
  public:
    /// Digests, counts, offsets and vocabulary are cross-checked. @throws as ColumnFile::open.
    static Corpus open(const std::filesystem::path& path);
    ~Corpus();
    Corpus(Corpus&&) noexcept;
    Corpus& operator=(Corpus&&) noexcept;

    const std::filesystem::path& path() const;
    std::uint64_t num_samples() const;
    std::uint64_t num_tokens() const;
    const CorpusTokenizer& tokenizer() const;
    Fingerprint content_fingerprint() const;  ///< Tokens, offsets, spans, keys, tokenizer.
    Fingerprint lengths_fingerprint() const;  ///< As io/corpus/length_cache.h computes it (lengths, keys).

    /// (num_samples + 1) running sum of lengths [tokens].
    std::span<const std::uint64_t> sample_begin() const;
    std::uint64_t sample_tokens(std::uint64_t sample) const;
    bool has_loss_spans() const;
    /// Spans of one sample; empty when `has_loss_spans()` is false (then all of it is trained).
    std::span<const LossSpan> loss_spans(std::uint64_t sample) const;
    bool has_keys() const;
    std::string_view key(std::uint64_t sample) const;
    /// (num_samples) or empty: none known. No part of the content fingerprint.
    std::span<const double> sample_score() const;

    /// Tokens [offset, offset + out.size()) of a sample, widened to u32. Checks the digest blocks touched.
    void read_tokens(std::uint64_t sample, std::uint64_t offset, std::span<std::uint32_t> out) const;
    /// Advice: tokens of this sample from `offset` on are read soon. Samples lie anywhere, and to come by the
    /// first of each takes longer than to copy the rest.
    void prefetch_tokens(std::uint64_t sample, std::uint64_t offset) const;
    /// Occurrences of every token id (vocabulary_size); one pass, for statistics.
    std::vector<std::uint64_t> count_tokens() const;

    struct Provenance {
        std::uint32_t source_index;
        std::uint64_t source_offset;
        Digest source_digest;
    };
    Provenance provenance(std::uint64_t sample) const;
    std::vector<SourceFile> sources() const;
    /// (reason, documents) of what ingest left out.
    std::vector<std::pair<std::string, std::uint64_t>> left_out() const;

    /// As CorpusWriter::set_ingest_record; empty for corpora without.
    std::string ingest_record() const;

    /// Tokens of samples [begin, end) as they are stored: u16 or u32 (corpus_format::token_type).
    std::span<const std::byte> stored_tokens(std::uint64_t sample_begin, std::uint64_t sample_end) const;

    void verify_everything() const;

  private:
    Corpus();
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
