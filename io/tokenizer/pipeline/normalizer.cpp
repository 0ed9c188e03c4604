#include "io/tokenizer/pipeline/normalizer.h"

#include <vector>

#include "io/tokenizer/pipeline/charsmap.h"
#include "io/tokenizer/splitter.h"
#include "io/tokenizer/unicode/normalization.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

/// Characters one by one; `map(c, out)` appends what becomes of one.
template <class Map>
void map_characters(std::string& text, const Map& map) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) map(take_code_point(text, at), out);
    text = std::move(out);
}

class FormNormalizer : public Normalizer {
  public:
    explicit FormNormalizer(NormalizationForm form) : form_(form) {}
    void apply(std::string& text) const override { text = normalized_form(text, form_); }

  private:
    NormalizationForm form_;
};

class LowercaseNormalizer : public Normalizer {
  public:
    void apply(std::string& text) const override { text = lower_case(text); }
};

class StripNormalizer : public Normalizer {
  public:
    StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
    void apply(std::string& text) const override {
        std::size_t begin = text.size(), end = 0;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t here = at;
            if (properties_of(take_code_point(text, at)).is_white_space()) continue;
            begin = std::min(begin, here);
            end = at;
        }
        if (right_) text.resize(end);
        begin = std::min(begin, text.size());
        if (left_) text.erase(0, begin);
    }

  private:
    bool left_, right_;
};

class StripAccentsNormalizer : public Normalizer {
  public:
    void apply(std::string& text) const override {
        map_characters(text, [](char32_t c, std::string& out) {
            if (!properties_of(c).is_combining_mark()) append_utf8(c, out);
        });
    }
};

class ReplaceNormalizer : public Normalizer {
  public:
    ReplaceNormalizer(const PatternText& pattern, std::string content) : content_(std::move(content)) {
        if (pattern.is_regex) {
            regex_ = std::make_unique<RegexPattern>(pattern.text);
        } else {
            literal_ = pattern.text;
        }
    }

    void apply(std::string& text) const override {
        std::string out;
        out.reserve(text.size() + text.size() / 2);
        if (regex_) {
            for (const SplitPiece& piece : regex_->find(text))
                out += piece.is_match ? std::string_view(content_)
                                      : std::string_view(text).substr(piece.begin, piece.end - piece.begin);
        } else {
            if (literal_.empty()) return;
            std::size_t done = 0;
            for (std::size_t at = text.find(literal_); at != std::string::npos;
                 at = text.find(literal_, done)) {
                out.append(text, done, at - done).append(content_);
                done = at + literal_.size();
            }
            out.append(text, done);
        }
        text = std::move(out);
    }

  private:
    std::string literal_, content_;
    std::unique_ptr<RegexPattern> regex_;
};

class PrependNormalizer : public Normalizer {
  public:
    explicit PrependNormalizer(std::string text) : prefix_(std::move(text)) {}
    void apply(std::string& text) const override {
        if (!text.empty()) text.insert(0, prefix_);
    }

  private:
    std::string prefix_;
};

class CharsmapNormalizer : public Normalizer {
  public:
    explicit CharsmapNormalizer(const Component& component) : map_(component) {}
    void apply(std::string& text) const override {
        std::string out;
        out.reserve(text.size());
        // Short clusters are looked up whole, then and otherwise character by character.
        for (std::size_t at = 0; at < text.size();) {
            const std::string_view rest = std::string_view(text).substr(at);
            const std::string_view cluster = rest.substr(0, grapheme_bytes(rest));
            at += cluster.size();
            std::string_view mapped;
            if (cluster.size() < 6 && map_.find(cluster, mapped)) {
                out += mapped;
                continue;
            }
            for (std::size_t i = 0; i < cluster.size();) {
                const std::size_t begin = i;
                take_code_point(cluster, i);
                const std::string_view one = cluster.substr(begin, i - begin);
                out += map_.find(one, mapped) ? mapped : one;
            }
        }
        text = std::move(out);
    }

  private:
    Charsmap map_;
};

class BertNormalizer : public Normalizer {
  public:
    explicit BertNormalizer(const Component& component)
        : clean_(component.flag_or("clean_text", true)),
          chinese_(component.flag_or("handle_chinese_chars", true)),
          lower_(component.flag_or("lowercase", true)),
          strip_(component.flag_or("strip_accents", lower_)) {}

    void apply(std::string& text) const override {
        if (clean_) clean(text);
        if (chinese_) set_ideographs_apart(text);
        if (strip_) {
            text = normalized_form(text, NormalizationForm::nfd);
            map_characters(text, [](char32_t c, std::string& out) {
                if (!properties_of(c).is_nonspacing_mark()) append_utf8(c, out);
            });
        }
        if (lower_) text = lower_case(text);
    }

  private:
    static void clean(std::string& text) {
        map_characters(text, [](char32_t c, std::string& out) {
            const CharacterProperties p = properties_of(c);
            const bool kept = c == U'\t' || c == U'\n' || c == U'\r';
            if (c == 0 || c == 0xFFFD || (!kept && p.is_control())) return;
            append_utf8(p.is_white_space() ? U' ' : c, out);
        });
    }

    static bool is_ideograph(char32_t c) {
        return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
               (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
               (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
               (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
    }

    static void set_ideographs_apart(std::string& text) {
        map_characters(text, [](char32_t c, std::string& out) {
            const bool apart = is_ideograph(c);
            if (apart) out += ' ';
            append_utf8(c, out);
            if (apart) out += ' ';
        });
    }

    bool clean_, chinese_, lower_, strip_;
};

class NormalizerSequence : public Normalizer {
  public:
    explicit NormalizerSequence(const Component& component) {
        const std::size_t count = component.array("normalizers").size();
        for (std::size_t i = 0; i < count; ++i) {
            parts_.push_back(make_normalizer(component.part("normalizers", i)));
        }
    }
    void apply(std::string& text) const override {
        for (const auto& part : parts_) part->apply(text);
    }

  private:
    std::vector<std::unique_ptr<Normalizer>> parts_;
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Component& component) {
    const std::string type = component.type();
    if (type == "NFC") return std::make_unique<FormNormalizer>(NormalizationForm::nfc);
    if (type == "NFD") return std::make_unique<FormNormalizer>(NormalizationForm::nfd);
    if (type == "NFKC") return std::make_unique<FormNormalizer>(NormalizationForm::nfkc);
    if (type == "NFKD") return std::make_unique<FormNormalizer>(NormalizationForm::nfkd);
    if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
    if (type == "Strip")
        return std::make_unique<StripNormalizer>(component.flag_or("strip_left", true),
                                                 component.flag_or("strip_right", true));
    if (type == "StripAccents") return std::make_unique<StripAccentsNormalizer>();
    if (type == "Replace")
        return std::make_unique<ReplaceNormalizer>(pattern_of(component), component.text("content"));
    if (type == "Prepend") return std::make_unique<PrependNormalizer>(component.text("prepend"));
    if (type == "Precompiled") return std::make_unique<CharsmapNormalizer>(component);
    if (type == "BertNormalizer") return std::make_unique<BertNormalizer>(component);
    if (type == "Sequence") return std::make_unique<NormalizerSequence>(component);
    component.refuse_type();
}

}  // namespace lockstep
