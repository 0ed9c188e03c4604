// SentencePiece models that its own trainer made here, against the library itself.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <random>
#include <utility>

#include "io/tokenizer/tokenizer_files.h"
#include "io/tokenizer/utf8.h"
#include "tests/io/encoded.h"
#include "tests/support/sentencepiece_model.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ElementsAre;

SpecialsPolicy parsing() {
    SpecialsPolicy policy;
    policy.literal = LiteralSpecials::parse;
    return policy;
}

/// Texts of many scripts, white space, controls, literal specials, and mixtures of them.
std::vector<std::string> texts() {
    const std::vector<std::string> parts{"The quick brown fox",
                                         "jumps over",
                                         "don't",
                                         "  two  spaces ",
                                         "\ttab\n",
                                         "línea ñ",
                                         "Привет, мир",
                                         "Γειά σου",
                                         "שלום",
                                         "你好，世界",
                                         "こんにちは",
                                         "안녕하세요",
                                         "1234567890",
                                         "3.14e-9",
                                         "x->y::z<T>();",
                                         "<s>",
                                         "</s>",
                                         "<unk>",
                                         "<|im_start|>",
                                         "<tool>",
                                         "▁",
                                         "e\u0301 é",
                                         "ﬁ ½ ① ｆ",
                                         "😀👩‍👩‍👧🇩🇪",
                                         "\u00a0\u3000\u200b",
                                         "\xc2\x85\ufeff",
                                         "aaaaaaaaaaaa",
                                         "<0x0A>",
                                         "\x01\x7f",
                                         "U\U000323AF"};
    std::vector<std::string> all{"", " ", "\n", "a"};
    for (const std::string& part : parts) all.insert(all.end(), {part, " " + part, part + part + " x"});
    for (std::size_t i = 0; i < parts.size(); ++i)
        for (std::size_t step = 1; step < parts.size(); ++step)
            all.push_back(parts[i] + parts[(i + step) % parts.size()]);
    return all;
}

/// Strings of one to 40 characters, each string of a few of these kinds.
std::vector<std::string> random_texts(std::size_t count) {
    struct Range {
        char32_t first, last;
    };
    constexpr Range kinds[] = {{U' ', U'~'},
                               {U'a', U'z'},
                               {U'0', U'9'},
                               {U'\u00a0', U'\u024f'},
                               {U'\u0300', U'\u036f'},
                               {U'\u0370', U'\u03ff'},
                               {U'\u0400', U'\u04ff'},
                               {U'\u0590', U'\u06ff'},
                               {U'\u0900', U'\u097f'},
                               {U'\u0e00', U'\u0e7f'},
                               {U'\u1100', U'\u11ff'},
                               {U'\u2000', U'\u206f'},
                               {U'\u2460', U'\u25ff'},
                               {U'\u3000', U'\u30ff'},
                               {U'\u4e00', U'\u9fff'},
                               {U'\uac00', U'\ud7a3'},
                               {U'\ue000', U'\uf8ff'},
                               {U'\ufb00', U'\uffef'},
                               {1, U'\x1f'},
                               {U'\x7f', U'\x9f'},
                               {U'\U0001f300', U'\U0001faff'},
                               {U'\U000e0000', U'\U000e01ef'},
                               {U'\U00010ffe', U'\U0010ffff'}};
    std::mt19937 random(20261122);
    std::vector<std::string> all(count);
    for (std::string& text : all) {
        const std::size_t of_kinds = 1 + random() % 3;
        Range chosen[3];
        for (std::size_t k = 0; k < of_kinds; ++k) chosen[k] = kinds[random() % std::size(kinds)];
        for (std::size_t n = 1 + random() % 40; n > 0; --n) {
            const Range& range = chosen[random() % of_kinds];
            append_utf8(range.first + static_cast<char32_t>(random() % (range.last - range.first + 1)), text);
        }
    }
    return all;
}

class SentencePieceTest : public testing::TestWithParam<const char*> {
  protected:
    std::string model_ = trained_sentencepiece_model(GetParam());
};

TEST_P(SentencePieceTest, IdsAndTextsAreTheLibrarysOwn) {
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.LoadFromSerializedProto(model_).ok());
    const auto tokenizer = make_sentencepiece_tokenizer(model_, {});
    EXPECT_EQ(tokenizer->vocabulary_size(), 500U);
    std::vector<std::string> all = texts();
    ASSERT_GE(all.size(), 900U);
    for (std::string& text : random_texts(100'000)) all.push_back(std::move(text));
    for (const std::string& text : all) {
        std::vector<int> expected;
        std::string decoded;
        ASSERT_TRUE(library.Encode(text, &expected).ok());
        ASSERT_TRUE(library.Decode(expected, &decoded).ok());
        const std::vector<std::uint32_t> ids = encode(*tokenizer, text);
        ASSERT_EQ(ids, std::vector<std::uint32_t>(expected.begin(), expected.end())) << text;
        ASSERT_EQ(tokenizer->decode(ids), decoded) << text;
    }
}

TEST_P(SentencePieceTest, LiteralControlPiecesAreTextUnlessParsed) {
    const auto as_text = make_sentencepiece_tokenizer(model_, {});
    const auto parsed = make_sentencepiece_tokenizer(model_, parsing());
    const std::uint32_t bos = *as_text->bos_id(), eos = *as_text->eos_id();
    const std::uint32_t start = *as_text->id_of("<|im_start|>"), tool = *as_text->id_of("<tool>");
    EXPECT_THAT(encode(*parsed, "<s><|im_start|><s></s>"), ElementsAre(bos, start, bos, eos));
    EXPECT_THAT(encode(*as_text, "<s></s>"), testing::Not(testing::Contains(bos)));
    EXPECT_THAT(encode(*as_text, "a<|im_start|>"), testing::Not(testing::Contains(start)));
    // User-defined pieces are the library's own business, in both settings.
    for (const auto* tokenizer : {as_text.get(), parsed.get()})
        EXPECT_THAT(encode(*tokenizer, "a<tool>b"), testing::Contains(tool));
    // What stands between is tokenized as texts of their own.
    std::vector<std::uint32_t> expected = encode(*as_text, "The fox<tool>");
    expected.push_back(eos);
    for (const std::uint32_t id : encode(*as_text, " jumps")) expected.push_back(id);
    EXPECT_EQ(encode(*parsed, "The fox<tool></s> jumps"), expected);
    EXPECT_NE(parsed->fingerprint(), as_text->fingerprint());
    for (const std::string& text : texts()) {
        const bool literal = text.find("<s>") != std::string::npos ||
                             text.find("</s>") != std::string::npos ||
                             text.find("<|im_start|>") != std::string::npos;
        EXPECT_TRUE(literal || encode(*parsed, text) == encode(*as_text, text)) << text;
    }
}

TEST_P(SentencePieceTest, EveryIdHasItsPlaceInTheText) {
    for (const SpecialsPolicy& policy : {SpecialsPolicy{}, parsing()}) {
        const auto tokenizer = make_sentencepiece_tokenizer(model_, policy);
        for (const std::string& text : texts()) {
            std::vector<std::uint32_t> ids;
            std::vector<TokenOffsets> offsets;
            tokenizer->encode_with_offsets(text, ids, offsets);
            EXPECT_EQ(ids, encode(*tokenizer, text)) << text;
            ASSERT_EQ(offsets.size(), ids.size()) << text;
            std::size_t end = 0;
            for (std::size_t i = 0; i < ids.size(); ++i) {
                EXPECT_LE(offsets[i].begin, offsets[i].end) << text;
                EXPECT_GE(offsets[i].begin, i == 0 ? 0 : offsets[i - 1].begin) << text;
                end = std::max(end, offsets[i].end);
                if (!tokenizer->is_special(ids[i])) continue;
                const std::string place = text.substr(offsets[i].begin, offsets[i].end - offsets[i].begin);
                EXPECT_EQ(place, tokenizer->token_bytes(ids[i])) << text;
            }
            EXPECT_LE(end, text.size()) << text;
        }
    }
}

TEST_P(SentencePieceTest, ItsDescriptionBuildsAnEqualOne) {
    for (const SpecialsPolicy& policy : {SpecialsPolicy{}, parsing()}) {
        for (const char* config : {"", R"({"eos_token": "<|im_start|>", "chat_template": "{{ x }}"})"}) {
            const auto tokenizer = make_sentencepiece_tokenizer(model_, policy, config);
            const auto again = make_tokenizer_from_description(tokenizer->description_json());
            EXPECT_EQ(again->fingerprint(), tokenizer->fingerprint());
            EXPECT_EQ(again->eos_id(), tokenizer->eos_id());
            EXPECT_EQ(again->chat_template(), tokenizer->chat_template());
            for (const std::string& text : texts())
                EXPECT_EQ(encode(*again, text), encode(*tokenizer, text)) << text;
        }
    }
}

TEST_P(SentencePieceTest, AFolderBringsItsConfiguration) {
    const TemporaryDirectory directory;
    directory.write("tokenizer.model", model_);
    const Fingerprint alone = load_tokenizer(directory.path())->fingerprint();
    EXPECT_EQ(alone, make_sentencepiece_tokenizer(model_, {})->fingerprint());
    // What says nothing new changes nothing.
    directory.write("tokenizer_config.json", R"({"bos_token": "<s>", "pad_token": "<absent>"})");
    EXPECT_EQ(load_tokenizer(directory.path())->fingerprint(), alone);

    directory.write(
        "tokenizer_config.json",
        R"({"eos_token": "<tool>", "pad_token": {"content": "</s>"}, "chat_template": "{{ x }}"})");
    const auto configured = load_tokenizer(directory.path());
    EXPECT_EQ(configured->eos_id(), configured->id_of("<tool>"));
    EXPECT_EQ(configured->pad_id(), configured->id_of("</s>"));
    EXPECT_EQ(configured->chat_template(), "{{ x }}");
    EXPECT_NE(configured->fingerprint(), alone);
    EXPECT_TRUE(configured->is_special(*configured->eos_id()));
    directory.write("chat_template.jinja", "{{ y }}");
    const auto templated = load_tokenizer(directory.path());
    EXPECT_EQ(templated->chat_template(), "{{ y }}");
    EXPECT_NE(templated->fingerprint(), configured->fingerprint());
    // A file of another name is itself alone.
    directory.write("other.model", model_);
    EXPECT_EQ(load_tokenizer(directory / "other.model")->fingerprint(), alone);
}

INSTANTIATE_TEST_SUITE_P(Types, SentencePieceTest, testing::Values("unigram", "bpe"));

TEST(SentencePieceTest, TextThatGoesOnGetsNoSpaceInFront) {
    for (const std::string type : {"unigram", "bpe"}) {
        const auto tokenizer = make_sentencepiece_tokenizer(trained_sentencepiece_model(type), {});
        for (const std::string rest : {" over", "over", "\nover the", " ", "Привет"}) {
            std::vector<std::uint32_t> whole, parts;
            tokenizer->encode("<tool>" + rest, whole);
            tokenizer->encode("<tool>", parts);
            tokenizer->encode_part(rest, TextPlace::after_text, parts);
            EXPECT_EQ(parts, whole) << type << ", '" << rest << "'";
        }
        std::vector<std::uint32_t> first, after_special;
        tokenizer->encode("over", first);
        tokenizer->encode_part("over", TextPlace::after_special, after_special);
        EXPECT_EQ(after_special, first) << type;
    }
}

}  // namespace
}  // namespace lockstep
