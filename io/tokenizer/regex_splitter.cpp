// Patterns in PCRE2. Its Unicode tables are the distribution's and older than ours: characters on which the
// two disagree are replaced, in a copy that is only matched against, by old ones of the same class and the
// same number of bytes. So borders keep their places and follow our tables.

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <map>
#include <optional>
#include <tuple>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/tokenizer/splitter.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

using Code = std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)>;
using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

[[noreturn]] void refuse(std::string_view pattern, const std::string& why) {
    throw Error(ErrorCode::corrupt_data, "pattern '" + std::string(pattern) + "' " + why);
}

Code compile(std::string_view pattern, std::string_view shown) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, context),
              pcre2_code_free);
    pcre2_compile_context_free(context);
    if (!code) {
        std::array<PCRE2_UCHAR, 256> text{};
        pcre2_get_error_message(error, text.data(), text.size());
        refuse(shown, std::string("cannot be compiled: ") + reinterpret_cast<const char*>(text.data()) +
                          " (at byte " + std::to_string(offset) + ")");
    }
    // Without a compiler for this CPU the interpreter gives the same matches.
    static_cast<void>(pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE));
    return code;
}

/// Stack for patterns that backtrack over long texts; one a thread.
pcre2_match_context* match_context() {
    struct Owner {
        pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, 16 * 1024 * 1024, nullptr);
        pcre2_match_context* context = pcre2_match_context_create(nullptr);
        Owner() { pcre2_jit_stack_assign(context, nullptr, stack); }
        ~Owner() {
            pcre2_match_context_free(context);
            pcre2_jit_stack_free(stack);
        }
        Owner(const Owner&) = delete;
        Owner& operator=(const Owner&) = delete;
    };
    thread_local const Owner owner;
    return owner.context;
}

/// The pattern in PCRE2's language, with the meaning it has in the reference engine.
class Translation {
  public:
    explicit Translation(std::string_view pattern) : pattern_(pattern) {
        while (at_ < pattern_.size()) {
            if (pattern_[at_] == '\\') {
                escape();
            } else if (in_class_) {
                class_character();
            } else {
                character();
            }
        }
    }

    const std::string& text() const { return text_; }

  private:
    // What the reference takes for \w, numbers of Latin-1 among them.
    static constexpr const char* word_set =
        R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

    void character() {
        if (pattern_[at_] == '[') {
            in_class_ = true;
            text_ += '[';
            ++at_;
            if (at_ < pattern_.size() && pattern_[at_] == '^') text_ += pattern_[at_++];
            if (at_ < pattern_.size() && pattern_[at_] == ']') refuse(pattern_, "begins a class with ]");
            return;
        }
        text_ += pattern_[at_++];
    }

    void class_character() {
        const std::string_view rest = pattern_.substr(at_);
        if (rest.starts_with("&&")) refuse(pattern_, "intersects classes with &&, which is not supported");
        if (rest.starts_with("[")) refuse(pattern_, "nests classes, which is not supported");
        if (rest.starts_with("]")) in_class_ = false;
        text_ += pattern_[at_++];
    }

    void escape() {
        if (at_ + 1 >= pattern_.size()) refuse(pattern_, "ends in a backslash");
        const char c = pattern_[at_ + 1];
        if (c == 'p' || c == 'P') return property();
        if (c == 'u') return code_point();
        at_ += 2;
        if (c == 'w') {
            text_ += in_class_ ? word_set : "[" + std::string(word_set) + "]";
        } else if (c == 'W') {
            if (in_class_) refuse(pattern_, "has \\W in a class, which is not supported");
            text_ += "[^" + std::string(word_set) + "]";
        } else if (std::string_view("sSdDrntfxAz").find(c) != std::string_view::npos ||
                   (static_cast<unsigned char>(c) < 0x80 &&
                    std::isalnum(static_cast<unsigned char>(c)) == 0)) {
            text_ += '\\';
            text_ += c;
        } else {
            refuse(pattern_, std::string("uses \\") + c + ", on which engines disagree; not supported");
        }
    }

    void property() {
        std::string_view name;
        std::string head{pattern_.substr(at_, 2)};
        at_ += 2;
        if (at_ < pattern_.size() && pattern_[at_] == '{') {
            const std::size_t close = pattern_.find('}', at_);
            if (close == std::string_view::npos) refuse(pattern_, "has a property without }");
            name = pattern_.substr(at_ + 1, close - at_ - 1);
            at_ = close + 1;
        } else if (at_ < pattern_.size()) {
            name = pattern_.substr(at_++, 1);
        }
        std::string written(name);
        const bool negated = written.starts_with('^');
        // A script means the characters of that script, not those that are also used in it.
        if (written.size() - (negated ? 1 : 0) > 2) written.insert(negated ? 1 : 0, "sc:");
        text_ += head + "{" + written + "}";
    }

    void code_point() {
        const std::string_view digits = pattern_.substr(std::min(at_ + 2, pattern_.size())).substr(0, 4);
        if (digits.size() != 4 ||
            digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos)
            refuse(pattern_, "has \\u without four hexadecimal digits");
        text_ += "\\x{" + std::string(digits) + "}";
        at_ += 6;
    }

    std::string_view pattern_;
    std::string text_;
    std::size_t at_ = 0;
    bool in_class_ = false;
};

const char* category_name(Category category) {
    constexpr std::array names{"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                               "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                               "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
    return names.at(static_cast<std::size_t>(category));
}

std::size_t utf8_bytes(char32_t c) {
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/// Characters that PCRE2's tables put elsewhere than ours, with what is put in their place.
class Substitutes {
  public:
    static const Substitutes& get() {
        static const Substitutes substitutes;
        return substitutes;
    }

    /// A copy of the text if it holds such characters.
    std::optional<std::string> applied(std::string_view text) const {
        std::optional<std::string> copy;
        for (std::size_t at = 0; at < text.size();) {
            if (static_cast<unsigned char>(text[at]) < 0x80) {
                ++at;
                continue;
            }
            const std::size_t begin = at;
            const char32_t c = take_code_point(text, at);
            const auto place = by_character_.find(c);
            if (place == by_character_.end()) continue;
            if (!copy) copy.emplace(text);
            copy->replace(begin, at - begin, place->second);
        }
        return copy;
    }

  private:
    using Kind = std::tuple<Category, bool, std::size_t, bool>;

    static Kind kind_of(char32_t c) {
        const CharacterProperties p = properties_of(c);
        return {p.category(), p.is_word(), utf8_bytes(c), c >= 0x20000 && c < 0x40000};
    }

    Substitutes() {
        std::vector<char32_t> wrong{0x180E};  // White space to PCRE2, to nobody else.
        std::map<Kind, char32_t> right;
        // Run by run of equal category: usually PCRE2 takes the whole run at once.
        for (char32_t begin = 0x80; begin < 0x40000;) {
            const Category category = properties_of(begin).category();
            char32_t end = begin;
            std::string run;
            while (end < 0x40000 && end - begin < 4096 && properties_of(end).category() == category) {
                if (is_scalar_value(end)) append_utf8(end, run);
                ++end;
            }
            if (!run.empty() && category != Category::Co) compare(run, category, wrong, right);
            begin = end;
        }
        for (const char32_t c : wrong) {
            const auto place = right.find(kind_of(c));
            std::string text;
            if (place != right.end()) append_utf8(place->second, text);
            if (!text.empty()) by_character_.emplace(c, text);
        }
    }

    static void compare(const std::string& run, Category category, std::vector<char32_t>& wrong,
                        std::map<Kind, char32_t>& right) {
        static std::map<Category, Code> patterns;
        auto place = patterns.find(category);
        if (place == patterns.end()) {
            const std::string pattern = std::string("\\p{") + category_name(category) + "}+";
            place = patterns.emplace(category, compile(pattern, pattern)).first;
        }
        const MatchData data(pcre2_match_data_create_from_pattern(place->second.get(), nullptr),
                             pcre2_match_data_free);
        std::size_t checked = 0;
        while (checked < run.size()) {
            const int found = pcre2_match(place->second.get(), reinterpret_cast<PCRE2_SPTR>(run.data()),
                                          run.size(), checked, PCRE2_NO_UTF_CHECK, data.get(), nullptr);
            const PCRE2_SIZE* at = pcre2_get_ovector_pointer(data.get());
            const std::size_t begin = found > 0 ? at[0] : run.size();
            const std::size_t end = found > 0 ? at[1] : run.size();
            while (checked < begin) wrong.push_back(take_code_point(run, checked));
            if (checked < end) {
                std::size_t next = checked;
                const char32_t c = take_code_point(run, next);
                if (c != 0x180E) right.try_emplace(kind_of(c), c);
                // Word and plain characters lie mixed in a run: look at all of a short one.
                for (; next < end && next - checked < 4096;) {
                    const char32_t more = take_code_point(run, next);
                    if (more != 0x180E) right.try_emplace(kind_of(more), more);
                }
            }
            checked = std::max(checked, end);
        }
    }

    std::map<char32_t, std::string> by_character_;
};

}  // namespace

struct RegexPattern::State {
    std::string shown;
    Code code;

    /// Calls `take(begin, end)` for each match, as the reference iterates: an empty match directly behind
    /// the last one does not count.
    template <class Take>
    void each(std::string_view original, const Take& take) const {
        const std::optional<std::string> copy = Substitutes::get().applied(original);
        const std::string_view text = copy ? std::string_view(*copy) : original;
        const MatchData data(pcre2_match_data_create_from_pattern(code.get(), nullptr),
                             pcre2_match_data_free);
        std::size_t at = 0;
        std::optional<std::size_t> last_end;
        while (at <= text.size()) {
            const int found = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                          at, PCRE2_NO_UTF_CHECK, data.get(), match_context());
            if (found == PCRE2_ERROR_NOMATCH) return;
            if (found < 0)
                refuse(shown, "needs more than this text allows (PCRE2 error " + std::to_string(found) + ")");
            const PCRE2_SIZE* place = pcre2_get_ovector_pointer(data.get());
            const std::size_t begin = place[0], end = place[1];
            if (begin == end && last_end == end) {
                if (at >= text.size()) return;
                take_code_point(text, at);
                continue;
            }
            take(begin, end);
            at = end;
            last_end = end;
        }
    }
};

RegexPattern::RegexPattern(std::string_view pattern)
    : state_(std::make_unique<State>(
          State{std::string(pattern), compile(Translation(pattern).text(), pattern)})) {}
RegexPattern::~RegexPattern() = default;
RegexPattern::RegexPattern(RegexPattern&&) noexcept = default;
RegexPattern& RegexPattern::operator=(RegexPattern&&) noexcept = default;

std::vector<SplitPiece> RegexPattern::find(std::string_view text) const {
    std::vector<SplitPiece> pieces;
    std::size_t done = 0;
    state_->each(text, [&](std::size_t begin, std::size_t end) {
        if (done < begin) pieces.push_back({done, begin, false});
        pieces.push_back({begin, end, true});
        done = end;
    });
    if (done < text.size()) pieces.push_back({done, text.size(), false});
    return pieces;
}

namespace {

class RegexSplitter : public Splitter {
  public:
    explicit RegexSplitter(std::string_view pattern) : pattern_(pattern) {}

    void split(std::string_view text, FunctionRef<void(std::span<const std::size_t>)> take) const override {
        std::vector<std::size_t> ends;
        std::size_t done = 0;
        const auto cut = [&](std::size_t at) {
            if (at == done) return;
            ends.push_back(at);
            done = at;
        };
        for (const SplitPiece& piece : pattern_.find(text)) cut(piece.end);
        take(ends);
    }

  private:
    RegexPattern pattern_;
};

}  // namespace

std::unique_ptr<Splitter> make_splitter(std::string_view pattern) {
    auto known = make_known_splitter(pattern);
    return known ? std::move(known) : std::make_unique<RegexSplitter>(pattern);
}

}  // namespace lockstep
