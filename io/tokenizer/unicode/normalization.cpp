#include "io/tokenizer/unicode/normalization.h"

#include <algorithm>
#include <vector>

#include "io/tokenizer/unicode/mappings.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"

namespace lockstep {

namespace {

// Hangul syllables are arithmetic (The Unicode Standard, section 3.12).
constexpr char32_t s_base = 0xAC00, l_base = 0x1100, v_base = 0x1161, t_base = 0x11A7;
constexpr char32_t l_count = 19, v_count = 21, t_count = 28, s_count = l_count * v_count * t_count;

bool is_compatible(NormalizationForm form) {
    return form == NormalizationForm::nfkc || form == NormalizationForm::nfkd;
}

bool composes(NormalizationForm form) {
    return form == NormalizationForm::nfc || form == NormalizationForm::nfkc;
}

// Texts are lists of characters, or of characters with their changes.
char32_t character_of(char32_t c) {
    return c;
}
char32_t character_of(const CharacterChange& c) {
    return c.character;
}
void set_character(char32_t& c, char32_t to) {
    c = to;
}
void set_character(CharacterChange& c, char32_t to) {
    c.character = to;
}
void add_change(char32_t&, std::int32_t) {}
void add_change(CharacterChange& c, std::int32_t change) {
    c.change += change;
}
std::int32_t change_of(char32_t) {
    return 0;
}
std::int32_t change_of(const CharacterChange& c) {
    return c.change;
}

template <class Character>
void append_decomposed(char32_t c, NormalizationForm form, std::vector<Character>& out) {
    if (c >= s_base && c < s_base + s_count) {
        const char32_t s = c - s_base;
        out.push_back(Character{l_base + s / (v_count * t_count)});
        out.push_back(Character{v_base + s % (v_count * t_count) / t_count});
        if (s % t_count != 0) out.push_back(Character{t_base + s % t_count});
        return;
    }
    const auto mapped = is_compatible(form) ? compatible_mapping(c) : canonical_mapping(c);
    if (mapped.empty()) {
        out.push_back(Character{c});
    } else {
        out.insert(out.end(), mapped.begin(), mapped.end());
    }
}

template <class Character>
void order_marks(std::vector<Character>& text) {
    const auto rank = [](const Character& c) { return properties_of(character_of(c)).combining_rank(); };
    for (std::size_t begin = 0; begin < text.size();) {
        if (rank(text[begin]) == 0) {
            ++begin;
            continue;
        }
        std::size_t end = begin;
        while (end < text.size() && rank(text[end]) != 0) ++end;
        std::stable_sort(text.begin() + static_cast<std::ptrdiff_t>(begin),
                         text.begin() + static_cast<std::ptrdiff_t>(end),
                         [&](const Character& a, const Character& b) { return rank(a) < rank(b); });
        begin = end;
    }
}

char32_t composed(char32_t a, char32_t b) {
    if (a >= l_base && a < l_base + l_count && b >= v_base && b < v_base + v_count)
        return s_base + ((a - l_base) * v_count + (b - v_base)) * t_count;
    if (a >= s_base && a < s_base + s_count && (a - s_base) % t_count == 0 && b > t_base &&
        b < t_base + t_count)
        return a + (b - t_base);
    return composed_pair(a, b);
}

template <class Character>
void compose(std::vector<Character>& text) {
    std::size_t out = 0;
    std::size_t starter = text.size();  // Index in the output; text.size(): none yet.
    std::uint32_t last_rank = 0;
    for (const Character& c : std::vector<Character>(text)) {
        const std::uint32_t rank = properties_of(character_of(c)).combining_rank();
        // Blocked if something of no lower class stands between starter and character.
        const bool adjacent = starter < out && starter + 1 == out;
        if (starter < out && (adjacent || (last_rank != 0 && last_rank < rank))) {
            const char32_t both = composed(character_of(text[starter]), character_of(c));
            if (both != 0) {
                set_character(text[starter], both);
                add_change(text[starter], change_of(c) - 1);
                continue;
            }
        }
        if (rank == 0) starter = out;
        last_rank = rank;
        text[out++] = c;
    }
    text.resize(out);
}

char lower_ascii(char32_t c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

std::string normalized_form(std::string_view text, NormalizationForm form) {
    if (is_ascii(text)) return std::string(text);
    std::vector<char32_t> characters;
    characters.reserve(text.size());
    for (std::size_t offset = 0; offset < text.size();)
        append_decomposed(take_code_point(text, offset), form, characters);
    order_marks(characters);
    if (composes(form)) compose(characters);
    std::string result;
    result.reserve(text.size());
    for (const char32_t c : characters) append_utf8(c, result);
    return result;
}

std::vector<CharacterChange> normalized_form_changes(std::string_view text, NormalizationForm form) {
    std::vector<CharacterChange> characters;
    characters.reserve(text.size());
    for (std::size_t offset = 0; offset < text.size();) {
        const std::size_t first = characters.size();
        append_decomposed(take_code_point(text, offset), form, characters);
        for (std::size_t i = first + 1; i < characters.size(); ++i) characters[i].change = 1;
    }
    order_marks(characters);
    if (composes(form)) compose(characters);
    return characters;
}

void append_lower_case(char32_t character, std::string& text) {
    if (character < 0x80) {
        text += lower_ascii(character);
        return;
    }
    const auto mapped = lower_mapping(character);
    if (mapped.empty()) append_utf8(character, text);
    for (const char32_t to : mapped) append_utf8(to, text);
}

std::string lower_case(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t offset = 0; offset < text.size();) {
        const char32_t c = take_code_point(text, offset);
        if (c < 0x80) {
            result += lower_ascii(c);
        } else {
            append_lower_case(c, result);
        }
    }
    return result;
}

namespace {

/// Whether a break falls between two characters, given what came before (UAX 29, GB3 to GB13).
class GraphemeRules {
  public:
    explicit GraphemeRules(CharacterProperties first) { take(first); }

    bool breaks_before(CharacterProperties next) const {
        using enum GraphemeBreak;
        const GraphemeBreak b = next.grapheme_break();
        if (last_ == cr && b == lf) return false;
        if (last_ == cr || last_ == lf || last_ == control || b == cr || b == lf || b == control) return true;
        if (last_ == l && (b == l || b == v || b == lv || b == lvt)) return false;
        if ((last_ == lv || last_ == v) && (b == v || b == t)) return false;
        if ((last_ == lvt || last_ == t) && b == t) return false;
        if (b == extend || b == zwj || b == spacing_mark || last_ == prepend) return false;
        if (last_ == zwj && after_pictographic_ && next.is_pictographic()) return false;
        return !(last_ == regional_indicator && b == regional_indicator && num_indicators_ % 2 == 1);
    }

    void take(CharacterProperties next) {
        last_ = next.grapheme_break();
        if (next.is_pictographic()) {
            after_pictographic_ = true;
        } else if (last_ != GraphemeBreak::extend && last_ != GraphemeBreak::zwj) {
            after_pictographic_ = false;
        }
        num_indicators_ = last_ == GraphemeBreak::regional_indicator ? num_indicators_ + 1 : 0;
    }

  private:
    GraphemeBreak last_ = GraphemeBreak::other;
    bool after_pictographic_ = false;
    std::size_t num_indicators_ = 0;
};

}  // namespace

std::size_t grapheme_bytes(std::string_view text) {
    std::size_t end = 0;
    GraphemeRules rules(properties_of(take_code_point(text, end)));
    while (end < text.size()) {
        std::size_t after = end;
        const CharacterProperties next = properties_of(take_code_point(text, after));
        if (rules.breaks_before(next)) break;
        rules.take(next);
        end = after;
    }
    return end;
}

}  // namespace lockstep
