// io/length_cache.h
//
// Tokens per sample, without the tokens. A corpus is one; so is lengths.jsonl as
// Lazarus writes it (docs/formats/lengths.md, DESIGN §4.2).

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/atomic_file.h"
#include "io/base/fingerprint.h"

namespace lockstep {

class Corpus;

struct LengthCache {
    std::string tokenizer_hash;                ///< As the file says; empty if it does not.
    std::vector<std::uint64_t> sample_tokens;  ///< (num_samples) [tokens], each < 2^32.
    std::vector<std::string> keys;             ///< (num_samples) the users' ids, or empty: no keys.
    std::vector<std::uint64_t> loss_tokens;    ///< (num_samples) or empty: not recorded.

    Fingerprint lengths_fingerprint() const;
};

/// SHA-256 over (count, lengths as u64, keys or a no-keys marker): the same from corpus and lengths file.
/// `key_begin` (num_samples + 1) and `key_bytes` may both be empty: no keys.
Fingerprint fingerprint_of_lengths(std::span<const std::uint64_t> sample_tokens,
                                   std::span<const std::uint64_t> key_begin, std::span<const char> key_bytes);

/// A header line (accepted if missing), then one object a sample. A key repeated, an empty key, a length that
/// is negative or ≥ 2^32, a line that is not such an object: Error{corrupt_data} with file:line.
LengthCache read_lengths_jsonl(const std::filesystem::path& path);

void write_lengths_jsonl(const std::filesystem::path& path, const LengthCache& lengths, Overwrite overwrite);

LengthCache lengths_of(const Corpus& corpus);

}  // namespace lockstep
