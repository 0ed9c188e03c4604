#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "io/base/error.h"
#include "io/tokenizer/description.h"
#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

std::string code_point_text(char32_t code_point) {
    char text[16];
    std::snprintf(text, sizeof text, "U+%04X", static_cast<unsigned>(code_point));
    return text;
}

class CharsTokenizer : public Tokenizer {
  public:
    CharsTokenizer(std::vector<char32_t> code_points, SpecialsPolicy policy)
        : code_points_(std::move(code_points)), policy_(policy) {
        if (code_points_.empty()) {
            throw Error(ErrorCode::invalid_argument, "a chars vocabulary needs at least one character");
        }
        for (std::size_t i = 0; i < code_points_.size(); ++i) {
            if (!is_scalar_value(code_points_[i])) {
                throw Error(ErrorCode::invalid_argument,
                            code_point_text(code_points_[i]) + " is no character");
            }
            if (i > 0 && code_points_[i] <= code_points_[i - 1]) {
                throw Error(ErrorCode::invalid_argument,
                            "a chars vocabulary is ascending and unique; found " +
                                code_point_text(code_points_[i]) + " after " +
                                code_point_text(code_points_[i - 1]));
            }
        }
    }

    std::string name() const override { return "chars"; }
    std::uint64_t vocabulary_size() const override { return code_points_.size() + 1; }
    std::optional<std::uint32_t> bos_id() const override { return std::nullopt; }
    std::optional<std::uint32_t> eos_id() const override {
        return static_cast<std::uint32_t>(code_points_.size());
    }
    std::optional<std::uint32_t> pad_id() const override { return std::nullopt; }

    void encode(std::string_view text, std::vector<std::uint32_t>& ids) const override {
        each_id(text, [&](std::uint32_t id, std::size_t, std::size_t) { ids.push_back(id); });
    }

    void encode_with_offsets(std::string_view text, std::vector<std::uint32_t>& ids,
                             std::vector<TokenOffsets>& offsets) const override {
        each_id(text, [&](std::uint32_t id, std::size_t begin, std::size_t end) {
            ids.push_back(id);
            offsets.push_back({begin, end});
        });
    }

    std::string decode(std::span<const std::uint32_t> ids) const override {
        std::string text;
        for (const std::uint32_t id : ids) {
            if (id >= vocabulary_size()) {
                throw Error(ErrorCode::invalid_argument,
                            "token id " + std::to_string(id) +
                                " is beyond the vocabulary of the chars tokenizer (" +
                                std::to_string(vocabulary_size()) + ")");
            }
            if (id < code_points_.size()) append_utf8(code_points_[id], text);
        }
        return text;
    }

    std::string description_json() const override {
        nlohmann::json description = describe("chars", policy_);
        description["code_points"] = code_points_;
        return description.dump();
    }

    Fingerprint fingerprint() const override {
        FingerprintBuilder builder = begin_tokenizer_fingerprint("chars", policy_, no_unicode_tables);
        return builder.add_array(std::span<const char32_t>(code_points_)).finish();
    }

  private:
    template <class Give>
    void each_id(std::string_view text, const Give& give) const {
        for (std::size_t offset = 0; offset < text.size();) {
            const std::size_t begin = offset;
            const char32_t code_point = take_code_point(text, offset);
            const auto place = std::lower_bound(code_points_.begin(), code_points_.end(), code_point);
            if (place == code_points_.end() || *place != code_point) {
                throw Error(ErrorCode::corrupt_data,
                            "character " + code_point_text(code_point) + " at byte " + std::to_string(begin) +
                                " of the text is not in the vocabulary; build the chars "
                                "vocabulary from this text too");
            }
            give(static_cast<std::uint32_t>(place - code_points_.begin()), begin, offset);
        }
    }

    std::vector<char32_t> code_points_;
    SpecialsPolicy policy_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_chars_tokenizer(std::vector<char32_t> code_points, SpecialsPolicy policy) {
    return std::make_unique<CharsTokenizer>(std::move(code_points), policy);
}

}  // namespace lockstep
