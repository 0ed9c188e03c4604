// io/tokenizer/model/token_model.h
//
// The last stage of tokenizing: pieces of text to ids. Byte pair encoding,
// WordPiece, Unigram.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/fingerprint.h"
#include "io/tokenizer/merge_table.h"
#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/word_cache.h"

namespace lockstep {

/// What one thread needs while it tokenizes; kept between calls.
struct ModelScratch {
    WordCache cache;
    MergeTable::Scratch merging;
    std::vector<std::uint32_t> symbols;
    std::vector<std::uint32_t> symbol_bytes;  ///< How long they are, if offsets are asked for.
    std::vector<std::uint32_t> starts;        ///< Unigram: best start of a piece that ends here.
    std::vector<double> scores;
    std::vector<std::uint32_t> best_ids;
    std::size_t window_bytes = std::size_t{1} << 15U;  ///< Unigram: longer pieces are gone through by parts.
};

/// Tokens and their ids, as the file has them.
struct VocabularyEntry {
    std::string token;
    std::uint32_t id = 0;
};

class TokenModel {
  public:
    virtual ~TokenModel() = default;

    /// Ids of a whole text of consecutive pieces [begin, ends[0]), [ends[0], ends[1]), …, appended.
    /// Words that came up lately are taken from the cache.
    void encode_pieces(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                       ModelScratch& scratch, std::vector<std::uint32_t>& ids) const;

    /// Ids of one piece, appended. @pre not empty.
    virtual void encode_piece(std::string_view piece, ModelScratch& scratch,
                              std::vector<std::uint32_t>& ids) const = 0;
    /// The same, and the bytes of the piece that each token stands for, as the reference engine counts them.
    virtual void encode_piece(std::string_view piece, ModelScratch& scratch, std::vector<std::uint32_t>& ids,
                              std::vector<TokenOffsets>& offsets) const = 0;

    /// Everything ids depend on.
    virtual void add_to(FingerprintBuilder& builder) const = 0;
};

struct BytePairOptions {
    bool bytes = false;          ///< Tokens are runs of bytes; else of characters.
    bool ignore_merges = false;  ///< A piece that is a token is that token, whatever the merges say.
    bool byte_fallback = false;  ///< An unknown character is spelled in tokens <0x00> to <0xFF>.
    bool fuse_unknown = false;
    std::optional<std::uint32_t> unknown_id;  ///< Absent: unknown characters vanish.
    std::string continuing_prefix, end_suffix;
};

/// @param vocabulary  tokens as bytes to be compared with the text (already unmapped for byte level).
/// @param rules       in the order of their ranks.
std::unique_ptr<TokenModel> make_byte_pair_model(const std::vector<VocabularyEntry>& vocabulary,
                                                 std::vector<MergeRule> rules, BytePairOptions options);

/// Rules of a vocabulary that has none: two tokens merge if together they are a token; its id is the rank.
std::vector<MergeRule> rules_of_ranks(const std::vector<VocabularyEntry>& vocabulary);

struct WordPieceOptions {
    std::uint32_t unknown_id = 0;
    std::string continuing_prefix = "##";
    std::size_t word_characters_max = 100;
};
std::unique_ptr<TokenModel> make_word_piece_model(const std::vector<VocabularyEntry>& vocabulary,
                                                  WordPieceOptions options);

struct UnigramPiece {
    std::string text;
    double score = 0;  ///< Log probability.
};
/// Ids are positions. @param unknown_id absent: a text with unknown characters is refused.
std::unique_ptr<TokenModel> make_unigram_model(std::vector<UnigramPiece> pieces,
                                               std::optional<std::uint32_t> unknown_id, bool byte_fallback);

/// "<0x0A>" for 10.
std::string byte_token(unsigned byte);

}  // namespace lockstep
