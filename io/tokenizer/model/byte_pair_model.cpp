#include <algorithm>
#include <array>

#include "io/base/error.h"
#include "io/tokenizer/model/token_model.h"
#include "io/tokenizer/token_index.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

constexpr std::string_view metaspace = "\u2581";

class BytePairModel : public TokenModel {
  public:
    BytePairModel(const std::vector<VocabularyEntry>& vocabulary, std::vector<MergeRule> rules,
                  BytePairOptions options)
        : options_(std::move(options)), rules_(std::move(rules)), merges_(rules_) {
        for (const VocabularyEntry& entry : vocabulary) index_.set(entry.token, entry.id);
        byte_ids_.fill(TokenIndex::none);
        for (unsigned b = 0; b < 256; ++b)
            byte_ids_[b] = index_.find(options_.bytes ? std::string(1, static_cast<char>(b)) : byte_token(b));
        all_bytes_ = std::none_of(byte_ids_.begin(), byte_ids_.end(),
                                  [](std::uint32_t id) { return id == TokenIndex::none; });
        collect_whole(vocabulary);
        splits_at_metaspace_ = splits_at_metaspace(vocabulary);
    }

    void encode_piece(std::string_view piece, ModelScratch& scratch,
                      std::vector<std::uint32_t>& ids) const override {
        if (!splits_at_metaspace_) return encode_word(piece, scratch, ids);
        // No rule reaches over a border before a run of metaspaces: the words between are independent.
        std::array<std::size_t, 64> ends;
        std::size_t begin = 0;
        for (std::size_t at = 0; at < piece.size();) {
            std::size_t count = 0;
            while (count < ends.size() && at < piece.size()) {
                at = word_end(piece, at);
                ends[count++] = at;
            }
            encode_words(piece, begin, {ends.data(), count}, scratch, ids);
            begin = at;
        }
    }

    void add_to(FingerprintBuilder& builder) const override {
        builder.add("bpe")
            .add(static_cast<std::uint64_t>(options_.bytes))
            .add(static_cast<std::uint64_t>(options_.ignore_merges))
            .add(static_cast<std::uint64_t>(options_.byte_fallback))
            .add(static_cast<std::uint64_t>(options_.fuse_unknown))
            .add(static_cast<std::uint64_t>(options_.unknown_id.value_or(TokenIndex::none)))
            .add(options_.continuing_prefix)
            .add(options_.end_suffix)
            .add(static_cast<std::uint64_t>(rules_.size()));
        for (const MergeRule& rule : rules_)
            builder.add(std::uint64_t{rule.left})
                .add(std::uint64_t{rule.right})
                .add(std::uint64_t{rule.rank});
    }

  private:
    void encode_word(std::string_view word, ModelScratch& scratch, std::vector<std::uint32_t>& ids) const {
        const std::uint32_t whole = whole_.find(word);
        if (whole != TokenIndex::none) {
            ids.push_back(whole);
            return;
        }
        scratch.symbols.clear();
        if (options_.bytes && all_bytes_) {
            for (const char c : word) scratch.symbols.push_back(byte_ids_[static_cast<unsigned char>(c)]);
        } else if (options_.bytes) {
            spell_bytes(word, scratch.symbols);
        } else {
            spell_characters(word, scratch.symbols);
        }
        merges_.merge(scratch.symbols, scratch.merging);
        ids.insert(ids.end(), scratch.symbols.begin(), scratch.symbols.end());
    }

    void encode_words(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                      ModelScratch& scratch, std::vector<std::uint32_t>& ids) const {
        for (const std::size_t end : ends) {
            const std::string_view word = text.substr(begin, end - begin);
            if (word.size() > WordCache::key_bytes_max) {
                encode_word(word, scratch, ids);
            } else {
                const WordCache::Key key = WordCache::key_of(word, text.size() - begin);
                const auto known = scratch.cache.find(key);
                if (!known.empty()) {
                    ids.insert(ids.end(), known.begin(), known.end());
                } else {
                    const std::size_t first = ids.size();
                    encode_word(word, scratch, ids);
                    scratch.cache.put(key, std::span(ids).subspan(first));
                }
            }
            begin = end;
        }
    }

    /// End of the metaspaces at `at` and of what follows them up to the next.
    static std::size_t word_end(std::string_view text, std::size_t at) {
        while (text.substr(at).starts_with(metaspace)) at += metaspace.size();
        const std::size_t next = text.find(metaspace, at);
        return next == std::string_view::npos ? text.size() : next;
    }

    void unknown(std::vector<std::uint32_t>& symbols, bool& pending) const {
        if (!options_.unknown_id) return;
        if (pending && !options_.fuse_unknown) symbols.push_back(*options_.unknown_id);
        pending = true;
    }

    void flush_unknown(std::vector<std::uint32_t>& symbols, bool& pending) const {
        if (pending) symbols.push_back(*options_.unknown_id);
        pending = false;
    }

    /// Byte level with a vocabulary that lacks some bytes. The reference sees one character a byte.
    void spell_bytes(std::string_view word, std::vector<std::uint32_t>& symbols) const {
        bool pending = false;
        for (const char c : word) {
            const std::uint32_t id = byte_ids_[static_cast<unsigned char>(c)];
            if (id == TokenIndex::none) {
                unknown(symbols, pending);
            } else {
                flush_unknown(symbols, pending);
                symbols.push_back(id);
            }
        }
        flush_unknown(symbols, pending);
    }

    void spell_characters(std::string_view word, std::vector<std::uint32_t>& symbols) const {
        bool pending = false;
        std::string decorated;
        for (std::size_t at = 0; at < word.size();) {
            const std::size_t begin = at;
            take_code_point(word, at);
            std::string_view character = word.substr(begin, at - begin);
            const bool prefixed = begin > 0 && !options_.continuing_prefix.empty();
            const bool suffixed = at == word.size() && !options_.end_suffix.empty();
            if (prefixed || suffixed) {
                decorated = (prefixed ? options_.continuing_prefix : "") + std::string(character) +
                            (suffixed ? options_.end_suffix : "");
                character = decorated;
            }
            const std::uint32_t id = index_.find(character);
            if (id != TokenIndex::none) {
                flush_unknown(symbols, pending);
                symbols.push_back(id);
            } else if (!options_.byte_fallback || !spell_fallback(character, symbols)) {
                unknown(symbols, pending);
            }
        }
        flush_unknown(symbols, pending);
    }

    bool spell_fallback(std::string_view character, std::vector<std::uint32_t>& symbols) const {
        for (const char c : character) {
            if (byte_ids_[static_cast<unsigned char>(c)] == TokenIndex::none) return false;
        }
        for (const char c : character) symbols.push_back(byte_ids_[static_cast<unsigned char>(c)]);
        return true;
    }

    /// Tokens that may be taken without merging: all of them if the file says so, else those that merging
    /// their own spelling ends in.
    void collect_whole(const std::vector<VocabularyEntry>& vocabulary) {
        if (!options_.continuing_prefix.empty() || !options_.end_suffix.empty()) {
            if (!options_.ignore_merges) return;
            for (const VocabularyEntry& entry : vocabulary) whole_.set(entry.token, entry.id);
            return;
        }
        MergeTable::Scratch scratch;
        std::vector<std::uint32_t> symbols;
        for (const VocabularyEntry& entry : vocabulary) {
            if (entry.token.empty()) continue;
            if (!options_.ignore_merges) {
                symbols.clear();
                if (options_.bytes) {
                    spell_bytes(entry.token, symbols);
                } else {
                    spell_characters(entry.token, symbols);
                }
                merges_.merge(symbols, scratch);
                if (symbols.size() != 1 || symbols[0] != entry.id) continue;
            }
            whole_.set(entry.token, entry.id);
        }
    }

    /// True if words may be cut before runs of metaspaces: no token has one behind another character, so no
    /// rule can make one.
    bool splits_at_metaspace(const std::vector<VocabularyEntry>& vocabulary) const {
        if (options_.bytes || options_.ignore_merges || !options_.continuing_prefix.empty() ||
            !options_.end_suffix.empty() || index_.find(metaspace) == TokenIndex::none)
            return false;
        std::vector<bool> made;
        for (const MergeRule& rule : rules_) {
            if (rule.result >= made.size()) made.resize(rule.result + std::size_t{1});
            made[rule.result] = true;
        }
        return std::none_of(vocabulary.begin(), vocabulary.end(), [&](const VocabularyEntry& entry) {
            return entry.id < made.size() && made[entry.id] && word_end(entry.token, 0) != entry.token.size();
        });
    }

    BytePairOptions options_;
    std::vector<MergeRule> rules_;
    MergeTable merges_;
    TokenIndex index_, whole_;
    std::array<std::uint32_t, 256> byte_ids_{};
    bool all_bytes_ = false;
    bool splits_at_metaspace_ = false;
};

}  // namespace

std::unique_ptr<TokenModel> make_byte_pair_model(const std::vector<VocabularyEntry>& vocabulary,
                                                 std::vector<MergeRule> rules, BytePairOptions options) {
    return std::make_unique<BytePairModel>(vocabulary, std::move(rules), std::move(options));
}

std::vector<MergeRule> rules_of_ranks(const std::vector<VocabularyEntry>& vocabulary) {
    TokenIndex index;
    for (const VocabularyEntry& entry : vocabulary) index.set(entry.token, entry.id);
    std::vector<MergeRule> rules;
    for (const VocabularyEntry& entry : vocabulary) {
        const std::string_view token = entry.token;
        for (std::size_t cut = 1; cut < token.size(); ++cut) {
            const std::uint32_t left = index.find(token.substr(0, cut));
            if (left == TokenIndex::none) continue;
            const std::uint32_t right = index.find(token.substr(cut));
            if (right != TokenIndex::none) rules.push_back({left, right, entry.id, entry.id});
        }
    }
    return rules;
}

}  // namespace lockstep
