#include <nlohmann/json.hpp>

#include "io/base/error.h"
#include "io/tokenizer/description.h"
#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

constexpr std::uint32_t bytes_eos_id = 256;
/// The same whether or not EOS is added, so that a model does not change shape with the option.
constexpr std::uint64_t bytes_vocabulary_size = 257;

class BytesTokenizer : public Tokenizer {
  public:
    explicit BytesTokenizer(SpecialsPolicy policy) : policy_(policy) {}

    std::string name() const override { return "bytes"; }
    std::uint64_t vocabulary_size() const override { return bytes_vocabulary_size; }
    std::optional<std::uint32_t> bos_id() const override { return std::nullopt; }
    std::optional<std::uint32_t> eos_id() const override { return bytes_eos_id; }
    std::optional<std::uint32_t> pad_id() const override { return std::nullopt; }

    void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
        expect_valid_utf8(text);
        ids.reserve(ids.size() + text.size());
        for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    }

    void encode_with_offsets(std::string_view text, std::vector<std::uint32_t>& ids,
                             std::vector<TokenOffsets>& offsets) const override {
        encode(text, ids);
        offsets.reserve(offsets.size() + text.size());
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t begin = at;
            take_code_point(text, at);
            offsets.insert(offsets.end(), at - begin, {begin, at});
        }
    }

    std::string decode(std::span<const std::uint32_t> ids) const override {
        std::string text;
        text.reserve(ids.size());
        for (const std::uint32_t id : ids) {
            if (id >= bytes_vocabulary_size) {
                throw Error(ErrorCode::invalid_argument,
                            "token id " + std::to_string(id) +
                                " is beyond the vocabulary of the bytes tokenizer (257)");
            }
            if (id != bytes_eos_id) text += static_cast<char>(id);
        }
        return text;
    }

    std::string description_json() const override { return describe("bytes", policy_).dump(); }

    Fingerprint fingerprint() const override {
        return begin_tokenizer_fingerprint("bytes", policy_, no_unicode_tables).finish();
    }

  private:
    SpecialsPolicy policy_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_bytes_tokenizer(SpecialsPolicy policy) {
    return std::make_unique<BytesTokenizer>(policy);
}

}  // namespace lockstep
