#include "io/tokenizer/pipeline/pre_tokenizer.h"

#include <algorithm>

#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

enum class Behavior : std::uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Behavior behavior_of(const Component& component, const char* otherwise) {
    const std::string name = component.text_or("behavior", otherwise);
    if (name == "Removed") return Behavior::removed;
    if (name == "Isolated") return Behavior::isolated;
    if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
    if (name == "MergedWithNext") return Behavior::merged_with_next;
    if (name == "Contiguous") return Behavior::contiguous;
    component.refuse("behavior '" + name + "' is unknown");
}

/// Neighbours that belong together under a behavior become one piece.
std::vector<SplitPiece> joined(std::vector<SplitPiece> pieces, Behavior behavior) {
    if (behavior == Behavior::isolated) return pieces;
    std::vector<SplitPiece> out;
    if (behavior == Behavior::removed) {
        for (const SplitPiece& piece : pieces)
            if (!piece.is_match) out.push_back(piece);
        return out;
    }
    if (behavior == Behavior::merged_with_next) {
        bool next_is_match = false;
        for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
            if (piece->is_match && !next_is_match && !out.empty()) {
                out.back().begin = piece->begin;
            } else {
                out.push_back(*piece);
            }
            next_is_match = piece->is_match;
        }
        std::reverse(out.begin(), out.end());
        return out;
    }
    bool last_is_match = false;
    for (const SplitPiece& piece : pieces) {
        const bool joins = behavior == Behavior::contiguous ? piece.is_match == last_is_match
                                                            : piece.is_match && !last_is_match;
        if (joins && !out.empty()) {
            out.back().end = piece.end;
        } else {
            out.push_back(piece);
        }
        last_is_match = piece.is_match;
    }
    return out;
}

/// Each character that `test` takes is a match of its own.
template <class Test>
std::vector<SplitPiece> character_matches(std::string_view text, const Test& test) {
    std::vector<SplitPiece> pieces;
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t begin = at;
        if (!test(take_code_point(text, at))) continue;
        if (done < begin) pieces.push_back({done, begin, false});
        pieces.push_back({begin, at, true});
        done = at;
    }
    if (done < text.size()) pieces.push_back({done, text.size(), false});
    return pieces;
}

bool is_white(char32_t c) {
    return properties_of(c).is_white_space();
}
bool is_punctuation(char32_t c) {
    const bool ascii =
        (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    return ascii || properties_of(c).is_punctuation();
}
bool is_numeric(char32_t c) {
    return properties_of(c).is_numeric();
}

/// Steps that only cut: `find` gives matches and gaps of a piece.
template <class Find>
class CuttingStep : public PreTokenizer {
  public:
    CuttingStep(Find find, Behavior behavior, bool invert = false)
        : find_(std::move(find)), behavior_(behavior), invert_(invert) {}

    void apply(std::vector<TextPiece>& pieces, TextArena&) const override {
        std::vector<TextPiece> out;
        out.reserve(pieces.size() * 2);
        for (const TextPiece& piece : pieces) {
            std::vector<SplitPiece> found = find_(piece.text);
            if (invert_)
                for (SplitPiece& part : found) part.is_match = !part.is_match;
            for (const SplitPiece& part : joined(std::move(found), behavior_)) {
                if (part.begin == part.end) continue;
                out.push_back(piece.part(part.begin, part.end));
            }
        }
        pieces = std::move(out);
    }

  private:
    Find find_;
    Behavior behavior_;
    bool invert_;
};

template <class Find>
std::unique_ptr<PreTokenizer> cutting_step(Find find, Behavior behavior, bool invert = false) {
    return std::make_unique<CuttingStep<Find>>(std::move(find), behavior, invert);
}

std::unique_ptr<PreTokenizer> split_step(const std::string& regex, Behavior behavior, bool invert) {
    return cutting_step([pattern = RegexPattern(regex)](std::string_view text) { return pattern.find(text); },
                        behavior, invert);
}

std::unique_ptr<PreTokenizer> character_step(bool (*test)(char32_t), Behavior behavior) {
    return cutting_step([test](std::string_view text) { return character_matches(text, test); }, behavior);
}

class SplitterStep : public PreTokenizer {
  public:
    explicit SplitterStep(std::string_view pattern) : splitter_(make_splitter(pattern)) {}
    void apply(std::vector<TextPiece>& pieces, TextArena&) const override {
        std::vector<TextPiece> out;
        for (const TextPiece& piece : pieces) {
            std::size_t begin = 0;
            splitter_->split(piece.text, [&](std::span<const std::size_t> ends) {
                for (const std::size_t end : ends) {
                    out.push_back(piece.part(begin, end));
                    begin = end;
                }
            });
        }
        pieces = std::move(out);
    }

  private:
    std::unique_ptr<Splitter> splitter_;
};

class PrefixSpaceStep : public PreTokenizer {
  public:
    void apply(std::vector<TextPiece>& pieces, TextArena& arena) const override {
        for (TextPiece& piece : pieces) {
            if (piece.text.starts_with(' ')) continue;
            if (piece.origins != nullptr) {
                std::vector<TokenOffsets>& origins = arena.origins.emplace_back();
                // What is put in front comes from the first character, as in the reference.
                origins.push_back(piece.origins[0]);
                origins.insert(origins.end(), piece.origins, piece.origins + piece.text.size());
                piece.origins = origins.data();
            }
            piece.text = arena.texts.emplace_back(" " + std::string(piece.text));
        }
    }
};

class MapBytesStep : public PreTokenizer {
  public:
    void apply(std::vector<TextPiece>& pieces, TextArena& arena) const override {
        for (TextPiece& piece : pieces) {
            if (piece.origins != nullptr)
                piece.origins = arena.origins.emplace_back(mapped_origins(piece)).data();
            piece.text = arena.texts.emplace_back(mapped_bytes(piece.text));
        }
    }
};

enum class Prepend : std::uint8_t { never, first, always };

class MetaspaceStep : public PreTokenizer {
  public:
    explicit MetaspaceStep(const Component& component)
        : replacement_(component.text_or("replacement", "\u2581")), split_(component.flag_or("split", true)) {
        std::string scheme = component.text_or("prepend_scheme", "always");
        // Older files have only this.
        if (component.has("add_prefix_space") && !component.flag_or("add_prefix_space", true)) {
            if (component.has("prepend_scheme") && scheme != "never")
                component.refuse("add_prefix_space is false but prepend_scheme is '" + scheme + "'");
            scheme = "never";
        }
        if (scheme != "always" && scheme != "first" && scheme != "never")
            component.refuse("prepend_scheme '" + scheme + "' is unknown");
        prepend_ = scheme == "always" ? Prepend::always : scheme == "first" ? Prepend::first : Prepend::never;
    }

    void apply(std::vector<TextPiece>& pieces, TextArena& arena) const override {
        std::vector<TextPiece> out;
        for (const TextPiece& piece : pieces) {
            std::string& text = arena.texts.emplace_back();
            text.reserve(piece.text.size() + piece.text.size() / 2 + replacement_.size());
            const bool marked = piece.text.starts_with(' ') || piece.text.starts_with(replacement_);
            const bool prepends =
                !marked && (prepend_ == Prepend::always || (prepend_ == Prepend::first && piece.at_start));
            if (prepends) text += replacement_;
            for (const char c : piece.text) {
                if (c == ' ') {
                    text += replacement_;
                } else {
                    text += c;
                }
            }
            const TokenOffsets* origins =
                piece.origins == nullptr ? nullptr : rewritten_origins(piece, prepends, arena);
            cut({text, piece.at_start, origins}, out);
        }
        pieces = std::move(out);
    }

  private:
    const TokenOffsets* rewritten_origins(const TextPiece& piece, bool prepends, TextArena& arena) const {
        std::vector<TokenOffsets>& origins = arena.origins.emplace_back();
        if (prepends) origins.resize(replacement_.size(), piece.origins[0]);
        for (std::size_t i = 0; i < piece.text.size(); ++i)
            origins.resize(origins.size() + (piece.text[i] == ' ' ? replacement_.size() : 1),
                           piece.origins[i]);
        return origins.data();
    }

    /// Before each replacement.
    void cut(const TextPiece& piece, std::vector<TextPiece>& out) const {
        std::size_t begin = 0;
        while (begin < piece.text.size()) {
            std::size_t end = split_ ? piece.text.find(replacement_, begin + 1) : piece.text.size();
            if (end == std::string_view::npos) end = piece.text.size();
            out.push_back(piece.part(begin, end));
            begin = end;
        }
    }

    std::string replacement_;
    bool split_;
    Prepend prepend_ = Prepend::always;
};

/// The steps of one component, appended to the plan. @param last  nothing comes after it.
void add_steps(const Component& component, bool last, PreTokenizerPlan& plan) {
    const std::string type = component.type();
    auto& steps = plan.steps;
    if (type == "Sequence") {
        const std::size_t count = component.array("pretokenizers").size();
        for (std::size_t i = 0; i < count; ++i)
            add_steps(component.part("pretokenizers", i), last && i + 1 == count, plan);
    } else if (type == "ByteLevel") {
        if (plan.byte_level) component.refuse("a second ByteLevel is not supported");
        if (component.flag_or("add_prefix_space", true)) steps.push_back(std::make_unique<PrefixSpaceStep>());
        if (component.flag_or("use_regex", true))
            steps.push_back(std::make_unique<SplitterStep>(split_pattern::gpt2));
        plan.byte_level = true;
        plan.mapped = !last;
        if (!last) steps.push_back(std::make_unique<MapBytesStep>());
    } else if (type == "Split") {
        steps.push_back(split_step(pattern_of(component).as_regex(), behavior_of(component, ""),
                                   component.flag_or("invert", false)));
    } else if (type == "Metaspace") {
        steps.push_back(std::make_unique<MetaspaceStep>(component));
        plan.looks_at_start = true;
    } else if (type == "Digits") {
        steps.push_back(character_step(is_numeric, component.flag_or("individual_digits", false)
                                                       ? Behavior::isolated
                                                       : Behavior::contiguous));
    } else if (type == "Punctuation") {
        steps.push_back(character_step(is_punctuation, behavior_of(component, "Isolated")));
    } else if (type == "BertPreTokenizer") {
        steps.push_back(character_step(is_white, Behavior::removed));
        steps.push_back(character_step(is_punctuation, Behavior::isolated));
    } else if (type == "WhitespaceSplit") {
        steps.push_back(character_step(is_white, Behavior::removed));
    } else if (type == "Whitespace") {
        // \w+|[^\w\s]+ without the gaps: runs of one kind.
        steps.push_back(character_step(is_white, Behavior::removed));
        steps.push_back(
            character_step([](char32_t c) { return properties_of(c).is_word(); }, Behavior::contiguous));
    } else {
        component.refuse_type();
    }
}

/// The pattern, if one isolated split is all that happens to the text.
std::string single_pattern(const Component& component) {
    const std::string type = component.type();
    const auto plain_bytes = [](const Component& part, bool regex) {
        return part.type() == "ByteLevel" && !part.flag_or("add_prefix_space", true) &&
               part.flag_or("use_regex", true) == regex;
    };
    if (plain_bytes(component, true)) return std::string(split_pattern::gpt2);
    if (type != "Sequence" || component.array("pretokenizers").size() != 2) return {};
    const Component split = component.part("pretokenizers", 0), bytes = component.part("pretokenizers", 1);
    if (split.type() != "Split" || !plain_bytes(bytes, false)) return {};
    if (behavior_of(split, "") != Behavior::isolated || split.flag_or("invert", false)) return {};
    return pattern_of(split).as_regex();
}

}  // namespace

std::vector<TokenOffsets> mapped_origins(const TextPiece& piece) {
    std::vector<TokenOffsets> origins;
    origins.reserve(2 * piece.text.size());
    for (std::size_t i = 0; i < piece.text.size(); ++i)
        origins.resize(origins.size() + mapped_size(static_cast<unsigned char>(piece.text[i])),
                       piece.origins[i]);
    return origins;
}

PreTokenizerPlan plan_pre_tokenizer(const Component* component) {
    PreTokenizerPlan plan;
    if (component == nullptr) return plan;
    const std::string pattern = single_pattern(*component);
    if (!pattern.empty()) {
        plan.byte_level = true;
        plan.splitter = make_splitter(pattern);
    } else {
        add_steps(*component, true, plan);
    }
    return plan;
}

}  // namespace lockstep
