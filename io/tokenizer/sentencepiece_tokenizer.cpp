// SentencePiece models, through the library they come from.

#include <sentencepiece_processor.h>

#include <exception>
#include <new>

#include "io/base/error.h"
#include "io/tokenizer/base64.h"
#include "io/tokenizer/description.h"
#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

class SentencePieceTokenizer : public Tokenizer {
  public:
    SentencePieceTokenizer(std::string_view model, const SpecialsPolicy& policy)
        : model_(model), policy_(policy) {
        const std::string problem = load();
        if (!problem.empty()) throw Error(ErrorCode::corrupt_data, "not a SentencePiece model: " + problem);
    }

    std::string name() const override { return "sentencepiece"; }
    std::uint64_t vocabulary_size() const override {
        return static_cast<std::uint64_t>(processor_.GetPieceSize());
    }
    std::optional<std::uint32_t> bos_id() const override { return id_or_none(processor_.bos_id()); }
    std::optional<std::uint32_t> eos_id() const override { return id_or_none(processor_.eos_id()); }
    std::optional<std::uint32_t> pad_id() const override { return id_or_none(processor_.pad_id()); }

    void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
        expect_valid_utf8(text);
        std::vector<int> pieces;
        const auto status = processor_.Encode(text, &pieces);
        if (!status.ok())
            throw Error(ErrorCode::corrupt_data, "SentencePiece: " + std::string(status.message()));
        for (const int id : pieces) ids.push_back(static_cast<std::uint32_t>(id));
    }

    void encode_with_offsets(std::string_view text, std::vector<std::uint32_t>& ids,
                             std::vector<TokenOffsets>& offsets) const override {
        // The call that gives offsets does not say when it fails.
        encode(text, ids);
        const auto pieces = processor_.EncodeAsImmutableProto(text);
        for (const auto& piece : pieces.pieces()) offsets.push_back({piece.begin(), piece.end()});
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
        return id < vocabulary_size() && processor_.IsControl(static_cast<int>(id));
    }
    std::optional<std::uint32_t> id_of(std::string_view token) const override {
        const int id = processor_.PieceToId(token);
        if (processor_.IdToPiece(id) != token) return std::nullopt;
        return static_cast<std::uint32_t>(id);
    }

    std::string description_json() const override {
        nlohmann::json description = describe("sentencepiece", policy_);
        description["model"] = base64_encoded(model_);
        return description.dump();
    }
    Fingerprint fingerprint() const override {
        // The model holds its normalization rules, so no tables of ours take part.
        return begin_tokenizer_fingerprint("sentencepiece", policy_, no_unicode_tables).add(model_).finish();
    }

  private:
    /// What the library says against the model; some of it, it throws.
    std::string load() {
        try {
            const auto status = processor_.LoadFromSerializedProto(model_);
            return status.ok() ? "" : std::string(status.message());
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const std::exception& failure) {
            return failure.what();
        }
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

    std::string model_;
    SpecialsPolicy policy_;
    sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_sentencepiece_tokenizer(std::string_view model,
                                                        const SpecialsPolicy& policy) {
    return std::make_unique<SentencePieceTokenizer>(model, policy);
}

}  // namespace lockstep
