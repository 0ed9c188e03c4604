#include "io/tokenizer/regex_translation.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "io/base/error.h"
#include "io/tokenizer/unicode/scripts.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

constexpr auto categories =
    std::to_array<std::string_view>({"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd",
                                     "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm",
                                     "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Cn", "Co"});

bool is_letter(char32_t c) {
    return (c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z');
}
bool is_digit(char32_t c) {
    return c >= U'0' && c <= U'9';
}
bool is_letter(char c) {
    return is_letter(char32_t{static_cast<unsigned char>(c)});
}
bool is_digit(char c) {
    return is_digit(char32_t{static_cast<unsigned char>(c)});
}

/// A character as it can stand inside and outside of classes.
std::string spelled(char32_t c) {
    if (is_letter(c) || is_digit(c)) return std::string(1, static_cast<char>(c));
    std::array<char, 8> digits{};
    const auto [end, error] =
        std::to_chars(digits.data(), digits.data() + digits.size(), static_cast<std::uint32_t>(c), 16);
    return "\\x{" + std::string(digits.data(), end) + "}";
}

/// Whether another character differs from this one in case alone; perhaps, of those beyond ASCII.
bool may_have_cases(char32_t c) {
    if (c < 0x80) return is_letter(c);
    const CharacterProperties p = properties_of(c);
    constexpr auto without = std::to_array({Category::Lo, Category::Nd, Category::Zs, Category::Zl,
                                            Category::Zp, Category::Sm, Category::Sc, Category::Sk});
    return !p.is_punctuation() && std::find(without.begin(), without.end(), p.category()) == without.end();
}

class Translator {
  public:
    explicit Translator(std::string_view pattern) : pattern_(pattern) {}

    RegexTranslation run() {
        while (at_ < pattern_.size()) part();
        if (levels_.size() > 1) refuse("has a group without )");
        close_options();
        return std::move(out_);
    }

  private:
    // What the reference takes for \w; outside of classes some numbers of Latin-1 belong to it.
    static constexpr const char* word_set = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
    static constexpr const char* latin_numbers = R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";

    /// A group that is open, or the whole pattern.
    struct Level {
        std::size_t begin = 0;  ///< In what is written.
        bool is_caseless = false;
        bool is_repeatable = false;   ///< Once it is closed.
        std::size_t num_options = 0;  ///< Groups that (?i) and the like began; they end with this one.
        std::uint32_t letters_before = 0, letters_at_end = 0;  ///< Sets of `letter_bit`.
        bool may_be_empty = true;         ///< The present alternative, as far as it is read.
        bool has_empty = false;           ///< One of those before.
        bool has_characters_only = true;  ///< No groups, no places as "$".
    };

    /// What a repetition would repeat.
    struct Atom {
        std::size_t begin = 0;  ///< In what is written.
        bool may_be_empty = false;
        bool has_characters_only = true;
        bool is_repeatable = false;
        bool may_be_empty_before = true;  ///< The alternative without it.
    };

    /// What a set of characters is in PCRE2, or one character.
    struct Item {
        std::string set;
        char32_t c = 0;
    };

    [[noreturn]] void refuse(const std::string& why) const { refuse_pattern(pattern_, why); }
    [[noreturn]] void refuse_construct(const std::string& construct) const {
        refuse("uses " + construct + ", on which engines disagree; not supported");
    }

    std::string_view rest() const { return pattern_.substr(std::min(at_, pattern_.size())); }
    bool takes(std::string_view text) {
        if (!rest().starts_with(text)) return false;
        at_ += text.size();
        return true;
    }
    bool is_caseless() const { return levels_.back().is_caseless; }

    void part() {
        if (rest().starts_with("(")) return open();
        if (rest().starts_with(")")) return close();
        if (takes("[")) return character_class();
        if (takes("?")) return repeat("?");
        if (takes("*")) return repeat("*");
        if (takes("+")) return repeat("+");
        if (rest().starts_with("{") && rest().size() > 1 && (is_digit(rest()[1]) || rest()[1] == ','))
            return repeat_interval();
        if (takes("|")) return alternative();
        for (const std::string_view sign : {"^", "$", "\\A", "\\z"}) {
            if (!takes(sign)) continue;
            levels_.back().has_characters_only = false;
            return write(sign);
        }
        if (takes(".")) return write_atom(".");
        const Item item = this->item(false);
        if (!item.set.empty()) return write_atom(item.set);
        note_character(item.c);
        write_atom(spelled(item.c));
        letters_before_ = letter_bit(item.c);
    }

    /// What cannot be repeated.
    void write(std::string_view text) {
        out_.text += text;
        atom_ = {};
        letters_before_ = 0;
    }

    void write_atom(std::string_view text) {
        begin_atom({out_.text.size()});
        out_.text += text;
        letters_before_ = 0;
    }

    void begin_atom(const Atom& atom) {
        atom_ = atom;
        atom_.is_repeatable = true;
        Level& level = levels_.back();
        atom_.may_be_empty_before = level.may_be_empty;
        level.may_be_empty = level.may_be_empty && atom.may_be_empty;
    }

    static bool is_maybe_empty(const Level& level) { return level.may_be_empty || level.has_empty; }

    /// Of the letters that pairs begin with.
    std::uint32_t letter_bit(char32_t c) const {
        if (!is_caseless()) return 0;
        return (c | 0x20U) == U's' ? 1U : (c | 0x20U) == U'f' ? 2U : 0U;
    }

    void alternative() {
        Level& level = levels_.back();
        level.letters_at_end |= letters_before_;
        level.has_empty = is_maybe_empty(level);
        level.may_be_empty = true;
        write("|");
        letters_before_ = level.letters_before;
    }

    /// A character that the pattern spells.
    void note_character(char32_t c) {
        if (c >= 0x80) out_.ranges.push_back({c, c});
        if (!is_caseless()) return;
        if (c >= 0x80 && may_have_cases(c)) refuse("ignores the case of letters beyond ASCII; not supported");
        // The reference also takes single characters (U+00DF, U+FB06) for pairs of letters.
        const auto is_one_of = [&](std::u32string_view letters) {
            return is_letter(c) && letters.find(c | 0x20U) != std::u32string_view::npos;
        };
        if (((letters_before_ & 1U) != 0 && is_one_of(U"st")) ||
            ((letters_before_ & 2U) != 0 && is_one_of(U"fil")))
            refuse(
                "ignores the case of letters that there is one character for (ss, st, ff, fi, fl); not "
                "supported");
    }

    void open() {
        Level level{out_.text.size(), is_caseless(), true, 0};
        const std::size_t begin = at_;
        std::string written = "(?:";  // Nothing refers to groups by number or name.
        if (takes("(*")) refuse_construct("(*");
        if (takes("(?=") || takes("(?!") || takes("(?<=") || takes("(?<!")) {
            level.is_repeatable = false;
            written = pattern_.substr(begin, at_ - begin);
        } else if (takes("(?>")) {
            written = "(?>";
        } else if (takes("(?<")) {
            const std::string_view name = rest().substr(0, rest().find('>'));
            if (name.empty() || name.size() == rest().size() || !is_letter(name[0]) ||
                !std::all_of(name.begin(), name.end(), [](char c) { return is_letter(c) || is_digit(c); }))
                refuse("has a group whose name is none");
            at_ += name.size() + 1;
        } else if (!takes("(?:")) {
            if (rest().starts_with("(?")) return options();
            ++at_;
        }
        enter(written, level);
    }

    void enter(std::string_view written, Level level) {
        levels_.back().has_characters_only = false;
        level.letters_before = letters_before_;
        write(written);
        letters_before_ = level.letters_before;
        levels_.push_back(level);
    }

    /// (?i), which holds up to the end of the group, other alternatives included, or (?i: ).
    void options() {
        const std::size_t end = std::min(pattern_.find_first_of(":)", at_), pattern_.size());
        const std::string_view letters = pattern_.substr(at_ + 2, end - at_ - 2);
        std::string written = "(?";
        bool on = true, caseless = is_caseless();
        for (const char c : letters) {
            if (c == '-' && on) {
                on = false;
                written += '-';
            } else if (c == 'i') {
                caseless = on;
                written += 'i';
            } else if (c == 'm') {
                written += 's';  // "." takes line ends; "^" and "$" stand at all lines in any case.
            } else {
                refuse_construct("(?" + std::string(letters));
            }
        }
        if (letters.empty() || end == pattern_.size()) refuse_construct("(?" + std::string(letters));
        const bool is_group = pattern_[end] == ':';
        const Level level{out_.text.size(), caseless, true, 0};
        at_ = end + 1;
        if (is_group) {
            enter(written + ":", level);
        } else {
            write(written + ":");
            levels_.back().is_caseless = caseless;
            levels_.back().has_characters_only = false;
            ++levels_.back().num_options;
        }
    }

    void close_options() { out_.text.append(levels_.back().num_options, ')'); }

    void close() {
        if (levels_.size() == 1) refuse("has a ) without its group");
        ++at_;
        close_options();
        const std::uint32_t letters = letters_before_ | levels_.back().letters_at_end;
        write(")");
        letters_before_ = letters;
        const Level group = levels_.back();
        levels_.pop_back();
        if (group.is_repeatable) begin_atom({group.begin, is_maybe_empty(group), group.has_characters_only});
    }

    void repeat(std::string_view count) {
        require_atom();
        const bool is_marked = rest().starts_with("?") || rest().starts_with("+");
        if (count != "?" && (is_marked || !atom_.has_characters_only)) require_no_empty_group();
        if (count != "+") levels_.back().may_be_empty = atom_.may_be_empty_before;
        out_.text += count;
        if (is_marked) out_.text += pattern_[at_++];
        end_repeat();
    }

    /// {n}, {n,}, {n,m} and {,m}. Of these "+" takes no hold: it repeats the repetition, as "?" does for {n}.
    void repeat_interval() {
        require_atom();
        if (is_caseless()) refuse("repeats a number of times where case is ignored; not supported");
        const std::size_t end = pattern_.find('}', at_);
        std::string counts{pattern_.substr(at_ + 1, std::min(end, pattern_.size()) - at_ - 1)};
        const std::size_t comma = counts.find(',');
        const bool digits =
            std::all_of(counts.begin(), counts.end(), [](char c) { return is_digit(c) || c == ','; });
        if (end == std::string_view::npos || !digits || comma != counts.rfind(',') || counts == ",")
            refuse("has a { that begins no repetition; write \\{");
        require_no_empty_group();
        if (comma == 0) counts.insert(0, "0");
        at_ = end + 1;
        const char mark = rest().empty() ? '\0' : rest()[0];
        const bool from_zero = counts.find_first_not_of('0') == counts.find(',');
        if (from_zero || (mark == '?' && comma == std::string::npos))
            levels_.back().may_be_empty = atom_.may_be_empty_before;
        if (mark == '+' || (mark == '?' && comma == std::string::npos)) {
            out_.text.insert(atom_.begin, "(?:");
            out_.text += "{" + counts + "})" + mark;
            ++at_;
        } else {
            out_.text += "{" + counts + "}";
            if (takes("?")) out_.text += '?';
        }
        end_repeat();
    }

    void require_atom() const {
        if (!atom_.is_repeatable)
            refuse("repeats what cannot be repeated (at byte " + std::to_string(at_) + ")");
    }

    /// When a round that took nothing ends the repetition is not the same in both, but for the plainest.
    void require_no_empty_group() const {
        if (atom_.may_be_empty)
            refuse("repeats a group that may be empty (at byte " + std::to_string(at_) + "); not supported");
    }

    void end_repeat() {
        // Of a repetition of a repetition engines think differently.
        atom_ = {};
    }

    void character_class() {
        const std::size_t begin = out_.text.size();
        std::string letters;
        out_.text += takes("^") ? "[^" : "[";
        if (rest().starts_with("]")) refuse("begins a class with ]");
        // A dash is one where it can be no range: at the ends and behind a range.
        for (bool is_dash = true; !takes("]");) {
            const bool literal = is_dash || rest().starts_with("-]");
            if (rest().starts_with("-") && !literal) refuse("has a range without a beginning");
            if (rest().starts_with("--")) refuse("has two dashes in a class; write \\-");
            const Item item = this->item(true);
            if (!item.set.empty()) {
                out_.text += item.set;
                is_dash = false;
                continue;
            }
            is_dash = false;
            char32_t last = item.c;
            if (rest().starts_with("-") && !rest().starts_with("-]")) {
                ++at_;
                if (rest().starts_with("-")) refuse("has two dashes in a class; write \\-");
                const Item end = this->item(true);
                if (!end.set.empty() || end.c < item.c) refuse("has a range in a class that ends nowhere");
                last = end.c;
                is_dash = true;
            }
            note_range(item.c, last);
            out_.text += spelled(item.c) + (last == item.c ? "" : "-" + spelled(last));
            letters.push_back(last == item.c && is_letter(item.c) ? static_cast<char>(item.c) : ' ');
        }
        out_.text += ']';
        const std::uint32_t before = letters_before_;
        begin_atom({begin});
        letters_before_ = 0;
        if (letters.size() != 1 || letters[0] == ' ') return;
        // A class of one character is that character.
        const char32_t letter = static_cast<unsigned char>(letters[0]);
        letters_before_ = before;
        note_character(letter);
        letters_before_ = letter_bit(letter);
    }

    void note_range(char32_t first, char32_t last) {
        if (last < 0x80) return;
        if (is_caseless() && (first < last || may_have_cases(last)))
            refuse("ignores the case of letters beyond ASCII; not supported");
        out_.ranges.push_back({std::max<char32_t>(first, 0x80), last});
    }

    /// One character or one set of them, as it stands.
    Item item(bool in_class) {
        if (in_class && rest().empty()) refuse("has a class without ]");
        if (in_class && rest().starts_with("&&"))
            refuse("intersects classes with &&, which is not supported");
        if (in_class && rest().starts_with("[")) refuse("nests classes, which is not supported");
        if (!rest().starts_with("\\")) return {{}, take_code_point(pattern_, at_)};
        if (rest().size() < 2) refuse("ends in a backslash");
        const char c = rest()[1];
        if (c == 'p' || c == 'P') return {property(in_class), 0};
        at_ += 2;
        const auto set = [&](std::string text) {
            if (is_caseless() && in_class && c != 's' && c != 'd')
                refuse(std::string("ignores case where a class holds \\") + c + "; not supported");
            return Item{std::move(text), 0};
        };
        switch (c) {
            case 's':
            case 'S':
            case 'd':
            case 'D':
                return set({'\\', c});
            case 'w':
                return set(in_class ? word_set : "[" + word_set_outside());
            case 'W':
                if (in_class) refuse("has \\W in a class, which is not supported");
                return set("[^" + word_set_outside());
            case 'r':
                return {{}, U'\r'};
            case 'n':
                return {{}, U'\n'};
            case 't':
                return {{}, U'\t'};
            case 'f':
                return {{}, U'\f'};
            case 'u':
                return {{}, code_point(rest().substr(0, 4), 4, 4)};
            case 'x':
                if (!takes("{")) return {{}, code_point(rest().substr(0, 2), 2, 2)};
                return {{}, code_point(rest().substr(0, rest().find('}')), 1, 8)};
            default:
                break;
        }
        const char32_t sign = static_cast<unsigned char>(c);
        if (sign >= 0x80) refuse("has a backslash before a character beyond ASCII; not supported");
        if (is_letter(sign) || is_digit(sign)) refuse_construct(std::string("\\") + c);
        return {{}, sign};
    }

    std::string word_set_outside() {
        out_.ranges.insert(out_.ranges.end(), {{0xB2, 0xB3}, {0xB9, 0xB9}, {0xBC, 0xBE}});
        return std::string(word_set) + latin_numbers + "]";
    }

    char32_t code_point(std::string_view digits, std::size_t digits_min, std::size_t digits_max) {
        std::uint32_t value = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
        if (digits.size() < digits_min || digits.size() > digits_max || error != std::errc{} ||
            end != digits.data() + digits.size() || !is_scalar_value(value))
            refuse("has a \\u or \\x without a character's number in hexadecimal");
        // Two digits mean a byte.
        if (digits_max == 2 && value >= 0x80) refuse("spells a byte of a character with \\x; write \\x{...}");
        at_ += digits.size() + (digits_max == 8 ? 1 : 0);
        return value;
    }

    std::string property(bool in_class) {
        const char letter = rest()[1];
        const std::size_t end = rest().find('}');
        if (rest().size() < 3 || rest()[2] != '{' || end == std::string_view::npos)
            refuse(std::string("has a \\") + letter + " without {…}");
        std::string_view name = rest().substr(3, end - 3);
        at_ += end + 1;
        const bool negated = name.starts_with('^');
        if (negated) name.remove_prefix(1);
        const std::string head = std::string("\\") + letter + (negated ? "{^" : "{");
        const std::string shown = std::string("\\") + letter + "{" + std::string(name) + "}";
        const bool has_cases = name == "Lu" || name == "Ll" || name == "Lt" || name.size() > 2;
        if (is_caseless() && (in_class || has_cases)) refuse("ignores case at " + shown + "; not supported");
        if (std::find(categories.begin(), categories.end(), name) != categories.end())
            return head + std::string(name) + "}";
        const std::string_view script = script_named(name);
        if (script.empty()) refuse_construct(shown);
        out_.scripts.emplace_back(script);
        // The characters of that script, not those that are also used in it.
        return head + "sc:" + std::string(script) + "}";
    }

    std::string_view pattern_;
    RegexTranslation out_;
    std::vector<Level> levels_{1};
    Atom atom_;
    std::uint32_t letters_before_ = 0;  ///< Set of `letter_bit` that may stand directly before.
    std::size_t at_ = 0;
};

}  // namespace

RegexTranslation translated_regex(std::string_view pattern) {
    return Translator(pattern).run();
}

void refuse_pattern(std::string_view pattern, const std::string& why) {
    throw Error(ErrorCode::corrupt_data, "pattern '" + std::string(pattern) + "' " + why);
}

}  // namespace lockstep
