// io/tokenizer/analysis/token_statistics.h
//
// Figures of a tally. Shares are in [0, 1], and 0 where there is nothing to share.

#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "io/tokenizer/analysis/token_tally.h"

namespace lockstep {

struct CoverageFigures {
    double vocabulary_used = 0;  ///< Share of the ids that occur.
    double unknown = 0;          ///< Share of the tokens that are the unknown token.
    double fragments = 0;        ///< Share of the tokens that hold part of a character.
    double whole_words = 0;      ///< Share of the words, each as often as it occurs, that are one token.
    std::uint64_t texts_changed = 0;
};
CoverageFigures coverage_of(const Tokenizer& tokenizer, const TokenTally& tally,
                            std::span<const WordTokens> words);

struct EntropyFigures {
    double bits_per_token = 0;  ///< Of the tokens' distribution: -sum p log2 p.
    double perplexity = 1;      ///< 2^bits: as many tokens, equally frequent, would be as hard to foretell.
    double normalized = 0;      ///< Bits over log2 of the vocabulary.
    double bits_per_byte = 0;   ///< What this distribution alone needs for a byte of text.
    double top_ten = 0;         ///< Share of the tokens that are one of the ten most frequent.
};
EntropyFigures entropy_of(std::span<const std::uint64_t> counts, std::uint64_t bytes);

struct EfficiencyFigures {
    double bytes_per_token = 0, characters_per_token = 0;
    double tokens_per_word = 0;  ///< Fertility.
    double tokens_per_text = 0;
    std::uint32_t median = 0, p90 = 0, p99 = 0, longest = 0;  ///< Tokens of a text; nearest rank.
};
EfficiencyFigures efficiency_of(const TokenTally& tally);

/// Every text padded or cut to `tokens_max`.
struct WasteFigures {
    std::uint64_t padding = 0;  ///< Tokens of padding.
    std::uint64_t lost = 0;     ///< Tokens cut off.
    double padding_share = 0;   ///< Of all places.
    double lost_share = 0;      ///< Of all tokens.
    /// Texts that are cut: of less than a tenth, up to a half, more than a half of their tokens.
    std::uint64_t cut_little = 0, cut_much = 0, cut_most = 0;
};
/// @param tokens_max  at least 1.
WasteFigures waste_of(std::span<const std::uint32_t> text_tokens, std::uint32_t tokens_max);

/// How well a vocabulary fits the texts, in [0, 100]: 40 points for 4 characters a token, 30 for no unknown
/// and no fragment (none left at a tenth of the tokens), 20 for every word being one token, 10 for half of
/// the vocabulary being used.
struct FitScore {
    double length = 0, known = 0, words = 0, used = 0;
    double total() const { return length + known + words + used; }
    /// A from 80, B from 65, C from 50, D from 35, else F.
    char grade() const;
};
FitScore fit_of(const EfficiencyFigures& efficiency, const CoverageFigures& coverage);

/// Tokens of a vocabulary by what they are.
struct VocabularyFigures {
    std::uint64_t specials = 0, fragments = 0, with_space = 0, words = 0, digits = 0, other = 0;
    std::uint64_t used = 0, once = 0;     ///< Of all; occur at all, occur once.
    std::vector<std::uint64_t> by_bytes;  ///< Tokens of 0, 1, 2, … 16 and more bytes.
    /// Tokens whose own text is encoded as something else: no text can produce most of them.
    std::vector<std::uint32_t> not_reached;
};
VocabularyFigures vocabulary_of(const Tokenizer& tokenizer, std::span<const std::uint64_t> counts);

/// Ids by falling count, of equal ones the lower first; those that occur.
std::vector<std::uint32_t> most_frequent(std::span<const std::uint64_t> counts, std::size_t limit);

}  // namespace lockstep
