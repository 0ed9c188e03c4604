#include <algorithm>
#include <array>

#include "io/base/error.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/model/token_model.h"
#include "io/tokenizer/token_index.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

constexpr std::string_view metaspace = "\u2581";

/// What a word is spelled in, before merging.
struct PlainSymbols {
    std::vector<std::uint32_t>& ids;
    void add(std::uint32_t id, std::size_t) { ids.push_back(id); }
    static std::size_t size_of(unsigned char) { return 1; }
};

/// The same, with the bytes that each stands for.
struct MeasuredSymbols {
    std::vector<std::uint32_t>& ids;
    std::vector<std::uint32_t>& sizes;
    void add(std::uint32_t id, std::size_t bytes) {
        ids.push_back(id);
        sizes.push_back(static_cast<std::uint32_t>(bytes));
    }
    static std::size_t size_of(unsigned char byte) { return mapped_size(byte); }
};

/// Unknown characters that wait for more of them.
struct PendingUnknown {
    bool any = false;
    std::size_t bytes = 0;
};

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
            scratch.cache.encode(piece, begin, {ends.data(), count}, ids,
                                 [&](std::string_view word) { encode_word(word, scratch, ids); });
            begin = at;
        }
    }

    void encode_piece(std::string_view piece, ModelScratch& scratch, std::vector<std::uint32_t>& ids,
                      std::vector<TokenOffsets>& offsets) const override {
        const std::size_t first = offsets.size();
        // A running sum: where unknown characters vanish, what follows moves to the left, as in the
        // reference.
        std::size_t sum = 0;
        for (std::size_t begin = 0; begin < piece.size();) {
            const std::size_t end = splits_at_metaspace_ ? word_end(piece, begin) : piece.size();
            measure_word(piece.substr(begin, end - begin), scratch, ids, sum, offsets);
            begin = end;
        }
        if (counts_mapped()) to_bytes(piece, std::span(offsets).subspan(first));
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
        scratch.symbols.reserve(word.size());
        spell(word, PlainSymbols{scratch.symbols});
        merges_.merge(scratch.symbols, scratch.merging);
        ids.insert(ids.end(), scratch.symbols.begin(), scratch.symbols.end());
    }

    /// encode_word() with offsets: `sum` is the size of all tokens of the piece so far.
    void measure_word(std::string_view word, ModelScratch& scratch, std::vector<std::uint32_t>& ids,
                      std::size_t& sum, std::vector<TokenOffsets>& offsets) const {
        const auto give = [&](std::uint32_t id, std::size_t bytes) {
            ids.push_back(id);
            offsets.push_back({sum, sum + bytes});
            sum += bytes;
        };
        const std::uint32_t whole = whole_.find(word);
        if (whole != TokenIndex::none) {
            std::size_t bytes = word.size();
            if (counts_mapped()) bytes = mapped_bytes(word).size();
            give(whole, bytes);
            return;
        }
        std::vector<std::uint32_t>& symbols = scratch.symbols;
        std::vector<std::uint32_t>& sizes = scratch.symbol_bytes;
        symbols.clear();
        sizes.clear();
        spell(word, MeasuredSymbols{symbols, sizes});
        merges_.merge_with_begins(symbols, scratch.merging);
        const std::vector<std::uint32_t>& begins = scratch.merging.begins;
        for (std::size_t i = 0; i < symbols.size(); ++i) {
            const std::size_t end = i + 1 < symbols.size() ? begins[i + 1] : sizes.size();
            std::size_t bytes = 0;
            for (std::size_t at = begins[i]; at < end; ++at) bytes += sizes[at];
            give(symbols[i], bytes);
        }
    }

    /// Only where bytes can vanish is it seen that the reference counts those of the mapped characters.
    bool counts_mapped() const { return options_.bytes && !all_bytes_; }

    static void to_bytes(std::string_view piece, std::span<TokenOffsets> offsets) {
        std::vector<std::size_t> byte_of;
        for (std::size_t i = 0; i < piece.size(); ++i)
            byte_of.insert(byte_of.end(), mapped_size(static_cast<unsigned char>(piece[i])), i);
        for (TokenOffsets& token : offsets) token = {byte_of[token.begin], byte_of[token.end - 1] + 1};
    }

    /// End of the metaspaces at `at` and of what follows them up to the next.
    static std::size_t word_end(std::string_view text, std::size_t at) {
        while (text.substr(at).starts_with(metaspace)) at += metaspace.size();
        const std::size_t next = text.find(metaspace, at);
        return next == std::string_view::npos ? text.size() : next;
    }

    template <class Symbols>
    void unknown(Symbols& symbols, PendingUnknown& pending, std::size_t bytes) const {
        if (!options_.unknown_id) return;
        if (!options_.fuse_unknown) flush_unknown(symbols, pending);
        pending.any = true;
        pending.bytes += bytes;
    }

    template <class Symbols>
    void flush_unknown(Symbols& symbols, PendingUnknown& pending) const {
        if (pending.any) symbols.add(*options_.unknown_id, pending.bytes);
        pending = {};
    }

    template <class Symbols>
    void spell(std::string_view word, Symbols symbols) const {
        if (options_.bytes && all_bytes_) {
            for (const char c : word) symbols.add(byte_ids_[static_cast<unsigned char>(c)], 1);
        } else if (options_.bytes) {
            spell_bytes(word, symbols);
        } else {
            spell_characters(word, symbols);
        }
    }

    /// Byte level with a vocabulary that lacks some bytes. The reference sees one character a byte.
    template <class Symbols>
    void spell_bytes(std::string_view word, Symbols& symbols) const {
        PendingUnknown pending;
        for (const char c : word) {
            const auto byte = static_cast<unsigned char>(c);
            const std::uint32_t id = byte_ids_[byte];
            if (id == TokenIndex::none) {
                unknown(symbols, pending, Symbols::size_of(byte));
            } else {
                flush_unknown(symbols, pending);
                symbols.add(id, Symbols::size_of(byte));
            }
        }
        flush_unknown(symbols, pending);
    }

    template <class Symbols>
    void spell_characters(std::string_view word, Symbols& symbols) const {
        PendingUnknown pending;
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
                symbols.add(id, at - begin);
            } else if (!options_.byte_fallback || !spell_fallback(character, symbols)) {
                unknown(symbols, pending, at - begin);
            }
        }
        flush_unknown(symbols, pending);
    }

    template <class Symbols>
    bool spell_fallback(std::string_view character, Symbols& symbols) const {
        for (const char c : character) {
            if (byte_ids_[static_cast<unsigned char>(c)] == TokenIndex::none) return false;
        }
        for (const char c : character) symbols.add(byte_ids_[static_cast<unsigned char>(c)], 1);
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
                PlainSymbols plain{symbols};
                if (options_.bytes) {
                    spell_bytes(entry.token, plain);
                } else {
                    spell_characters(entry.token, plain);
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
