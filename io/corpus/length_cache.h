// io/corpus/length_cache.h
//
// Tokens per sample, without the tokens (DESIGN §4.2, docs/formats/lengths.md).
// Three things are one: lengths.jsonl as Lazarus writes it, lengths.h5 with the
// same as columns, and a corpus.
//
// Lengths are held as u32, 4 bytes a sample, and stay in the file's map when it
// has them as a column. Ids are one run of bytes and where each begins.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/files/atomic_file.h"

namespace lockstep {

class Corpus;

/// The columns of a cache while they come in. All of equal length, or empty where allowed.
struct LengthColumns {
    std::string tokenizer_hash;                ///< As the file says; empty if it does not.
    std::vector<std::uint32_t> sample_tokens;  ///< (num_samples) [tokens]
    std::vector<std::uint64_t> key_begin;      ///< (num_samples + 1) into key_bytes, or empty: no ids.
    std::string key_bytes;
    std::vector<std::uint32_t> loss_tokens;  ///< (num_samples) or empty: not recorded.
    std::vector<double> sample_score;        ///< (num_samples) finite, or empty: not recorded.

    void add_key(std::string_view key);
    void clear_keys();
};

/// Immutable; copies share what they hold.
class LengthCache {
  public:
    /// @pre the columns agree in length. Ids that are "0", "1", … in order say nothing and are left out.
    explicit LengthCache(LengthColumns columns);

    /// lengths.h5. Lengths stay in the file's map. @throws as ColumnFile::open; Error{corrupt_data} naming
    /// the file and the column that does not fit.
    static LengthCache open_columns(const std::filesystem::path& path);

    const std::string& tokenizer_hash() const;
    std::uint64_t num_samples() const { return sample_tokens().size(); }
    std::uint64_t num_tokens() const;
    std::span<const std::uint32_t> sample_tokens() const;  ///< (num_samples) [tokens]
    bool has_keys() const;
    std::string_view key(std::uint64_t sample) const;  ///< Empty without ids.
    std::span<const std::uint64_t> key_begin() const;  ///< (num_samples + 1) or empty
    std::span<const char> key_bytes() const;
    std::span<const std::uint32_t> loss_tokens() const;  ///< (num_samples) or empty
    std::span<const double> sample_score() const;        ///< (num_samples) or empty

    Fingerprint lengths_fingerprint() const;

    /// Everything that opening a large lengths.h5 leaves for later: every block, ids unique, fingerprint.
    void verify_everything() const;

  private:
    struct State;
    LengthCache() = default;
    void check_columns() const;  ///< Of a file: sums, ranges.
    void check_fingerprint() const;
    std::shared_ptr<const State> state_;
};

/// SHA-256 over (count, lengths as u64, keys or a no-keys marker): the same from corpus and lengths file.
/// `key_begin` (num_samples + 1) and `key_bytes` may both be empty: no keys.
Fingerprint fingerprint_of_lengths(std::span<const std::uint64_t> sample_tokens,
                                   std::span<const std::uint64_t> key_begin, std::span<const char> key_bytes);
Fingerprint fingerprint_of_lengths(std::span<const std::uint32_t> sample_tokens,
                                   std::span<const std::uint64_t> key_begin, std::span<const char> key_bytes);

/// Over (count, the doubles' bits); empty without scores.
Fingerprint fingerprint_of_scores(std::span<const double> sample_score);

/// Samples of a corpus; `loss_tokens` counted from its loss spans, if it has any.
LengthCache lengths_of(const Corpus& corpus);

/// What an id that stands twice in a lengths.jsonl means.
enum class DuplicateIds {
    refuse,
    last_wins,  ///< As Lazarus reads it: the place of the first, the values of the last.
};

/// lengths.jsonl: a header line (accepted if missing), then one object a sample. An id repeated or empty, a
/// length that is negative or ≥ 2^32, a line that is not such an object or is longer than 4 MiB:
/// Error{corrupt_data} with file:line. Memory beyond the columns is bounded.
LengthCache read_lengths_jsonl(const std::filesystem::path& path, DuplicateIds = DuplicateIds::refuse);
void write_lengths_jsonl(const std::filesystem::path& path, const LengthCache& lengths, Overwrite overwrite);

/// lengths.h5: a column file of format "lockstep-lengths". Ids must be unique, not empty and UTF-8, as in the
/// lines. @throws Error{invalid_argument} naming the sample.
void write_lengths_columns(const std::filesystem::path& path, const LengthCache& lengths,
                           Overwrite overwrite);

/// Columns when `path` ends in .h5, lines otherwise.
void write_lengths(const std::filesystem::path& path, const LengthCache& lengths, Overwrite overwrite);

/// A column file (lengths.h5, a corpus) and not text; told from the first bytes. A pipe holds text.
/// @throws Error{not_found, io_failure}.
bool is_column_file(const std::filesystem::path& path);

/// A lengths.jsonl, a lengths.h5 or a corpus, told apart by content.
LengthCache open_lengths(const std::filesystem::path& path);

/// Format name of lengths.h5.
inline constexpr std::string_view lengths_format = "lockstep-lengths";

}  // namespace lockstep
