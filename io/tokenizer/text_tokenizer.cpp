#include "io/tokenizer/text_tokenizer.h"

#include <algorithm>
#include <array>
#include <thread>

#include "io/base/error.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/description.h"
#include "io/tokenizer/token_index.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

/// Encoded into every fingerprint: a change of the program that changes ids is a change of the tokenizer.
constexpr std::array<std::string_view, 12> probes{
    "The quick brown fox jumps over the lazy dog.",
    "  leading, trailing and\t\tinner   white space \n\n\r\n ",
    "don't WE'LL they've I'm 'tis O'Neill's",
    "0 12 345 6789 1234567890 3.14159 1e-9",
    "if (x[i] != 0) { return x->y::z<T>(&a, *b); }  // done",
    "naïve café Ångström e\u0301 ﬁ ½ ① ｆｕｌｌ",
    "Привет, мир! Γειά σου Κόσμε שלום مرحبا",
    "你好，世界。こんにちは 안녕하세요 नमस्ते สวัสดี",
    "😀👩‍👩‍👧‍👦🇩🇪👍🏽 ✈️",
    "<|endoftext|></s>[CLS]<unk><|im_start|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\u00a0\u180e\u200b\ufeff\u2028\U0001E94B\U000323AF",
};

class TextTokenizer : public Tokenizer {
  public:
    explicit TextTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
        for (const VocabularyEntry& entry : parts_.vocabulary) place(entry.token, entry.id);
        for (const AddedToken& token : parts_.added) {
            place(token.content, token.id);
            kind_[token.id] = token.special ? Kind::special : Kind::added;
        }
        for (std::size_t id = 0; id < tokens_.size(); ++id)
            if (kind_[id] != Kind::absent) ids_.set(tokens_[id], static_cast<std::uint32_t>(id));
        mark_specials();
        find_added();
    }

    std::string name() const override { return parts_.name; }
    std::uint64_t vocabulary_size() const override { return tokens_.size(); }
    std::optional<std::uint32_t> bos_id() const override { return parts_.bos; }
    std::optional<std::uint32_t> eos_id() const override { return parts_.eos; }
    std::optional<std::uint32_t> pad_id() const override { return parts_.pad; }
    std::vector<std::uint32_t> ids_before() const override { return parts_.before; }
    std::vector<std::uint32_t> ids_after() const override {
        if (!parts_.before.empty() || !parts_.after.empty() || !parts_.eos) return parts_.after;
        return {*parts_.eos};
    }
    std::string chat_template() const override { return parts_.chat_template; }
    std::map<std::string, std::string> named_chat_templates() const override {
        return parts_.named_templates;
    }

    void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
        encode_whole(text, TextPlace::document_start, ids, nullptr);
    }
    void encode_part(std::string_view text, TextPlace place, std::vector<std::uint32_t>& ids) const override {
        encode_whole(text, place, ids, nullptr);
    }

    void encode_with_offsets(std::string_view text, std::vector<std::uint32_t>& ids,
                             std::vector<TokenOffsets>& offsets) const override {
        OffsetSink sink{text, offsets, offsets.size()};
        encode_whole(text, TextPlace::document_start, ids, &sink);
    }

    std::string decode(std::span<const std::uint32_t> ids) const override {
        if (parts_.raw_tokens) {
            std::string bytes;
            for (const std::uint32_t id : ids)
                if (!is_special(id)) bytes += token_text(id);
            return lossy_utf8(bytes);
        }
        std::vector<std::string> tokens;
        for (const std::uint32_t id : ids) {
            token_text(id);
            if (kind_[id] != Kind::special && kind_[id] != Kind::absent) tokens.push_back(decoded_[id]);
        }
        parts_.decoder->apply(tokens);
        std::string text;
        for (const std::string& token : tokens) text += token;
        return text;
    }

    std::string token_bytes(std::uint32_t id) const override {
        const std::string& token = token_text(id);
        if (parts_.raw_tokens || kind_[id] != Kind::plain || !parts_.pipeline.pre_tokenizer.byte_level)
            return token;
        return unmapped_bytes(token).value_or(token);
    }
    bool is_special(std::uint32_t id) const override {
        return id < kind_.size() && kind_[id] == Kind::special;
    }
    std::optional<std::uint32_t> id_of(std::string_view token) const override {
        const std::uint32_t id = ids_.find(token);
        return id == TokenIndex::none ? std::nullopt : std::optional(id);
    }

    std::string description_json() const override {
        nlohmann::json description =
            describe(parts_.description.at("type").get<std::string>(), parts_.policy);
        description.update(parts_.description);
        // Not to build it again, but to say what changed when a later version builds another one.
        description["unicode"] = unicode_tables_version;
        return description.dump();
    }

    Fingerprint fingerprint() const override {
        FingerprintBuilder builder =
            begin_tokenizer_fingerprint("text", parts_.policy, unicode_tables_version);
        builder.add(static_cast<std::uint64_t>(tokens_.size()));
        for (std::size_t id = 0; id < tokens_.size(); ++id)
            builder.add(static_cast<std::uint64_t>(kind_[id])).add(tokens_[id]);
        builder.add(static_cast<std::uint64_t>(parts_.added.size()));
        for (const AddedToken& token : parts_.added) {
            builder.add(token.content).add(std::uint64_t{token.id});
            builder.add((token.special ? 1U : 0U) | (token.normalized ? 2U : 0U) |
                        (token.single_word ? 4U : 0U) | (token.strip_left ? 8U : 0U) |
                        std::uint64_t{token.strip_right ? 16U : 0U});
        }
        builder.add(parts_.components);
        parts_.model->add_to(builder);
        builder.add_array(std::span<const std::uint32_t>(parts_.before));
        builder.add_array(std::span<const std::uint32_t>(parts_.after));
        for (const auto& id : {parts_.bos, parts_.eos, parts_.pad})
            builder.add(std::uint64_t{id.value_or(TokenIndex::none)});
        builder.add(parts_.chat_template);
        for (const auto& [name, text] : parts_.named_templates) builder.add(name).add(text);
        for (const std::string_view probe : probes) {
            std::vector<std::uint32_t> ids;
            try {
                encode(probe, ids);
            } catch (const Error& error) {
                // A vocabulary may have no token for what is unknown.
                ids.assign(1, TokenIndex::none);
            }
            builder.add_array(std::span<const std::uint32_t>(ids));
        }
        return builder.finish();
    }

  private:
    enum class Kind : std::uint8_t { absent, plain, added, special };
    /// In cache lines of its own: threads write theirs at every word.
    struct alignas(128) Scratch {
        ModelScratch model;
        TextArena arena;
        std::vector<TextPiece> pieces;
        std::string normalized;
        std::vector<TokenOffsets> offsets;  ///< In one piece.
        std::thread::id thread;             ///< That used it last.
    };
    /// Where offsets go if they are asked for; all that encodes takes a pointer to one, or null.
    struct OffsetSink {
        std::string_view text;  ///< The whole.
        std::vector<TokenOffsets>& offsets;
        std::size_t first;  ///< Of this text.
    };

    void place(const std::string& token, std::uint32_t id) {
        if (id >= tokens_.size()) {
            tokens_.resize(id + std::size_t{1});
            kind_.resize(id + std::size_t{1}, Kind::absent);
        }
        tokens_[id] = token;
        kind_[id] = Kind::plain;
    }

    const std::string& token_text(std::uint32_t id) const {
        if (id >= tokens_.size()) {
            throw Error(ErrorCode::invalid_argument, "token id " + std::to_string(id) +
                                                         " is beyond the vocabulary of '" + parts_.name +
                                                         "' (" + std::to_string(tokens_.size()) + ")");
        }
        return tokens_[id];
    }

    /// A token is special by its text: a vocabulary may hold that text twice.
    void mark_specials() {
        TokenIndex special;
        for (const AddedToken& token : parts_.added)
            if (token.special) special.set(token.content, token.id);
        for (std::size_t id = 0; id < tokens_.size(); ++id)
            if (kind_[id] != Kind::absent && special.find(tokens_[id]) != TokenIndex::none)
                kind_[id] = Kind::special;
        decoded_ = tokens_;
    }

    /// Special tokens are looked for first where patterns are equal.
    void find_added() {
        std::vector<AddedToken> ordered = parts_.added;
        std::stable_sort(ordered.begin(), ordered.end(),
                         [](const AddedToken& a, const AddedToken& b) { return a.special && !b.special; });
        std::vector<AddedToken> raw, late;
        std::vector<std::string> raw_patterns, late_patterns;
        for (const AddedToken& token : ordered) {
            std::string pattern = token.content;
            if (const auto& normalizer = parts_.pipeline.normalizer; token.normalized && normalizer)
                normalizer->apply(pattern);
            // The reference decodes such a token to what it was found as.
            decoded_[token.id] = pattern;
            (token.normalized ? late : raw).push_back(token);
            (token.normalized ? late_patterns : raw_patterns).push_back(std::move(pattern));
        }
        raw_ = AddedTokenFinder(raw, raw_patterns);
        normalized_ = AddedTokenFinder(late, late_patterns);
    }

    void encode_whole(std::string_view text, TextPlace place, std::vector<std::uint32_t>& ids,
                      OffsetSink* sink) const {
        expect_valid_utf8(text);
        std::unique_ptr<Scratch> scratch = take_scratch();
        if (raw_.empty()) {
            encode_segment(text, 0, place, *scratch, ids, sink);
        } else {
            for (const TextSegment& segment : raw_.find(text, parts_.policy.literal)) {
                const std::string_view part = text.substr(segment.begin, segment.end - segment.begin);
                if (segment.is_token) {
                    ids.push_back(segment.id);
                    if (sink != nullptr) give(*sink, part, {segment.begin, segment.end});
                } else {
                    encode_segment(part, segment.begin, segment.begin == 0 ? place : TextPlace::after_special,
                                   *scratch, ids, sink);
                }
            }
        }
        give_back(std::move(scratch));
    }

    /// @param token  what the post-processor takes for the token's text.
    void give(OffsetSink& sink, std::string_view token, TokenOffsets offsets) const {
        const bool is_first = sink.offsets.size() == sink.first;
        for (const OffsetTrimming& trimming : parts_.trimmings)
            offsets = trimmed(offsets, trimming, token, is_first, sink.text);
        sink.offsets.push_back(offsets);
    }

    /// @param begin  where `text` begins in the document.
    void encode_segment(std::string_view text, std::size_t begin, TextPlace place, Scratch& scratch,
                        std::vector<std::uint32_t>& ids, OffsetSink* sink) const {
        if (text.empty()) return;
        const TextPipeline& pipeline =
            place == TextPlace::after_text && parts_.continuing ? *parts_.continuing : parts_.pipeline;
        const auto& normalizer = pipeline.normalizer;
        TextPiece whole{text, place == TextPlace::document_start};
        if (whole.at_start && normalizer && pipeline.pre_tokenizer.looks_at_start)
            whole.at_start = !first_vanishes(text, *normalizer);
        std::optional<AlignedText> aligned;
        if (sink != nullptr) {
            aligned.emplace(text, begin);
            if (normalizer) normalizer->apply(*aligned);
            whole.text = aligned->text;
            whole.origins = aligned->origins.data();
        } else if (normalizer) {
            scratch.normalized.assign(text);
            normalizer->apply(scratch.normalized);
            whole.text = scratch.normalized;
        }
        if (whole.text.empty()) return;
        if (normalized_.empty()) return encode_text(whole, pipeline.pre_tokenizer, scratch, ids, sink);
        for (const TextSegment& segment : normalized_.find(whole.text, parts_.policy.literal)) {
            const TextPiece part = whole.part(segment.begin, segment.end);
            if (segment.is_token) {
                ids.push_back(segment.id);
                if (sink != nullptr) give(*sink, part.text, origin_of({part.origins, part.text.size()}));
            } else {
                encode_text(part, pipeline.pre_tokenizer, scratch, ids, sink);
            }
        }
    }

    /// True if nothing is left of the first character: what follows then does not begin the document.
    static bool first_vanishes(std::string_view text, const Normalizer& normalizer) {
        std::size_t end = 0;
        take_code_point(text, end);
        std::string first(text.substr(0, end));
        normalizer.apply(first);
        return first.empty();
    }

    void encode_text(const TextPiece& text, const PreTokenizerPlan& plan, Scratch& scratch,
                     std::vector<std::uint32_t>& ids, OffsetSink* sink) const {
        if (plan.splitter && !plan.model_maps) {
            std::size_t begin = 0;
            plan.splitter->split(text.text, [&](std::span<const std::size_t> ends) {
                encode_pieces(text, begin, ends, scratch, ids, sink);
                if (!ends.empty()) begin = ends.back();
            });
            return;
        }
        scratch.pieces.clear();
        if (plan.splitter) {
            std::size_t begin = 0;
            plan.splitter->split(text.text, [&](std::span<const std::size_t> ends) {
                for (const std::size_t end : ends) {
                    scratch.pieces.push_back(text.part(begin, end));
                    begin = end;
                }
            });
        } else {
            scratch.pieces.push_back(text);
            for (const auto& step : plan.steps) step->apply(scratch.pieces, scratch.arena);
        }
        std::string rewritten;
        std::vector<TokenOffsets> origins;
        for (const TextPiece& piece : scratch.pieces) {
            TextPiece word = piece;
            if (plan.byte_level && plan.mapped != plan.model_maps) {
                rewritten = plan.mapped ? *unmapped_bytes(word.text) : mapped_bytes(word.text);
                word.text = rewritten;
                if (sink != nullptr) {
                    origins = plan.mapped ? unmapped_origins(piece, rewritten) : mapped_origins(piece);
                    word.origins = origins.data();
                }
            }
            const std::array<std::size_t, 1> end{word.text.size()};
            encode_pieces(word, 0, end, scratch, ids, sink);
        }
        scratch.arena.clear();
    }

    static std::vector<TokenOffsets> unmapped_origins(const TextPiece& mapped, std::string_view bytes) {
        std::vector<TokenOffsets> origins;
        std::size_t at = 0;
        for (const char c : bytes) {
            origins.push_back(mapped.origins[at]);
            at += mapped_size(static_cast<unsigned char>(c));
        }
        return origins;
    }

    void encode_pieces(const TextPiece& text, std::size_t begin, std::span<const std::size_t> ends,
                       Scratch& scratch, std::vector<std::uint32_t>& ids, OffsetSink* sink) const {
        if (sink == nullptr) return parts_.model->encode_pieces(text.text, begin, ends, scratch.model, ids);
        for (const std::size_t end : ends) {
            const TextPiece piece = text.part(begin, end);
            const std::size_t first = ids.size();
            scratch.offsets.clear();
            parts_.model->encode_piece(piece.text, scratch.model, ids, scratch.offsets);
            for (std::size_t i = 0; i < scratch.offsets.size(); ++i) {
                const TokenOffsets within = scratch.offsets[i];
                const std::size_t size = within.end - within.begin;
                const std::uint32_t id = ids[first + i];
                give(*sink,
                     id == parts_.unknown_as_text ? piece.text.substr(within.begin, size) : tokens_[id],
                     origin_of({piece.origins + within.begin, size}));
            }
            begin = end;
        }
    }

    std::unique_ptr<Scratch> take_scratch() const {
        const std::lock_guard lock(mutex_);
        if (idle_.empty()) return std::make_unique<Scratch>();
        // A thread's own one first: its words are in that core's cache.
        auto found = std::ranges::find(idle_, std::this_thread::get_id(),
                                       [](const auto& scratch) { return scratch->thread; });
        if (found == idle_.end()) found = idle_.begin();
        std::unique_ptr<Scratch> scratch = std::move(*found);
        idle_.erase(found);
        return scratch;
    }
    void give_back(std::unique_ptr<Scratch> scratch) const {
        scratch->thread = std::this_thread::get_id();
        const std::lock_guard lock(mutex_);
        idle_.push_back(std::move(scratch));
    }

    TokenizerParts parts_;
    std::vector<std::string> tokens_;
    std::vector<std::string> decoded_;  ///< What decoders are given.
    std::vector<Kind> kind_;
    TokenIndex ids_;
    AddedTokenFinder raw_, normalized_;
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<Scratch>> idle_;  ///< One for each thread that ever encoded.
};

}  // namespace

std::unique_ptr<Tokenizer> make_text_tokenizer(TokenizerParts parts) {
    return std::make_unique<TextTokenizer>(std::move(parts));
}

}  // namespace lockstep
