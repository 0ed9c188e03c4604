// The patterns of GPT-2, GPT-4, GPT-4o, Llama 3 and Qwen 2 by hand: one pass, a
// table look-up a character. Each function is one pattern; the order of its lines
// is the order of the pattern's alternatives.

#include "io/tokenizer/splitter.h"
#include "io/tokenizer/unicode/tables.h"

namespace lockstep {

namespace split_pattern {
const std::string_view gpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string_view cl100k =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string_view qwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const std::string_view o200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}  // namespace split_pattern

namespace {

constexpr std::uint8_t letter = 1, number = 2, space = 4, line_end = 8;
constexpr std::uint8_t upper = 16;  ///< Lu, Lt, Lm, Lo, M
constexpr std::uint8_t lower = 32;  ///< Ll, Lm, Lo, M

std::uint8_t split_flags(CharacterProperties p) {
    std::uint8_t flags = 0;
    const auto add = [&](bool condition, std::uint8_t flag) {
        if (condition) flags = static_cast<std::uint8_t>(flags | flag);
    };
    const Category c = p.category();
    const bool both = c == Category::Lm || c == Category::Lo || p.is_mark();
    add(p.is_letter(), letter);
    add(p.is_number(), number);
    add(p.is_white_space(), space);
    add(both || c == Category::Lu || c == Category::Lt, upper);
    add(both || c == Category::Ll, lower);
    return flags;
}

struct FlagTables {
    CharacterFlags all{split_flags};
    std::array<std::uint8_t, 128> ascii{};
    FlagTables() {
        for (char32_t c = 0; c < 128; ++c) ascii[c] = all[c];
        ascii['\r'] |= line_end;
        ascii['\n'] |= line_end;
    }
};

const FlagTables& flag_tables() {
    static const FlagTables tables;
    return tables;
}

/// A text with its characters' flags. Positions are byte offsets at characters' borders.
class Scan {
  public:
    Scan(std::string_view text, const FlagTables& tables)
        : data_(reinterpret_cast<const unsigned char*>(text.data())), size_(text.size()), tables_(tables) {}

    std::size_t size() const { return size_; }
    unsigned byte(std::size_t at) const { return at < size_ ? data_[at] : 0; }

    /// Flags of the character at `at`, and where the next one begins.
    std::uint8_t flags(std::size_t at, std::size_t& next) const {
        const unsigned lead = data_[at];
        if (lead < 0x80) {
            next = at + 1;
            return tables_.ascii[lead];
        }
        char32_t c = 0;
        if (lead < 0xE0) {
            next = at + 2;
            c = ((lead & 0x1FU) << 6U) | (data_[at + 1] & 0x3FU);
        } else if (lead < 0xF0) {
            next = at + 3;
            c = ((lead & 0x0FU) << 12U) | ((data_[at + 1] & 0x3FU) << 6U) | (data_[at + 2] & 0x3FU);
        } else {
            next = at + 4;
            c = ((lead & 0x07U) << 18U) | ((data_[at + 1] & 0x3FU) << 12U) | ((data_[at + 2] & 0x3FU) << 6U) |
                (data_[at + 3] & 0x3FU);
        }
        return tables_.all[c];
    }

    /// End of the run of characters with any of `wanted` and, if `wanted` is 0, with none of `unwanted`.
    template <std::uint8_t wanted, std::uint8_t unwanted = 0>
    std::size_t run(std::size_t at) const {
        while (at < size_) {
            std::size_t next = 0;
            const std::uint8_t f = flags(at, next);
            if constexpr (wanted != 0) {
                if ((f & wanted) == 0) break;
            } else {
                if ((f & unwanted) != 0) break;
            }
            at = next;
        }
        return at;
    }

    /// End of the apostrophe's ending that begins at `at` ('s 't 'm 'd 're 've 'll), or `at` if there is
    /// none.
    template <bool any_case>
    std::size_t contraction(std::size_t at) const {
        if (byte(at) != '\'') return at;
        const unsigned first = folded<any_case>(byte(at + 1)), second = folded<any_case>(byte(at + 2));
        if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
        if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') ||
            (first == 'l' && second == 'l'))
            return at + 3;
        // Long s folds to s.
        if (any_case && byte(at + 1) == 0xC5 && byte(at + 2) == 0xBF) return at + 3;
        return at;
    }

    /// `\s+(?!\S)|\s+` over the white space that begins at `at`.
    std::size_t white_space(std::size_t at) const {
        std::size_t last = at;
        std::size_t end = at;
        while (end < size_) {
            std::size_t next = 0;
            if ((flags(end, next) & space) == 0) break;
            last = end;
            end = next;
        }
        return end == size_ || last == at ? end : last;
    }

    /// The same with `\s*[\r\n]+` before it.
    std::size_t lines_or_white_space(std::size_t at) const {
        std::size_t last = at, end = at, after_line = at;
        while (end < size_) {
            std::size_t next = 0;
            const std::uint8_t f = flags(end, next);
            if ((f & space) == 0) break;
            last = end;
            end = next;
            if ((f & line_end) != 0) after_line = end;
        }
        if (after_line != at) return after_line;
        return end == size_ || last == at ? end : last;
    }

    /// Up to `count` numbers from `at`.
    std::size_t numbers(std::size_t at, int count) const {
        for (std::size_t next = 0; count > 0 && at < size_ && (flags(at, next) & number) != 0; --count)
            at = next;
        return at;
    }

  private:
    template <bool any_case>
    static unsigned folded(unsigned byte) {
        return any_case && byte >= 'A' && byte <= 'Z' ? byte + 32U : byte;
    }

    const unsigned char* data_;
    std::size_t size_;
    const FlagTables& tables_;
};

std::size_t gpt2_piece(const Scan& scan, std::size_t at) {
    const std::size_t ending = scan.contraction<false>(at);
    if (ending != at) return ending;
    // All three runs may have one space before them.
    std::size_t next = 0;
    std::uint8_t f = scan.flags(at, next);
    if (scan.byte(at) == ' ' && next < scan.size()) {
        std::size_t after = 0;
        const std::uint8_t behind = scan.flags(next, after);
        if ((behind & space) != 0) return scan.white_space(at);
        f = behind;
        next = after;
    }
    if ((f & letter) != 0) return scan.run<letter>(next);
    if ((f & number) != 0) return scan.run<number>(next);
    if ((f & space) == 0) return scan.run<0, letter | number | space>(next);
    return scan.white_space(at);
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n]*` (with `/` among the last if `slash`), or `at` if it does not match.
template <bool slash>
std::size_t symbols(const Scan& scan, std::size_t at) {
    constexpr std::uint8_t not_symbol = letter | number | space;
    const std::size_t begin = scan.byte(at) == ' ' ? at + 1 : at;
    std::size_t end = scan.run<0, not_symbol>(begin);
    if (end == begin) return at;
    while (scan.byte(end) == '\r' || scan.byte(end) == '\n' || (slash && scan.byte(end) == '/')) ++end;
    return end;
}

template <int numbers_max>
std::size_t cl100k_piece(const Scan& scan, std::size_t at) {
    const std::size_t ending = scan.contraction<true>(at);
    if (ending != at) return ending;
    std::size_t next = 0;
    const std::uint8_t f = scan.flags(at, next);
    if ((f & letter) != 0) return scan.run<letter>(next);
    if ((f & number) != 0) return scan.numbers(at, numbers_max);
    if ((f & line_end) == 0 && next < scan.size()) {
        std::size_t after = 0;
        if ((scan.flags(next, after) & letter) != 0) return scan.run<letter>(after);
    }
    const std::size_t end = symbols<false>(scan, at);
    return end != at ? end : scan.lines_or_white_space(at);
}

/// `[upper]*[lower]+`, else `[upper]+`, from `begin`; `begin` if neither matches.
/// @param capitals  the second of the two is allowed.
std::size_t word(const Scan& scan, std::size_t begin, bool capitals) {
    std::size_t at = begin;
    std::size_t after_both = begin;  // Behind the last character that may end `[upper]*[lower]+` early.
    while (at < scan.size()) {
        std::size_t next = 0;
        const std::uint8_t f = scan.flags(at, next);
        if ((f & upper) == 0) break;
        if ((f & lower) != 0) after_both = next;
        at = next;
    }
    const std::size_t end = scan.run<lower>(at);
    if (end != at) return end;
    if (after_both != begin) return after_both;
    return capitals ? at : begin;
}

std::size_t o200k_piece(const Scan& scan, std::size_t at) {
    std::size_t next = 0;
    const std::uint8_t f = scan.flags(at, next);
    if ((f & number) != 0) return scan.numbers(at, 3);
    // One character that is neither letter, number nor line end may stand before a word; a mark may also
    // begin one.
    const bool may_precede = (f & (letter | line_end)) == 0;
    std::size_t end = at;
    const auto found = [&](std::size_t begin, std::size_t word_end) {
        if (word_end == begin) return false;
        end = scan.contraction<true>(word_end);
        return true;
    };
    if (may_precede && found(next, word(scan, next, false))) return end;
    if ((f & (upper | lower)) != 0 && found(at, word(scan, at, false))) return end;
    if (may_precede && found(next, word(scan, next, true))) return end;
    if ((f & upper) != 0 && found(at, word(scan, at, true))) return end;
    end = symbols<true>(scan, at);
    return end != at ? end : scan.lines_or_white_space(at);
}

template <std::size_t (*piece)(const Scan&, std::size_t)>
class KnownSplitter : public Splitter {
  public:
    void split(std::string_view text, FunctionRef<void(std::span<const std::size_t>)> take) const override {
        const Scan scan(text, tables_);
        std::array<std::size_t, 256> ends;
        for (std::size_t at = 0; at < text.size();) {
            std::size_t count = 0;
            for (; count < ends.size() && at < text.size(); ++count) {
                at = piece(scan, at);
                ends[count] = at;
            }
            take({ends.data(), count});
        }
    }

  private:
    const FlagTables& tables_ = flag_tables();
};

}  // namespace

std::string_view named_split_pattern(std::string_view name) {
    if (name == "gpt2") return split_pattern::gpt2;
    if (name == "cl100k") return split_pattern::cl100k;
    if (name == "qwen2") return split_pattern::qwen2;
    if (name == "o200k") return split_pattern::o200k;
    return {};
}

std::unique_ptr<Splitter> make_known_splitter(std::string_view pattern) {
    if (pattern == split_pattern::gpt2) return std::make_unique<KnownSplitter<gpt2_piece>>();
    if (pattern == split_pattern::cl100k) return std::make_unique<KnownSplitter<cl100k_piece<3>>>();
    if (pattern == split_pattern::qwen2) return std::make_unique<KnownSplitter<cl100k_piece<1>>>();
    if (pattern == split_pattern::o200k) return std::make_unique<KnownSplitter<o200k_piece>>();
    return nullptr;
}

}  // namespace lockstep
