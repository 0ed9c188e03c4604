// Where tokens stand in the text. tests/parity compares offsets with the reference engine at large; here is
// what each kind of tokenizer promises, and what the reference does that surprises.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "io/tokenizer/base64.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/tokenizer_files.h"
#include "tests/support/sentencepiece_fields.h"

namespace lockstep {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::Pair;
using Pairs = std::vector<std::pair<std::size_t, std::size_t>>;

struct Encoded {
    std::vector<std::uint32_t> ids;
    std::vector<TokenOffsets> offsets;
};

Encoded encoded(const Tokenizer& tokenizer, std::string_view text) {
    Encoded result;
    tokenizer.encode_with_offsets(text, result.ids, result.offsets);
    std::vector<std::uint32_t> ids;
    tokenizer.encode(text, ids);
    EXPECT_EQ(result.ids, ids) << text;
    EXPECT_EQ(result.offsets.size(), ids.size()) << text;
    return result;
}

Pairs offsets_of(const Tokenizer& tokenizer, std::string_view text) {
    Pairs pairs;
    for (const TokenOffsets& token : encoded(tokenizer, text).offsets)
        pairs.emplace_back(token.begin, token.end);
    return pairs;
}

bool is_border(std::string_view text, std::size_t at) {
    return at >= text.size() || (static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U;
}

TokenOffsets whole_characters(std::string_view text, std::size_t begin, std::size_t end) {
    while (!is_border(text, begin)) --begin;
    while (!is_border(text, end)) ++end;
    return {begin, end};
}

/// For tokenizers that keep every byte: tokens are the text, one behind the other, and each has the least
/// whole characters that hold it.
void expect_tiles(const Tokenizer& tokenizer, std::string_view text) {
    const auto [ids, offsets] = encoded(tokenizer, text);
    std::size_t begin = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const std::string token = tokenizer.token_bytes(ids[i]);
        ASSERT_EQ(text.substr(begin, token.size()), token) << text;
        ASSERT_EQ(offsets[i], whole_characters(text, begin, begin + token.size())) << text;
        begin += token.size();
    }
    ASSERT_EQ(begin, text.size()) << text;
}

std::vector<std::string> random_texts() {
    const std::vector<std::string> characters{
        "a", "b",      "c",      "h",      "e",      "l",          "o",       " ",  " ", "\n",
        "1", "\u00e9", "\u00e0", "\u6f22", "\u5b57", "\U0001F600", "e\u0301", "'s", "."};
    std::mt19937 random(20261121);
    std::vector<std::string> texts{"", " ", "\u00e9", "hello hell", "\U0001F600\U0001F600"};
    for (int i = 0; i < 500; ++i) {
        std::string text;
        for (std::size_t n = random() % 30; n > 0; --n) text += characters[random() % characters.size()];
        texts.push_back(std::move(text));
    }
    return texts;
}

TEST(TokenOffsetsTest, BytesOfACharacterShareIt) {
    const auto tokenizer = make_bytes_tokenizer();
    EXPECT_THAT(offsets_of(*tokenizer, "a\u00e9b"),
                ElementsAre(Pair(0, 1), Pair(1, 3), Pair(1, 3), Pair(3, 4)));
    for (const std::string& text : random_texts()) expect_tiles(*tokenizer, text);
}

TEST(TokenOffsetsTest, CharactersTileTheText) {
    const auto tokenizer = make_chars_tokenizer({U'a', U'\u00e9', U'\U0001F600'});
    EXPECT_THAT(offsets_of(*tokenizer, "\u00e9a\U0001F600"), ElementsAre(Pair(0, 2), Pair(2, 3), Pair(3, 7)));
    expect_tiles(*tokenizer, "\u00e9a\U0001F600aa");
}

TEST(TokenOffsetsTest, OffsetsAreAppended) {
    const auto tokenizer = make_bytes_tokenizer();
    std::vector<std::uint32_t> ids{7};
    std::vector<TokenOffsets> offsets{{3, 4}};
    tokenizer->encode_with_offsets("a", ids, offsets);
    EXPECT_THAT(ids, ElementsAre(7, 97));
    EXPECT_THAT(offsets, ElementsAre(TokenOffsets{3, 4}, TokenOffsets{0, 1}));
}

/// 256 bytes, then pairs, some of them with parts of characters.
std::vector<std::string> byte_tokens() {
    std::vector<std::string> tokens;
    for (unsigned b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
    for (const char* more : {"he", "ll", "hell", "hello", " h", "e\xC3", "\xC3\xA9", "\xA9\xE6", "\xF0\x9F",
                             "\x98\x80", "\n\n", " \xE6"})
        tokens.emplace_back(more);
    return tokens;
}

TEST(TokenOffsetsTest, TiktokenTilesTheText) {
    std::string ranks;
    const std::vector<std::string> tokens = byte_tokens();
    for (std::size_t i = 0; i < tokens.size(); ++i)
        ranks += base64_encoded(tokens[i]) + " " + std::to_string(i) + "\n";
    SpecialsPolicy policy;
    policy.literal = LiteralSpecials::parse;
    for (const char* pattern : {"r50k_base", "cl100k_base", "o200k_base"}) {
        const auto tokenizer = make_tiktoken_tokenizer(ranks, pattern, policy);
        for (const std::string& text : random_texts()) expect_tiles(*tokenizer, text);
        // A special token has its place.
        EXPECT_THAT(offsets_of(*tokenizer, "hello<|endoftext|>\u00e9"),
                    ElementsAre(Pair(0, 5), Pair(5, 18), Pair(18, 20)));
        // A word beyond the caches and the short merging loop.
        expect_tiles(*tokenizer, std::string(70, 'h') + "ello" + std::string(200, 'e'));
    }
}

json added_token(std::uint32_t id, const std::string& content, json more = json::object()) {
    json token = {{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
    token.update(more);
    return token;
}

/// Byte level: 256 bytes, "he", "ll", "hell", "hello", "Ġhello".
json byte_file(const json& more = json::object()) {
    json vocabulary = json::object();
    for (unsigned b = 0; b < 256; ++b) vocabulary[mapped_bytes(std::string(1, static_cast<char>(b)))] = b;
    std::uint32_t id = 256;
    for (const char* token : {"he", "ll", "hell", "hello", "\u0120hello", "\u0120\u0120"})
        vocabulary[token] = id++;
    json file = {
        {"version", "1.0"},
        {"added_tokens",
         {added_token(262, "<s>"), added_token(263, "[M]", {{"lstrip", true}, {"rstrip", true}})}},
        {"pre_tokenizer",
         {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}},
        {"decoder", {{"type", "ByteLevel"}}},
        {"model",
         {{"type", "BPE"},
          {"vocab", vocabulary},
          {"merges", {"h e", "l l", "he ll", "hell o", "\u0120 hello", "\u0120 \u0120"}}}}};
    file.update(more);
    return file;
}

std::unique_ptr<Tokenizer> parsing(const json& file) {
    SpecialsPolicy policy;
    policy.literal = LiteralSpecials::parse;
    return make_json_tokenizer(file.dump(), "", "", policy);
}

json trimming(bool prefix_space) {
    return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"trim_offsets", true}};
}

TEST(TokenOffsetsTest, ByteLevelTilesTheText) {
    const auto tokenizer = parsing(byte_file());
    for (const std::string& text : random_texts()) expect_tiles(*tokenizer, text);
    EXPECT_THAT(offsets_of(*tokenizer, "hello hello \u00e9"),
                ElementsAre(Pair(0, 5), Pair(5, 11), Pair(11, 12), Pair(12, 14), Pair(12, 14)));
}

TEST(TokenOffsetsTest, AddedTokensHaveTheWhiteSpaceTheyTake) {
    const auto tokenizer = parsing(byte_file());
    EXPECT_THAT(offsets_of(*tokenizer, "he<s> [M]\u2003he"),
                ElementsAre(Pair(0, 2), Pair(2, 5), Pair(5, 12), Pair(12, 14)));
}

TEST(TokenOffsetsTest, WhiteSpaceIsTrimmedAsThePostProcessorSays) {
    const auto tokenizer = parsing(byte_file({{"post_processor", trimming(false)}}));
    EXPECT_THAT(offsets_of(*tokenizer, " hello hello  [M] \n"),
                ElementsAre(Pair(1, 6), Pair(7, 12), Pair(14, 17)));
    const auto roberta = parsing(byte_file({{"post_processor",
                                             {{"type", "RobertaProcessing"},
                                              {"cls", {"<s>", 262}},
                                              {"sep", {"<s>", 262}},
                                              {"trim_offsets", true},
                                              {"add_prefix_space", false}}}}));
    EXPECT_THAT(offsets_of(*roberta, " hello"), ElementsAre(Pair(1, 6)));
}

TEST(TokenOffsetsTest, APrefixSpaceHasTheFirstCharactersPlace) {
    json file = byte_file({{"post_processor", trimming(true)}});
    file["pre_tokenizer"]["add_prefix_space"] = true;
    const auto tokenizer = parsing(file);
    EXPECT_THAT(offsets_of(*tokenizer, "hello hello"), ElementsAre(Pair(0, 5), Pair(6, 11)));
    // Alone it has nothing left: both its ends are trimmed, only the front one is known to be put there.
    EXPECT_THAT(offsets_of(*tokenizer, "\u00e9"), ElementsAre(Pair(0, 0), Pair(0, 2), Pair(0, 2)));
    // A space of the text is taken for one that was put there.
    EXPECT_THAT(offsets_of(*tokenizer, " hello"), ElementsAre(Pair(0, 6)));
}

Pairs normalized(const json& normalizer, std::string_view text) {
    return offsets_of(*parsing(byte_file({{"normalizer", normalizer}})), text);
}

TEST(TokenOffsetsTest, NormalizersKeepTrackOfWhereTextCameFrom) {
    EXPECT_THAT(normalized({{"type", "Lowercase"}}, "HELLO \u0130"),
                ElementsAre(Pair(0, 5), Pair(5, 6), Pair(6, 8), Pair(6, 8), Pair(6, 8)));
    // The ligature is two letters.
    EXPECT_THAT(normalized({{"type", "NFKC"}}, "\uFB01"), ElementsAre(Pair(0, 3), Pair(0, 3)));
    // What is composed has the place of its first part.
    EXPECT_THAT(normalized({{"type", "NFC"}}, "e\u0301x"), ElementsAre(Pair(0, 1), Pair(0, 1), Pair(3, 4)));
    EXPECT_THAT(normalized({{"type", "StripAccents"}}, "e\u0301x"), ElementsAre(Pair(0, 1), Pair(3, 4)));
    EXPECT_THAT(normalized({{"type", "Strip"}}, "  hello  "), ElementsAre(Pair(2, 7)));
    EXPECT_THAT(normalized({{"type", "Prepend"}, {"prepend", "he"}}, "llo"), ElementsAre(Pair(0, 3)));
    EXPECT_THAT(normalized({{"type", "Prepend"}, {"prepend", "ab"}}, "llo"),
                ElementsAre(Pair(0, 1), Pair(0, 1), Pair(0, 2), Pair(2, 3)));
}

TEST(TokenOffsetsTest, WhatIsReplacedHasThePlaceOfItsLastCharacter) {
    const json runs = {{"type", "Replace"}, {"pattern", {{"Regex", "x+"}}}, {"content", "ab"}};
    EXPECT_THAT(normalized(runs, "hexxxhe"), ElementsAre(Pair(0, 2), Pair(4, 5), Pair(4, 5), Pair(5, 7)));
    const json text = {{"type", "Replace"}, {"pattern", {{"String", "\u00e9"}}}, {"content", "e"}};
    EXPECT_THAT(normalized(text, "h\u00e9ll\u00e9"), ElementsAre(Pair(0, 5), Pair(5, 7)));
}

TEST(TokenOffsetsTest, NormalizedSegmentsAreCountedFromTheTextsBegin) {
    const auto tokenizer = parsing(byte_file({{"normalizer", {{"type", "NFKC"}}}}));
    EXPECT_THAT(offsets_of(*tokenizer, "\uFB01<s>\uFB01"),
                ElementsAre(Pair(0, 3), Pair(0, 3), Pair(3, 6), Pair(6, 9), Pair(6, 9)));
}

json characters_file(const json& model) {
    json file = {
        {"version", "1.0"},
        {"pre_tokenizer",
         {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}, {"split", true}}},
        {"decoder", {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "always"}}},
        {"model",
         {{"type", "BPE"},
          {"vocab", {{"<unk>", 0}, {"▁", 1}, {"a", 2}, {"b", 3}, {"▁a", 4}}},
          {"merges", json::array({"▁ a"})}}}};
    file["model"].update(model);
    return file;
}

TEST(TokenOffsetsTest, UnknownCharactersHaveTheirPlace) {
    const auto apart = parsing(characters_file({{"unk_token", "<unk>"}}));
    EXPECT_THAT(offsets_of(*apart, "a \u00e9\u00e9b"),
                ElementsAre(Pair(0, 1), Pair(1, 2), Pair(2, 4), Pair(4, 6), Pair(6, 7)));
    const auto fused = parsing(characters_file({{"unk_token", "<unk>"}, {"fuse_unk", true}}));
    EXPECT_THAT(offsets_of(*fused, "a \u00e9\u00e9b"),
                ElementsAre(Pair(0, 1), Pair(1, 2), Pair(2, 6), Pair(6, 7)));
    // Without a token for them they vanish, and the reference counts on without them.
    const auto vanishing = parsing(characters_file(json::object()));
    EXPECT_THAT(offsets_of(*vanishing, "axxb"), ElementsAre(Pair(0, 1), Pair(1, 2)));
}

TEST(TokenOffsetsTest, ByteFallbackSharesTheCharacter) {
    json file = characters_file({{"byte_fallback", true}});
    for (unsigned b = 0; b < 256; ++b) {
        char token[8];
        std::snprintf(token, sizeof token, "<0x%02X>", b);
        file["model"]["vocab"][token] = 5 + b;
    }
    EXPECT_THAT(offsets_of(*parsing(file), "a\u00e9b"),
                ElementsAre(Pair(0, 1), Pair(1, 3), Pair(1, 3), Pair(3, 4)));
}

TEST(TokenOffsetsTest, AnUnknownWordHasTheWholeWord) {
    const json file = {{"version", "1.0"},
                       {"normalizer", {{"type", "BertNormalizer"}}},
                       {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                       {"model",
                        {{"type", "WordPiece"},
                         {"unk_token", "[UNK]"},
                         {"vocab", {{"[UNK]", 0}, {"ab", 1}, {"##c", 2}, {"\u6f22", 3}, {"e", 4}}}}}};
    EXPECT_THAT(offsets_of(*parsing(file), " ABC abx \u6f22\u00e9"),
                ElementsAre(Pair(1, 3), Pair(3, 4), Pair(5, 8), Pair(9, 12), Pair(12, 14)));
}

TEST(TokenOffsetsTest, UnigramSpellsUnknownRunsAsOne) {
    json file = characters_file(json::object());
    file["model"] = {{"type", "Unigram"},
                     {"unk_id", 0},
                     {"byte_fallback", false},
                     {"vocab", json::parse(R"([["<unk>", 0.0], ["▁", -2.0], ["▁a", -2.5], ["b", -3.0]])")}};
    EXPECT_THAT(offsets_of(*parsing(file), "a \u00e9xb"),
                ElementsAre(Pair(0, 1), Pair(1, 2), Pair(2, 5), Pair(5, 6)));
}

TEST(TokenOffsetsTest, SentencePieceGivesItsLibrarysOffsets) {
    std::string model = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
    for (const char* word : {"▁", "▁h", "e", "l", "o", "ll"}) model += piece(word, -3.0F, 1);
    const auto tokenizer = make_sentencepiece_tokenizer(model, {});
    // Extra white space is in the token behind it; an unknown character is one token.
    EXPECT_THAT(
        offsets_of(*tokenizer, "he  hello\u00e9"),
        ElementsAre(Pair(0, 1), Pair(1, 2), Pair(2, 5), Pair(5, 6), Pair(6, 8), Pair(8, 9), Pair(9, 11)));

    for (unsigned b = 0; b < 256; ++b) {
        char token[8];
        std::snprintf(token, sizeof token, "<0x%02X>", b);
        model += piece(token, -10.0F, 6);
    }
    const auto falling_back = make_sentencepiece_tokenizer(model + field(2, "\x98\x02\x01"), {});
    EXPECT_THAT(offsets_of(*falling_back, "h\u00e9o"),
                ElementsAre(Pair(0, 1), Pair(1, 1), Pair(1, 3), Pair(3, 4)));
}

}  // namespace
}  // namespace lockstep
