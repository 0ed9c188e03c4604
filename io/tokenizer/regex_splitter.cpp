// Patterns in PCRE2. Its Unicode tables are the distribution's and older than ours: characters on which the
// two disagree are replaced, in a copy that is only matched against, by old ones of the same class and the
// same number of bytes, of which the pattern thinks alike. So borders keep their places and follow our
// tables.

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/tokenizer/regex_translation.h"
#include "io/tokenizer/splitter.h"
#include "io/tokenizer/unicode/scripts.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

using Code = std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)>;
using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

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
        refuse_pattern(shown, std::string("cannot be compiled: ") +
                                  reinterpret_cast<const char*>(text.data()) + " (at byte " +
                                  std::to_string(offset) + ")");
    }
    // Without a compiler for this CPU the interpreter gives the same matches. Of atomic groups in atomic
    // groups the compiler (10.42) loses some, so such patterns are always interpreted.
    if (pattern.find("(?>") == std::string_view::npos)
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

const char* category_name(Category category) {
    constexpr std::array names{"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                               "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                               "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
    return names.at(static_cast<std::size_t>(category));
}

/// Matches of a pattern in a text. @return whether there is one.
bool finds(const pcre2_code* code, std::string_view text, std::size_t from, pcre2_match_data* data) {
    return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, PCRE2_NO_UTF_CHECK,
                       data, nullptr) > 0;
}

MatchData match_data_of(const Code& code) {
    return {pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free};
}

/// What a pattern can ask of any character.
using Kind = std::pair<Category, bool>;

Kind kind_of(char32_t c) {
    const CharacterProperties p = properties_of(c);
    return {p.category(), p.is_word()};
}

/// Characters by whether PCRE2's tables and ours agree on their category.
class Agreement {
  public:
    struct Run {
        char32_t begin, end;
    };

    static const Agreement& get() {
        static const Agreement agreement;
        return agreement;
    }

    const std::vector<char32_t>& wrong() const { return wrong_; }
    /// Ascending runs of characters that both take for this kind.
    const std::vector<Run>& right(const Kind& kind) const {
        static const std::vector<Run> none;
        const auto place = right_.find(kind);
        return place == right_.end() ? none : place->second;
    }

  private:
    Agreement() : wrong_{0x180E} {  // White space to PCRE2, to nobody else.
        // Run by run of equal category: usually PCRE2 takes the whole run at once.
        for (char32_t begin = 0x80; begin < 0x40000;) {
            const Category category = properties_of(begin).category();
            char32_t end = begin;
            std::string run;
            while (end < 0x40000 && end - begin < 4096 && properties_of(end).category() == category) {
                if (is_scalar_value(end)) append_utf8(end, run);
                ++end;
            }
            if (!run.empty() && category != Category::Co) compare(run, category);
            begin = end;
        }
    }

    void compare(const std::string& run, Category category) {
        auto place = patterns_.find(category);
        if (place == patterns_.end()) {
            const std::string pattern = std::string("\\p{") + category_name(category) + "}+";
            place = patterns_.emplace(category, compile(pattern, pattern)).first;
        }
        const MatchData data = match_data_of(place->second);
        for (std::size_t at = 0; at < run.size();) {
            const bool found = finds(place->second.get(), run, at, data.get());
            const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data.get());
            const std::size_t begin = found ? match[0] : run.size(), end = found ? match[1] : run.size();
            while (at < begin) wrong_.push_back(take_code_point(run, at));
            while (at < end) add_right(take_code_point(run, at));
        }
    }

    void add_right(char32_t c) {
        if (c == 0x180E) return;
        std::vector<Run>& runs = right_[kind_of(c)];
        if (!runs.empty() && runs.back().end == c) {
            ++runs.back().end;
        } else {
            runs.push_back({c, c + 1});
        }
    }

    std::map<Category, Code> patterns_;
    std::vector<char32_t> wrong_;
    std::map<Kind, std::vector<Run>> right_;
};

/// What a pattern asks of single characters beyond their kind.
class Questions {
  public:
    explicit Questions(const RegexTranslation& pattern) : ranges_(pattern.ranges), names_(pattern.scripts) {
        for (const std::string& name : names_) {
            const std::string text = "\\p{sc:" + name + "}";
            scripts_.push_back(compile(text, text));
        }
    }

    bool empty() const { return ranges_.empty() && scripts_.empty(); }

    /// By our tables.
    std::vector<bool> answers(char32_t c) const {
        std::vector<bool> answers = about_ranges(c);
        for (std::size_t i = 0; i < names_.size(); ++i)
            answers.push_back(is_newer_of_script(c, names_[i]) || is_of(scripts_[i], c));
        return answers;
    }

    /// By PCRE2's.
    bool has_answers(char32_t c, const std::vector<bool>& answers) const {
        if (!std::equal(ranges_.begin(), ranges_.end(), answers.begin(),
                        [&](const RegexTranslation::Range& range, bool answer) {
                            return answer == (c >= range.first && c <= range.last);
                        }))
            return false;
        for (std::size_t i = 0; i < scripts_.size(); ++i)
            if (answers[ranges_.size() + i] != is_of(scripts_[i], c)) return false;
        return true;
    }

  private:
    std::vector<bool> about_ranges(char32_t c) const {
        std::vector<bool> answers;
        for (const auto& range : ranges_) answers.push_back(c >= range.first && c <= range.last);
        return answers;
    }

    static bool is_of(const Code& script, char32_t c) {
        std::string text;
        append_utf8(c, text);
        return finds(script.get(), text, 0, match_data_of(script).get());
    }

    std::vector<RegexTranslation::Range> ranges_;
    std::vector<std::string> names_;
    std::vector<Code> scripts_;
};

/// Characters that PCRE2's tables put elsewhere than ours, with what is put in their place: a character of
/// the same kind, of which the pattern's questions have the same answers.
class Substitutes {
  public:
    /// @throws Error{corrupt_data} if there is no such character.
    Substitutes(const RegexTranslation& pattern, std::string_view shown) {
        const Questions questions(pattern);
        std::map<std::pair<Kind, std::vector<bool>>, std::string> found;
        for (const char32_t c : Agreement::get().wrong()) {
            const auto [place, is_new] = found.try_emplace({kind_of(c), questions.answers(c)});
            if (is_new) place->second = stand_in(place->first.first, questions, place->first.second);
            if (place->second.empty())
                refuse_pattern(
                    shown, "tells characters apart that this system's PCRE2 does not know (code point " +
                               std::to_string(static_cast<std::uint32_t>(c)) + "), which is not supported");
            by_character_.emplace(c, place->second);
        }
    }

    /// Of patterns that ask for kinds alone.
    static const std::shared_ptr<const Substitutes>& common() {
        static const auto substitutes = std::make_shared<const Substitutes>(RegexTranslation{}, "");
        return substitutes;
    }

    /// A copy of a text that holds such characters.
    struct Copy {
        std::string text;
        /// From where in the copy on how many bytes are missing, or too many; ascending.
        std::vector<std::pair<std::size_t, std::ptrdiff_t>> shifts;

        std::size_t original(std::size_t place) const {
            const auto next =
                std::upper_bound(shifts.begin(), shifts.end(), place,
                                 [](std::size_t value, const auto& shift) { return value < shift.first; });
            if (next == shifts.begin()) return place;
            return static_cast<std::size_t>(static_cast<std::ptrdiff_t>(place) + std::prev(next)->second);
        }
    };
    std::optional<Copy> applied(std::string_view text) const {
        std::optional<Copy> copy;
        std::size_t done = 0;
        for (std::size_t at = 0; at < text.size();) {
            if (static_cast<unsigned char>(text[at]) < 0x80) {
                ++at;
                continue;
            }
            const std::size_t begin = at;
            const auto place = by_character_.find(take_code_point(text, at));
            if (place == by_character_.end()) continue;
            if (!copy) copy.emplace();
            copy->text.append(text.substr(done, begin - done)).append(place->second);
            done = at;
            const auto missing =
                static_cast<std::ptrdiff_t>(at) - static_cast<std::ptrdiff_t>(copy->text.size());
            if (missing != (copy->shifts.empty() ? 0 : copy->shifts.back().second))
                copy->shifts.emplace_back(copy->text.size(), missing);
        }
        if (copy) copy->text.append(text.substr(done));
        return copy;
    }

  private:
    static std::string stand_in(const Kind& kind, const Questions& questions,
                                const std::vector<bool>& answers) {
        std::string text;
        for (const Agreement::Run& run : Agreement::get().right(kind)) {
            for (char32_t c = run.begin; c < run.end; ++c) {
                if (!questions.has_answers(c, answers)) continue;
                append_utf8(c, text);
                return text;
            }
        }
        return text;
    }

    std::map<char32_t, std::string> by_character_;
};

std::shared_ptr<const Substitutes> substitutes_of(const RegexTranslation& pattern, std::string_view shown) {
    if (pattern.ranges.empty() && pattern.scripts.empty()) return Substitutes::common();
    return std::make_shared<const Substitutes>(pattern, shown);
}

}  // namespace

struct RegexPattern::State {
    std::string shown;
    Code code;
    std::shared_ptr<const Substitutes> substitutes;

    /// Calls `take(begin, end)` for each match, as the reference iterates: an empty match directly behind
    /// the last one does not count.
    template <class Take>
    void each(std::string_view original, const Take& take) const {
        const std::optional<Substitutes::Copy> copy = substitutes->applied(original);
        const std::string_view text = copy ? std::string_view(copy->text) : original;
        const auto original_place = [&](std::size_t at) { return copy ? copy->original(at) : at; };
        const MatchData data = match_data_of(code);
        std::size_t at = 0;
        std::optional<std::size_t> last_end;
        while (at <= text.size()) {
            const int found = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                          at, PCRE2_NO_UTF_CHECK, data.get(), match_context());
            if (found == PCRE2_ERROR_NOMATCH) return;
            if (found < 0)
                refuse_pattern(
                    shown, "needs more than this text allows (PCRE2 error " + std::to_string(found) + ")");
            const PCRE2_SIZE* place = pcre2_get_ovector_pointer(data.get());
            const std::size_t begin = place[0], end = place[1];
            if (begin == end && last_end == end) {
                if (at >= text.size()) return;
                take_code_point(text, at);
                continue;
            }
            take(original_place(begin), original_place(end));
            at = end;
            last_end = end;
        }
    }
};

RegexPattern::RegexPattern(std::string_view pattern) {
    const RegexTranslation translation = translated_regex(pattern);
    state_ = std::make_unique<State>(State{std::string(pattern), compile(translation.text, pattern),
                                           substitutes_of(translation, pattern)});
}
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
