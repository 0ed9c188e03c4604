// io/tokenizer/analysis/token_tally.h
//
// What a tokenizer makes of texts, counted once; the figures that people ask for
// are functions of it (token_statistics.h).

#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/training/word_counts.h"

namespace lockstep {

struct TokenTally {
    std::vector<std::uint64_t> counts;       ///< (vocabulary) occurrences by id.
    std::vector<std::uint32_t> text_tokens;  ///< (texts) tokens of each.
    std::uint64_t bytes = 0, characters = 0;
    std::uint64_t texts_changed = 0;  ///< Texts that do not decode to themselves.
    WordCounts words;                 ///< Runs without ASCII white space.

    std::uint64_t tokens() const;
    std::uint64_t num_words() const;
};

class TokenTallying {
  public:
    explicit TokenTallying(const Tokenizer& tokenizer);
    /// @throws as Tokenizer::encode; Error{invalid_argument} for a text of 2^32 tokens.
    void add(std::string_view text);
    TokenTally take() { return std::move(tally_); }

  private:
    const Tokenizer& tokenizer_;
    TokenTally tally_;
    std::vector<std::uint32_t> ids_;
};

/// The token that stands for what the vocabulary does not have, by its usual names; most have none.
std::optional<std::uint32_t> unknown_id(const Tokenizer& tokenizer);

/// True for tokens that hold a part of a character only, such as the bytes of byte level and byte fallback.
bool is_fragment(const Tokenizer& tokenizer, std::uint32_t id);

/// A word and the tokens it comes to, with a space before it where the vocabulary has words that way.
struct WordTokens {
    std::string_view word;
    std::uint64_t count = 0;
    std::uint32_t tokens = 0;
    bool has_unknown = false, has_fragments = false;
};
/// All different words, most frequent first, of equal ones by their bytes. Views into `words`.
std::vector<WordTokens> tokenize_words(const Tokenizer& tokenizer, const WordCounts& words);

}  // namespace lockstep
