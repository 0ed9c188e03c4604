// io/corpus/ingest_piece.h
//
// One piece of the sources on its way into a corpus: a file of the work folder
// that is whole or not there. Its tokens are in it, or where the corpus will have
// them. Transient: only the program that wrote it reads it (docs/formats/corpus.md,
// "Writing").

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/base/digest.h"
#include "io/columns/column_file.h"
#include "io/corpus/corpus.h"
#include "io/corpus/corpus_tokens.h"

namespace lockstep {

/// Documents of a piece that are no samples, without those that could not be read;
/// and those that are samples with U+FFFD in place of invalid UTF-8.
struct PieceCounts {
    std::uint64_t empty = 0, too_short = 0, too_long = 0;
    std::uint64_t repaired = 0;

    PieceCounts& operator+=(const PieceCounts& more);
};

/// What is known of the samples of a piece besides their tokens; n samples.
struct PieceSamples {
    static constexpr std::uint32_t no_spans = ~std::uint32_t{0};

    std::vector<std::uint32_t> tokens;         ///< (n)
    std::vector<std::uint32_t> source_index;   ///< (n)
    std::vector<std::uint64_t> source_offset;  ///< (n)
    std::vector<std::uint64_t> source_digest;  ///< (2n) low, high.
    std::vector<std::uint64_t> text_digest;    ///< (2n) of the text alone.
    std::vector<std::uint32_t> key_bytes;      ///< (n)
    std::vector<char> keys;
    std::vector<double> scores;            ///< (n) or empty: the documents have none.
    std::vector<std::uint32_t> num_spans;  ///< (n) `no_spans`: the whole sample is trained.
    std::vector<std::uint32_t> spans;      ///< Begin and end of each.

    // Documents that are no samples.
    std::vector<std::uint32_t> bad_source;
    std::vector<std::uint64_t> bad_offset;
    std::vector<std::uint32_t> bad_bytes;  ///< Of the problem's text.
    std::vector<char> bad_problems;
    PieceCounts counts;

    // Of sources that can be read only once.
    std::vector<std::uint32_t> pipe_source;
    std::vector<std::uint64_t> pipe_identity;  ///< Bytes, digest low, digest high.

    std::size_t size() const { return tokens.size(); }
    void append(const PieceSamples& more);
};

/// Beside the pieces: the file of CorpusTokens.
std::filesystem::path corpus_tokens_path(const std::filesystem::path& piece);

class PieceWriter {
  public:
    /// @param corpus  takes the tokens, which are else part of the piece; of `corpus_tokens_path`. Outlives
    ///                this.
    PieceWriter(const std::filesystem::path& path, ColumnType token_type, CorpusTokens* corpus = nullptr);
    ~PieceWriter();
    PieceWriter(const PieceWriter&) = delete;
    PieceWriter& operator=(const PieceWriter&) = delete;

    /// @param tokens  as stored, of all `samples` end to end.
    void append(std::span<const std::byte> tokens, const PieceSamples& samples);
    PieceSamples& samples();
    /// The file appears. Not synced: after a power cut its digests tell.
    void finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

class PieceFile {
  public:
    /// @throws Error{corrupt_data} unless everything but the tokens is sound and they are all there.
    PieceFile(const std::filesystem::path& path, ColumnType token_type);
    ~PieceFile();
    PieceFile(PieceFile&&) noexcept;
    PieceFile& operator=(PieceFile&&) = delete;

    /// Nothing if it is not there, or not sound. @throws Error{io_failure} if it cannot be read.
    static std::optional<PieceFile> find(const std::filesystem::path& path, ColumnType token_type);

    const PieceSamples& samples() const;
    std::uint64_t num_tokens() const;
    Digest token_digest() const;
    /// Where they begin in the file of CorpusTokens; nothing: they are in the piece.
    std::optional<std::uint64_t> place_in_corpus() const;
    /// Of the tokens as they are read now, all of them; damaged ones have another than `token_digest`.
    Digest token_digest_found() const;
    /// It is read no more: its pages can hold what is written next. Memory that was not used for long can be
    /// dear to have (a virtual machine must ask its host first): 2 s a GB were measured.
    void forget();
    /// Bytes of the stored tokens.
    void read(std::uint64_t byte_offset, std::span<std::byte> into) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lockstep
