// SentencePiece models, through the library they come from.

#include <sentencepiece_processor.h>

#include <exception>
#include <mutex>
#include <new>

#include "io/base/error.h"
#include "io/tokenizer/base64.h"
#include "io/tokenizer/description.h"
#include "io/tokenizer/pipeline/added_tokens.h"
#include "io/tokenizer/saved_files.h"
#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

class SentencePieceTokenizer : public Tokenizer {
  public:
    SentencePieceTokenizer(std::string_view model, const SpecialsPolicy& policy, std::string_view config,
                           std::string_view chat_template)
        : model_(model), config_(config), chat_template_(chat_template), policy_(policy) {
        const std::string problem = load();
        if (!problem.empty()) {
            throw Error(ErrorCode::corrupt_data,
                        "not a SentencePiece model, or cut short: its library takes none of the " +
                            std::to_string(model.size()) + " bytes (" + problem + ")");
        }
        const SavedConfig saved = saved_config_of(config, chat_template);
        effective_template_ = saved.chat_template;
        named_templates_ = saved.named_templates;
        bos_ = saved.bos ? id_of(*saved.bos) : std::nullopt;
        eos_ = saved.eos ? id_of(*saved.eos) : std::nullopt;
        pad_ = saved.pad ? id_of(*saved.pad) : std::nullopt;
        if (!bos_) bos_ = own_bos();
        if (!eos_) eos_ = own_eos();
        if (!pad_) pad_ = own_pad();
        if (policy_.literal == LiteralSpecials::parse) find_controls();
    }

    std::string name() const override { return "sentencepiece"; }
    std::uint64_t vocabulary_size() const override {
        return static_cast<std::uint64_t>(processor_.GetPieceSize());
    }
    std::optional<std::uint32_t> bos_id() const override { return bos_; }
    std::optional<std::uint32_t> eos_id() const override { return eos_; }
    std::optional<std::uint32_t> pad_id() const override { return pad_; }

    std::string chat_template() const override { return effective_template_; }
    std::map<std::string, std::string> named_chat_templates() const override { return named_templates_; }

    void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
        encode_part(text, TextPlace::document_start, ids);
    }

    void encode_part(std::string_view text, TextPlace place, std::vector<std::uint32_t>& ids) const override {
        for (const TextSegment& segment : segments_of(text)) {
            const std::string_view stretch = text.substr(segment.begin, segment.end - segment.begin);
            if (segment.is_token) {
                ids.push_back(segment.id);
            } else if (segment.begin == 0 && place == TextPlace::after_text) {
                encode_stretch(continuing_for(stretch), stretch, ids);
            } else {
                encode_stretch(processor_, stretch, ids);
            }
        }
    }

    void encode_with_offsets(std::string_view text, std::vector<std::uint32_t>& ids,
                             std::vector<TokenOffsets>& offsets) const override {
        for (const TextSegment& segment : segments_of(text)) {
            if (segment.is_token) {
                ids.push_back(segment.id);
                offsets.push_back({segment.begin, segment.end});
                continue;
            }
            const std::string_view stretch = text.substr(segment.begin, segment.end - segment.begin);
            // The call that gives offsets does not say when it fails.
            encode_stretch(processor_, stretch, ids);
            const auto pieces = processor_.EncodeAsImmutableProto(stretch);
            for (const auto& piece : pieces.pieces())
                offsets.push_back({segment.begin + piece.begin(), segment.begin + piece.end()});
        }
    }

    std::string decode(std::span<const std::uint32_t> ids) const override {
        std::vector<int> pieces;
        for (const std::uint32_t id : ids) {
            require_known(id);
            if (!is_special(id)) pieces.push_back(static_cast<int>(id));
        }
        std::string text;
        const auto status = processor_.Decode(pieces, &text);
        if (!status.ok())
            throw Error(ErrorCode::corrupt_data, "SentencePiece: " + std::string(status.message()));
        return text;
    }

    std::string token_bytes(std::uint32_t id) const override {
        require_known(id);
        return processor_.IdToPiece(static_cast<int>(id));
    }
    bool is_special(std::uint32_t id) const override {
        if (id >= vocabulary_size() || processor_.IsUnknown(static_cast<int>(id))) return false;
        return processor_.IsControl(static_cast<int>(id)) || id == bos_ || id == eos_ || id == pad_;
    }
    std::optional<std::uint32_t> id_of(std::string_view token) const override {
        const int id = processor_.PieceToId(token);
        if (processor_.IdToPiece(id) != token) return std::nullopt;
        return static_cast<std::uint32_t>(id);
    }

    std::string description_json() const override {
        nlohmann::json description = describe("sentencepiece", policy_);
        description["model"] = base64_encoded(model_);
        if (!config_.empty()) description["config"] = config_;
        if (!chat_template_.empty()) description["chat_template"] = chat_template_;
        return description.dump();
    }
    Fingerprint fingerprint() const override {
        // The model holds its normalization rules, so no tables of ours take part.
        FingerprintBuilder builder = begin_tokenizer_fingerprint("sentencepiece", policy_, no_unicode_tables);
        builder.add(model_);
        // A model by itself, whose control pieces stay text, has the fingerprint it always had.
        if (!controls_.empty()) builder.add("control pieces parsed");
        if (bos_ != own_bos() || eos_ != own_eos() || pad_ != own_pad() || !effective_template_.empty()) {
            builder.add("configured");
            for (const auto& id : {bos_, eos_, pad_}) builder.add(std::uint64_t{id.value_or(no_id)});
            builder.add(effective_template_);
        }
        for (const auto& [name, text] : named_templates_) builder.add(name).add(text);
        return builder.finish();
    }

  private:
    static constexpr std::uint32_t no_id = 0xFFFFFFFFU;

    std::optional<std::uint32_t> own_bos() const { return id_or_none(processor_.bos_id()); }
    std::optional<std::uint32_t> own_eos() const { return id_or_none(processor_.eos_id()); }
    std::optional<std::uint32_t> own_pad() const { return id_or_none(processor_.pad_id()); }

    /// The library takes user-defined pieces wherever texts spell them, control pieces never.
    void find_controls() {
        std::vector<AddedToken> controls;
        std::vector<std::string> patterns;
        for (std::uint32_t id = 0; id < vocabulary_size(); ++id) {
            if (!processor_.IsControl(static_cast<int>(id))) continue;
            patterns.push_back(processor_.IdToPiece(static_cast<int>(id)));
            controls.push_back({patterns.back(), id, true});
        }
        controls_ = AddedTokenFinder(controls, patterns);
    }

    /// Control pieces, and what stands between them; the whole text where they are not parsed.
    std::vector<TextSegment> segments_of(std::string_view text) const {
        expect_valid_utf8(text);
        if (controls_.empty()) return {{0, text.size(), false, 0}};
        return controls_.find(text, LiteralSpecials::parse);
    }

    /// What encodes a text that goes on: without the space that the library puts in front.
    const sentencepiece::SentencePieceProcessor& continuing_for(std::string_view text) const {
        std::call_once(continuing_made_, [&] {
            // A message that comes twice is merged: normalizer_spec (3) { add_dummy_prefix (3): false }.
            constexpr std::string_view no_dummy_prefix("\x1A\x02\x18\x00", 4);
            const auto status = continuing_.LoadFromSerializedProto(model_ + std::string(no_dummy_prefix));
            if (!status.ok()) throw Error(ErrorCode::bug, "SentencePiece: " + std::string(status.message()));
        });
        return loses_its_first(text) ? processor_ : continuing_;
    }

    /// Whether the model takes away the white space that a text begins with. Then the library's own space
    /// stands for it.
    bool loses_its_first(std::string_view text) const {
        const auto first = static_cast<unsigned char>(text.empty() ? 'a' : text.front());
        if (first > ' ' && first < 0x7F) return false;
        std::size_t end = 0;
        take_code_point(text, end);
        return processor_.EncodeAsIds(std::string(text.substr(0, end)) + "a") == processor_.EncodeAsIds("a");
    }

    static void encode_stretch(const sentencepiece::SentencePieceProcessor& processor, std::string_view text,
                               std::vector<std::uint32_t>& ids) {
        std::vector<int> pieces;
        const auto status = processor.Encode(text, &pieces);
        if (!status.ok())
            throw Error(ErrorCode::corrupt_data, "SentencePiece: " + std::string(status.message()));
        for (const int id : pieces) ids.push_back(static_cast<std::uint32_t>(id));
    }

    /// What the library says against the model; some of it, it throws.
    std::string load() {
        try {
            const auto status = processor_.LoadFromSerializedProto(model_);
            return status.ok() ? "" : without_source_line(std::string(status.message()));
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const std::exception& failure) {
            return failure.what();
        }
    }
    /// "src/x.cc(582) [condition] what a reader understands": the last of it.
    static std::string without_source_line(const std::string& message) {
        const std::size_t begin = message.find('['), end = message.rfind(']');
        if (begin == std::string::npos || end == std::string::npos || end < begin) return message;
        const std::string said = message.substr(std::min(end + 2, message.size()));
        return said.empty() ? "it cannot be parsed" : said;
    }
    static std::optional<std::uint32_t> id_or_none(int id) {
        return id < 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(id));
    }
    void require_known(std::uint32_t id) const {
        if (id < vocabulary_size()) return;
        throw Error(ErrorCode::invalid_argument,
                    "token id " + std::to_string(id) +
                        " is beyond the vocabulary of the SentencePiece model (" +
                        std::to_string(vocabulary_size()) + ")");
    }

    std::string model_, config_, chat_template_;  ///< As they were given.
    std::map<std::string, std::string> named_templates_;
    SpecialsPolicy policy_;
    sentencepiece::SentencePieceProcessor processor_;
    mutable std::once_flag continuing_made_;
    mutable sentencepiece::SentencePieceProcessor continuing_;
    std::optional<std::uint32_t> bos_, eos_, pad_;
    std::string effective_template_;
    AddedTokenFinder controls_;  ///< Empty unless special tokens are parsed.
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string_view model, const SpecialsPolicy& policy,
                                                        std::string_view config,
                                                        std::string_view chat_template) {
    return std::make_unique<SentencePieceTokenizer>(model, policy, config, chat_template);
}

}  // namespace lockstep
