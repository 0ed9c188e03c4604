// io/corpus/corpus_format.h
//
// Names and fingerprints of the corpus format, for writer and reader alike
// (docs/formats/corpus.md).

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/columns/column_file.h"

namespace lockstep::corpus_format {

inline constexpr std::string_view format = "lockstep-corpus";
inline constexpr std::uint64_t version = 1;
inline constexpr std::string_view ingest_attribute = "ingest";
inline constexpr std::string_view tokenizer_file_attribute = "tokenizer_file";
inline constexpr std::string_view tokenizer_pattern_attribute = "tokenizer_file_pattern";
inline constexpr std::string_view tokenizer_digest_attribute = "tokenizer_file_digest";

namespace columns {
inline constexpr std::string_view tokens = "/tokens";
inline constexpr std::string_view sample_begin = "/sample_begin";
inline constexpr std::string_view loss_span_begin = "/loss_span_begin";
inline constexpr std::string_view loss_spans = "/loss_spans";
inline constexpr std::string_view key_begin = "/key_begin";
inline constexpr std::string_view key_bytes = "/key_bytes";
inline constexpr std::string_view sample_score = "/sample_score";
inline constexpr std::string_view source_index = "/source_index";
inline constexpr std::string_view source_offset = "/source_offset";
inline constexpr std::string_view source_digest = "/source_digest";
inline constexpr std::string_view file_name_begin = "/source_file/name_begin";
inline constexpr std::string_view file_name_bytes = "/source_file/name_bytes";
inline constexpr std::string_view file_bytes = "/source_file/bytes";
inline constexpr std::string_view file_digest = "/source_file/digest";
inline constexpr std::string_view reason_begin = "/left_out/reason_begin";
inline constexpr std::string_view reason_bytes = "/left_out/reason_bytes";
inline constexpr std::string_view reason_documents = "/left_out/documents";
}  // namespace columns

/// Largest vocabulary whose ids are stored as u16; beyond it they are u32.
inline constexpr std::uint64_t u16_vocabulary_max = 65536;
inline constexpr std::uint64_t vocabulary_max = std::uint64_t{1} << 32U;

constexpr ColumnType token_type(std::uint64_t vocabulary_size) {
    return vocabulary_size <= u16_vocabulary_max ? ColumnType::u16 : ColumnType::u32;
}

/// Tokens as stored, fed in any pieces, to the root of a tree of SHA-256 with leaves of 1 MiB.
class TokenTree {
  public:
    static constexpr std::size_t leaf_bytes_max = std::size_t{1} << 20U;

    void update(std::span<const std::byte> bytes);
    /// Leaves made elsewhere, from where the last whole one ended; the very last may be shorter.
    void add(std::span<const Fingerprint> leaves);
    static std::vector<Fingerprint> leaves_of(std::span<const std::byte> bytes);
    /// @param num_tokens, type  bind length and width. Ends the tree.
    Fingerprint finish(std::uint64_t num_tokens, ColumnType type);

  private:
    void end_leaf();

    FingerprintBuilder leaf_{""};
    std::size_t leaf_bytes_ = 0;
    std::vector<Fingerprint> leaves_;
};

/// What a corpus' identity is made of.
struct Content {
    Fingerprint tokenizer;
    std::uint64_t vocabulary_size = 0;
    Fingerprint token_root;
    std::span<const std::uint64_t> sample_begin;
    std::span<const std::uint64_t> loss_span_begin;  ///< Empty: no spans.
    std::span<const std::uint32_t> loss_spans;       ///< Begin and end, interleaved.
    std::span<const std::uint64_t> key_begin;        ///< Empty: no keys.
    std::span<const char> key_bytes;
};

Fingerprint fingerprint_of(const Content& content);

/// As io/corpus/length_cache.h defines it, from running sums.
Fingerprint lengths_fingerprint_of(std::span<const std::uint64_t> sample_begin,
                                   std::span<const std::uint64_t> key_begin, std::span<const char> key_bytes);

}  // namespace lockstep::corpus_format
