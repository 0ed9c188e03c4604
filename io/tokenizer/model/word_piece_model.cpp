#include "io/tokenizer/model/token_model.h"
#include "io/tokenizer/token_index.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

/// Greedy, longest first; a word that cannot be spelled to its end is unknown as a whole.
class WordPieceModel : public TokenModel {
  public:
    WordPieceModel(const std::vector<VocabularyEntry>& vocabulary, WordPieceOptions options)
        : options_(std::move(options)) {
        const std::string& prefix = options_.continuing_prefix;
        for (const VocabularyEntry& entry : vocabulary) {
            first_.set(entry.token, entry.id);
            if (entry.token.starts_with(prefix)) later_.set(entry.token.substr(prefix.size()), entry.id);
        }
    }

    void encode_piece(std::string_view piece, ModelScratch&, std::vector<std::uint32_t>& ids) const override {
        spell(piece, ids, [](std::size_t, std::size_t) {});
    }

    void encode_piece(std::string_view piece, ModelScratch&, std::vector<std::uint32_t>& ids,
                      std::vector<TokenOffsets>& offsets) const override {
        const std::size_t first = offsets.size();
        const bool known = spell(piece, ids, [&](std::size_t begin, std::size_t end) {
            offsets.push_back({begin, end});
        });
        if (known) return;
        offsets.resize(first);
        offsets.push_back({0, piece.size()});
    }

    void add_to(FingerprintBuilder& builder) const override {
        builder.add("wordpiece")
            .add(std::uint64_t{options_.unknown_id})
            .add(options_.continuing_prefix)
            .add(std::uint64_t{options_.word_characters_max});
    }

  private:
    /// @return false if the piece is unknown.
    template <class Found>
    bool spell(std::string_view piece, std::vector<std::uint32_t>& ids, const Found& found) const {
        const std::size_t begin_ids = ids.size();
        bool known = num_characters(piece) <= options_.word_characters_max;
        for (std::size_t begin = 0; known && begin < piece.size();) {
            const TokenIndex& index = begin == 0 ? first_ : later_;
            std::size_t end = std::min(piece.size(), begin + index.longest());
            std::uint32_t id = TokenIndex::none;
            for (; end > begin; --end) {
                if (end < piece.size() && (static_cast<unsigned char>(piece[end]) & 0xC0U) == 0x80U) continue;
                id = index.find(piece.substr(begin, end - begin));
                if (id != TokenIndex::none) break;
            }
            known = id != TokenIndex::none;
            if (known) {
                ids.push_back(id);
                found(begin, end);
            }
            begin = end;
        }
        if (known) return true;
        ids.resize(begin_ids);
        ids.push_back(options_.unknown_id);
        return false;
    }

    static std::size_t num_characters(std::string_view text) {
        std::size_t count = 0;
        for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1U : 0U;
        return count;
    }

    WordPieceOptions options_;
    TokenIndex first_, later_;  ///< Tokens at a word's begin; inside it, without their prefix.
};

}  // namespace

std::unique_ptr<TokenModel> make_word_piece_model(const std::vector<VocabularyEntry>& vocabulary,
                                                  WordPieceOptions options) {
    return std::make_unique<WordPieceModel>(vocabulary, std::move(options));
}

}  // namespace lockstep
