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

/// What becomes of a character comes from it.
template <class Map>
void map_characters(AlignedText& text, const Map& map) {
    AlignedText out(text.original_begin);
    std::string made;
    for (std::size_t at = 0; at < text.text.size();) {
        const TokenOffsets origin = text.origins[at];
        made.clear();
        map(take_code_point(text.text, at), made);
        out.append(made, origin);
    }
    text = std::move(out);
}

class FormNormalizer : public Normalizer {
  public:
    explicit FormNormalizer(NormalizationForm form) : form_(form) {}
    void apply(std::string& text) const override { text = normalized_form(text, form_); }
    void apply(AlignedText& text) const override {
        text.transform(normalized_form_changes(text.text, form_));
    }

  private:
    NormalizationForm form_;
};

class LowercaseNormalizer : public Normalizer {
  public:
    void apply(std::string& text) const override { text = lower_case(text); }
    void apply(AlignedText& text) const override { map_characters(text, append_lower_case); }
};

class StripNormalizer : public Normalizer {
  public:
    StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
    void apply(std::string& text) const override {
        const auto [begin, end] = kept(text);
        text.resize(end);
        text.erase(0, begin);
    }
    void apply(AlignedText& text) const override {
        const auto [begin, end] = kept(text.text);
        AlignedText out(text.original_begin);
        out.append(text, begin, end);
        text = std::move(out);
    }

  private:
    /// [begin, end)
    std::pair<std::size_t, std::size_t> kept(std::string_view text) const {
        std::size_t begin = text.size(), end = 0;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t here = at;
            if (properties_of(take_code_point(text, at)).is_white_space()) continue;
            begin = std::min(begin, here);
            end = at;
        }
        if (!right_) end = text.size();
        return {left_ ? std::min(begin, end) : 0, end};
    }

    bool left_, right_;
};

class StripAccentsNormalizer : public Normalizer {
  public:
    void apply(std::string& text) const override { strip(text); }
    void apply(AlignedText& text) const override { strip(text); }

  private:
    template <class Text>
    static void strip(Text& text) {
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

    void apply(AlignedText& text) const override {
        AlignedText out(text.original_begin);
        const auto replace = [&](std::size_t end) {
            // As the reference has it: all that is put in comes from the last character that is taken out.
            out.append(content_, text.origin_before(end));
        };
        if (regex_) {
            for (const SplitPiece& piece : regex_->find(text.text)) {
                if (piece.is_match) {
                    replace(piece.end);
                } else {
                    out.append(text, piece.begin, piece.end);
                }
            }
        } else {
            std::size_t done = 0;
            for (std::size_t at = text.text.find(literal_); at != std::string::npos;
                 at = text.text.find(literal_, done)) {
                out.append(text, done, at);
                done = at + literal_.size();
                replace(done);
            }
            out.append(text, done, text.text.size());
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
    void apply(AlignedText& text) const override {
        if (text.text.empty()) return;
        AlignedText out(text.original_begin);
        out.append(prefix_, text.origins.front());
        out.append(text, 0, text.text.size());
        text = std::move(out);
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
        each_part(text, [&](std::string_view, std::string_view now) { out += now; });
        text = std::move(out);
    }

    void apply(AlignedText& text) const override {
        std::vector<CharacterChange> changes;
        each_part(text.text, [&](std::string_view old, std::string_view now) { add(old, now, changes); });
        text.transform(changes);
    }

  private:
    /// The parts of a text and what becomes of them.
    template <class Take>
    void each_part(std::string_view text, const Take& take) const {
        // Short clusters are looked up whole, then and otherwise character by character.
        for (std::size_t at = 0; at < text.size();) {
            const std::string_view rest = text.substr(at);
            const std::string_view cluster = rest.substr(0, grapheme_bytes(rest));
            at += cluster.size();
            std::string_view mapped;
            if (cluster.size() < 6 && map_.find(cluster, mapped)) {
                take(cluster, mapped);
                continue;
            }
            for (std::size_t i = 0; i < cluster.size();) {
                const std::size_t begin = i;
                take_code_point(cluster, i);
                const std::string_view one = cluster.substr(begin, i - begin);
                take(one, map_.find(one, mapped) ? mapped : one);
            }
        }
    }

    /// The reference counts missing characters for the last one before them, whichever part that is in; with
    /// none before them it forgets them, and all that follows comes from too far to the left.
    static void add(std::string_view old, std::string_view now, std::vector<CharacterChange>& changes) {
        const std::size_t first = changes.size();
        for (std::size_t at = 0; at < now.size();) changes.push_back({take_code_point(now, at), 0});
        std::size_t num_old = 0;
        for (std::size_t at = 0; at < old.size(); ++num_old) take_code_point(old, at);
        const std::size_t num_new = changes.size() - first;
        for (std::size_t i = num_old; i < num_new; ++i) changes[first + i].change = 1;
        if (num_new < num_old && !changes.empty())
            changes.back().change -= static_cast<std::int32_t>(num_old - num_new);
    }

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
        apply_to(text, [](std::string& t) { t = normalized_form(t, NormalizationForm::nfd); });
    }
    void apply(AlignedText& text) const override {
        apply_to(text, [](AlignedText& t) {
            t.transform(normalized_form_changes(t.text, NormalizationForm::nfd));
        });
    }

  private:
    template <class Text, class Decompose>
    void apply_to(Text& text, const Decompose& decompose) const {
        if (clean_) clean(text);
        if (chinese_) set_ideographs_apart(text);
        if (strip_) {
            decompose(text);
            map_characters(text, [](char32_t c, std::string& out) {
                if (!properties_of(c).is_nonspacing_mark()) append_utf8(c, out);
            });
        }
        if (lower_) lower(text);
    }

    static void lower(std::string& text) { text = lower_case(text); }
    static void lower(AlignedText& text) { map_characters(text, append_lower_case); }

    template <class Text>
    static void clean(Text& text) {
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

    template <class Text>
    static void set_ideographs_apart(Text& text) {
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
    void apply(AlignedText& text) const override {
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
