#include "io/tokenizer/splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/base/error.h"
#include "io/tokenizer/merge_table.h"
#include "io/tokenizer/unicode/normalization.h"
#include "io/tokenizer/unicode/tables.h"
#include "io/tokenizer/utf8.h"
#include "tests/support/error_of.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> pieces(const Splitter& splitter, std::string_view text) {
    std::vector<std::string> out;
    std::size_t begin = 0;
    splitter.split(text, [&](std::span<const std::size_t> ends) {
        for (const std::size_t end : ends) {
            out.emplace_back(text.substr(begin, end - begin));
            begin = end;
        }
    });
    return out;
}

/// The pattern in PCRE2, although it has a splitter by hand.
std::vector<std::string> regex_pieces(const RegexPattern& pattern, std::string_view text) {
    std::vector<std::string> out;
    for (const SplitPiece& piece : pattern.find(text))
        if (piece.end > piece.begin) out.emplace_back(text.substr(piece.begin, piece.end - piece.begin));
    return out;
}

TEST(SplitterTest, PatternsCutAsTheyRead) {
    EXPECT_THAT(pieces(*make_splitter(split_pattern::gpt2), "I'm  here 12 !?"),
                ElementsAre("I", "'m", " ", " here", " 12", " !?"));
    EXPECT_THAT(pieces(*make_splitter(split_pattern::cl100k), "WE'LL 12345\n\n x"),
                ElementsAre("WE", "'LL", " ", "123", "45", "\n\n", " x"));
    EXPECT_THAT(pieces(*make_splitter(split_pattern::o200k), "camelCase's HTMLParser"),
                ElementsAre("camel", "Case's", " HTMLParser"));
}

TEST(SplitterTest, HandAndRegexAgreeOnRandomTexts) {
    const std::u32string characters =
        U" \t\n\r\u00a0\u3000\u180e\u0085'sStTdDmMlLrReEvV\u017f\u212aaAzZ019\u0663\u00bd.,/"
        U"-_\u0301\u0488\u01c5\u02b0\u4e2d"
        U"\u0440\u0420\U0001F600\u200d\ufeff\u1c89\U000323AF\U0001E94B\u0000\ufffd\U00010D4A";
    for (const std::string_view text_pattern :
         {split_pattern::gpt2, split_pattern::cl100k, split_pattern::qwen2, split_pattern::o200k}) {
        const auto known = make_known_splitter(text_pattern);
        ASSERT_NE(known, nullptr);
        const RegexPattern pattern(text_pattern);
        std::uint32_t state = 1;
        for (int i = 0; i < 20000; ++i) {
            std::string text;
            const auto next = [&] { return state = state * 1664525U + 1013904223U, state >> 8U; };
            for (std::uint32_t k = next() % 16; k > 0; --k)
                append_utf8(characters[next() % characters.size()], text);
            ASSERT_EQ(pieces(*known, text), regex_pieces(pattern, text)) << testing::PrintToString(text);
        }
    }
}

TEST(SplitterTest, HandAndRegexAgreeOnEveryCharacter) {
    for (const std::string_view text_pattern :
         {split_pattern::gpt2, split_pattern::cl100k, split_pattern::qwen2, split_pattern::o200k}) {
        const auto known = make_known_splitter(text_pattern);
        const RegexPattern pattern(text_pattern);
        // In blocks, with a letter, a capital and a digit around each.
        std::string text;
        for (char32_t c = 1; c <= 0x10FFFF; ++c) {
            if (!is_scalar_value(c) || (c > 0x32400 && c < 0xE0000) || c > 0xE0200) continue;
            append_utf8(c, text);
            text += "x ";
            append_utf8(c, text);
            text += "A1";
            if (text.size() < 4000) continue;
            ASSERT_EQ(pieces(*known, text), regex_pieces(pattern, text))
                << std::hex << static_cast<unsigned>(c);
            text.clear();
        }
    }
}

std::string replaced(std::string_view pattern, std::string_view text) {
    std::string out;
    for (const SplitPiece& piece : RegexPattern(pattern).find(text))
        out += piece.is_match ? "-" : text.substr(piece.begin, piece.end - piece.begin);
    return out;
}

// The parity tests ask the engine itself; these are the meanings that PCRE2 would get wrong.
TEST(RegexPatternTest, MeansWhatItMeansToTheReference) {
    EXPECT_EQ(replaced("\\p{N}{1,3}+", "12345 6"), "- -");        // Repeats of repeats.
    EXPECT_EQ(replaced("a{2}?b", "aab b"), "- -");                // Perhaps, not lazily.
    EXPECT_EQ(replaced("a{,3}b", "aab b a{,3}b"), "- - a{,3}-");  // From none on.
    EXPECT_EQ(replaced("(?m:a.b)", "a\nb"), "-");                 // Line ends are characters.
    EXPECT_EQ(replaced("a(?i)b|c", "aB aC c"), "- - c");          // Alternatives of what follows.
    EXPECT_EQ(replaced("\\w", "\u00bd"), "-");
    EXPECT_EQ(replaced("(?>(?>\\w+?)\\p{Lu}{2}?){2}", "bSS S"), "b- S");  // PCRE2's compiler finds nothing.
    EXPECT_EQ(replaced("[\\w]", "\u00bd"), "\u00bd");
    EXPECT_EQ(replaced("\\p{Cyrillic}", "x\u1c89\U0001E030\u0416y"), "x---y");  // Of three lengths.
    EXPECT_EQ(replaced("[\U0001F300-\U0001FAFF]", "\U0001FAE8\U0001F600x"), "--x");
}

TEST(RegexPatternTest, RefusesByNameWhatEnginesReadOtherwise) {
    for (const auto& [pattern, noun] : {std::pair{"(?s:a)", "(?s"},
                                        {"(?x)a", "(?x"},
                                        {"(?i:ss)", "ss"},
                                        {"(?i:\u00e9)", "beyond ASCII"},
                                        {"(?i:s(?:t|x))", "st"},
                                        {"a**", "repeat"},
                                        {"\\pL", "\\p"},
                                        {"\\p{Kawi}", "\\p{Kawi}"},
                                        {"\\b", "\\b"},
                                        {"\\xe9", "\\x"},
                                        {"\\\u00e9", "backslash"},
                                        {"[a[b]]", "nests"},
                                        {"[\\s-z]", "range"},
                                        {"(a", "without )"},
                                        {"a)", "without its group"},
                                        {"[a", "without ]"},
                                        {"(?i)a{2}", "case"},
                                        {"(*ACCEPT)", "(*"}}) {
        const Error error = error_of([text = pattern] { RegexPattern{text}; });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << pattern;
        EXPECT_THAT(error.what(), HasSubstr("pattern '" + std::string(pattern) + "'"));
        EXPECT_THAT(error.what(), HasSubstr(noun));
    }
}

// Letters that merge into each other in every way up to eight, by ranks that repeat and follow no order.
TEST(MergeTableTest, LongAndShortAgree) {
    MergeTable::Scratch scratch;
    for (std::uint32_t seed = 0; seed < 58; ++seed) {
        std::vector<MergeRule> rules;
        std::uint32_t rank = 0;
        for (std::uint32_t sum = 2; sum <= 8; ++sum)
            for (std::uint32_t left = 1; left < sum; ++left)
                rules.push_back({left, sum - left, (rank++ * (7U + seed / 29U) + seed) % 29U, sum});
        const MergeTable table(rules);
        for (std::uint32_t size = 1; size <= 64; ++size) {
            // A separator that merges with nothing makes the same word part of a long one.
            std::vector<std::uint32_t> word(size, 1), joined;
            for (std::uint32_t i = 0; i < size; ++i) word[i] = 1 + i * (i + seed) % 3;
            for (int i = 0; i < 70; ++i) joined.push_back(100);
            joined.insert(joined.begin(), word.begin(), word.end());
            table.merge(word, scratch);
            table.merge(joined, scratch);
            joined.resize(joined.size() - 70);
            ASSERT_EQ(joined, word) << size << " with ranks of seed " << seed;
        }
    }
}

TEST(NormalizationTest, FormsFollowTheReference) {
    EXPECT_EQ(normalized_form("e\u0301", NormalizationForm::nfc), "\u00e9");
    EXPECT_EQ(normalized_form("\u00e9", NormalizationForm::nfd), "e\u0301");
    EXPECT_EQ(normalized_form("q\u0307\u0323", NormalizationForm::nfd), "q\u0323\u0307");
    EXPECT_EQ(normalized_form("\uAC01", NormalizationForm::nfd), "\u1100\u1161\u11A8");
    EXPECT_EQ(normalized_form("\u1100\u1161\u11A8", NormalizationForm::nfc), "\uAC01");
    EXPECT_EQ(normalized_form("\uFB01 \u00BD", NormalizationForm::nfkc), "fi 1\u20442");
    EXPECT_EQ(lower_case("\u0130\u03A3A"), "i\u0307\u03c3a");
}

TEST(UnicodeTablesTest, AreOfTheirVersion) {
    EXPECT_EQ(properties_of(0x1C89).category(), Category::Lu);  // New in 16.
    EXPECT_EQ(properties_of(0x323B0).category(), Category::Cn);
    EXPECT_FALSE(properties_of(0x180E).is_white_space());
    EXPECT_TRUE(properties_of(0x3000).is_white_space());
    EXPECT_TRUE(properties_of(0x0301).is_mark());
}

TEST(GraphemeTest, ClustersStayTogether) {
    EXPECT_EQ(grapheme_bytes("e\u0301x"), 3U);
    EXPECT_EQ(grapheme_bytes("\r\nx"), 2U);
    EXPECT_EQ(grapheme_bytes("ab"), 1U);
    EXPECT_EQ(grapheme_bytes("\U0001F1E9\U0001F1EA\U0001F1EB"), 8U);
    EXPECT_EQ(grapheme_bytes("\U0001F469\u200d\U0001F467x"), 11U);
}

}  // namespace
}  // namespace lockstep
