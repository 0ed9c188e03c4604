#include "io/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/tokenizer/utf8.h"
#include "tests/io/encoded.h"
#include "tests/support/error_of.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr SpecialsPolicy no_specials{AddSpecial::none, AddSpecial::none, LiteralSpecials::text};

TEST(BytesTokenizerTest, IdsAreByteValues) {
    const auto tokenizer = make_bytes_tokenizer();
    EXPECT_EQ(tokenizer->name(), "bytes");
    EXPECT_EQ(tokenizer->vocabulary_size(), 257U);
    EXPECT_EQ(tokenizer->eos_id(), 256U);
    EXPECT_EQ(tokenizer->bos_id(), std::nullopt);
    EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
    EXPECT_THAT(encode(*tokenizer, "a\u00e9\n"), ElementsAre(97, 0xC3, 0xA9, 10));
    EXPECT_THAT(encode(*tokenizer, std::string_view("\0", 1)), ElementsAre(0));
    EXPECT_THAT(encode(*tokenizer, ""), ElementsAre());
}

TEST(BytesTokenizerTest, EncodingAppends) {
    std::vector<std::uint32_t> ids{7};
    make_bytes_tokenizer()->encode("a", ids);
    EXPECT_THAT(ids, ElementsAre(7, 97));
}

TEST(BytesTokenizerTest, DecodeUndoesEncodeAndDropsSpecials) {
    const auto tokenizer = make_bytes_tokenizer();
    const std::string text = "na\u00efve \U0001F600\n";
    std::vector<std::uint32_t> ids = encode(*tokenizer, text);
    ids.push_back(256);
    EXPECT_EQ(tokenizer->decode(ids), text);
    const std::vector<std::uint32_t> beyond{257};
    EXPECT_EQ(error_of([&] { static_cast<void>(tokenizer->decode(beyond)); }).code(),
              ErrorCode::invalid_argument);
}

TEST(BytesTokenizerTest, TheVocabularyDoesNotDependOnEos) {
    EXPECT_EQ(make_bytes_tokenizer(no_specials)->vocabulary_size(), 257U);
}

TEST(BytesTokenizerTest, InvalidUtf8IsRefusedWithItsByte) {
    const Error error = error_of([] { encode(*make_bytes_tokenizer(), "ab\xC3\xA9\xC3"); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("byte 4"));
}

TEST(CharsTokenizerTest, IdsArePositionsAndEosIsLast) {
    const auto tokenizer = make_chars_tokenizer({U'\n', U'a', U'\u00e9', U'\U0001F600'});
    EXPECT_EQ(tokenizer->name(), "chars");
    EXPECT_EQ(tokenizer->vocabulary_size(), 5U);
    EXPECT_EQ(tokenizer->eos_id(), 4U);
    const auto ids = encode(*tokenizer, "\u00e9a\U0001F600\n");
    EXPECT_THAT(ids, ElementsAre(2, 1, 3, 0));
    EXPECT_EQ(tokenizer->decode(ids), "\u00e9a\U0001F600\n");
    const std::vector<std::uint32_t> with_eos{4, 1, 4};
    EXPECT_EQ(tokenizer->decode(with_eos), "a");
    const std::vector<std::uint32_t> beyond{5};
    EXPECT_EQ(error_of([&] { static_cast<void>(tokenizer->decode(beyond)); }).code(),
              ErrorCode::invalid_argument);
}

TEST(CharsTokenizerTest, AnUnknownCharacterIsNamed) {
    const Error error = error_of([] { encode(*make_chars_tokenizer({U'a'}), "aa\u00e9"); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("U+00E9 at byte 2"));
}

TEST(CharsTokenizerTest, AVocabularyIsAscendingUniqueAndOfCharacters) {
    for (const std::vector<char32_t>& wrong : std::vector<std::vector<char32_t>>{
             {}, {U'b', U'a'}, {U'a', U'a'}, {char32_t{0xD800}}, {char32_t{0x110000}}}) {
        EXPECT_EQ(error_of([&] { make_chars_tokenizer(wrong); }).code(), ErrorCode::invalid_argument);
    }
}

TEST(CollectCodePointsTest, AddsWhatIsNewInOrder) {
    std::vector<char32_t> code_points;
    collect_code_points("ba\u00e9a", code_points);
    EXPECT_THAT(code_points, ElementsAre(U'a', U'b', U'\u00e9'));
    collect_code_points("\U0001F600 b", code_points);
    EXPECT_THAT(code_points, ElementsAre(U' ', U'a', U'b', U'\u00e9', U'\U0001F600'));
    const Error error = error_of([&] { collect_code_points("ok \xFF", code_points); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("byte 3"));
}

TEST(EncodeDocumentTest, EosComesOnceUnlessSwitchedOff) {
    const auto tokenizer = make_bytes_tokenizer();
    std::vector<std::uint32_t> ids;
    encode_document(*tokenizer, {}, "a", ids);
    encode_document(*tokenizer, {}, "", ids);
    encode_document(*tokenizer, no_specials, "b", ids);
    EXPECT_THAT(ids, ElementsAre(97, 256, 256, 98));
}

std::vector<SpecialsPolicy> every_policy() {
    std::vector<SpecialsPolicy> policies;
    for (const AddSpecial bos : {AddSpecial::automatic, AddSpecial::none}) {
        for (const AddSpecial eos : {AddSpecial::automatic, AddSpecial::none}) {
            for (const LiteralSpecials literal : {LiteralSpecials::text, LiteralSpecials::parse}) {
                policies.push_back({bos, eos, literal});
            }
        }
    }
    return policies;
}

TEST(TokenizerFingerprintTest, CoversTypePolicyAndVocabulary) {
    std::set<Fingerprint> seen;
    std::size_t num_tokenizers = 0;
    for (const SpecialsPolicy& policy : every_policy()) {
        seen.insert(make_bytes_tokenizer(policy)->fingerprint());
        seen.insert(make_chars_tokenizer({U'a', U'b'}, policy)->fingerprint());
        seen.insert(make_chars_tokenizer({U'a', U'c'}, policy)->fingerprint());
        num_tokenizers += 3;
    }
    EXPECT_EQ(seen.size(), num_tokenizers);
}

TEST(TokenizerFingerprintTest, IsFixedForEver) {
    // Stored in every corpus: a change here orphans them all.
    EXPECT_EQ(make_bytes_tokenizer()->fingerprint().hex(),
              "985e11bb8d189c5029bb92670e9b3ba8114e74c37ebe74c6e40e038c507fa80e");
    EXPECT_EQ(make_chars_tokenizer({U'a', U'b'})->fingerprint().hex(),
              "aba1104c344dda85f1fc63ff2d8bff8cc1978af8136ec0bdf3d6a9b80b2776e2");
}

TEST(TokenizerDescriptionTest, BuildsAnEqualTokenizer) {
    for (const SpecialsPolicy& policy : every_policy()) {
        const auto bytes = make_bytes_tokenizer(policy);
        const auto again = make_tokenizer_from_description(bytes->description_json());
        EXPECT_EQ(again->fingerprint(), bytes->fingerprint());
        EXPECT_EQ(again->description_json(), bytes->description_json());

        const auto chars = make_chars_tokenizer({U'a', U'\u00e9', U'\U0001F600'}, policy);
        const auto chars_again = make_tokenizer_from_description(chars->description_json());
        EXPECT_EQ(chars_again->fingerprint(), chars->fingerprint());
        EXPECT_EQ(encode(*chars_again, "\u00e9a"), encode(*chars, "\u00e9a"));
    }
}

TEST(TokenizerDescriptionTest, DamageIsRefused) {
    const std::string options = R"("bos":"auto","eos":"auto","specials":"text")";
    for (const std::string& wrong : std::vector<std::string>{
             std::string(),
             std::string("{"),
             std::string("[]"),
             std::string("{}"),
             "{\"type\":\"bytes\"," + options + "}",
             R"({"type":"bytes","version":1,"bos":"auto","eos":"auto"})",
             std::string(R"({"type":"bytes","version":1,"bos":"maybe","eos":"auto","specials":"text"})"),
             "{\"version\":1," + options + "}",
             "{\"type\":\"chars\",\"version\":1," + options + "}",
             "{\"type\":\"chars\",\"version\":1,\"code_points\":[98,97]," + options + "}",
             "{\"type\":\"chars\",\"version\":1,\"code_points\":[-1]," + options + "}",
             "{\"type\":\"chars\",\"version\":1,\"code_points\":[4294967393]," + options + "}",
             "{\"type\":\"bytes\",\"version\":\"1\"," + options + "}",
         }) {
        EXPECT_EQ(error_of([&] { make_tokenizer_from_description(wrong); }).code(), ErrorCode::corrupt_data)
            << wrong;
    }
}

TEST(TokenizerDescriptionTest, WhatIsNewerIsRefusedByNumber) {
    for (const char* newer :
         {R"({"type":"bytes","version":2})",
          R"({"type":"telepathy","version":1,"bos":"auto","eos":"auto","specials":"text"})"}) {
        EXPECT_EQ(error_of([&] { make_tokenizer_from_description(newer); }).code(),
                  ErrorCode::incompatible_version)
            << newer;
    }
}

TEST(Utf8Test, EveryCodePointGoesThereAndBack) {
    for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
        if (!is_scalar_value(code_point)) continue;
        std::string text;
        append_utf8(code_point, text);
        std::size_t offset = 0;
        ASSERT_EQ(take_code_point(text, offset), code_point);
        ASSERT_EQ(offset, text.size());
    }
}

bool is_valid_by(void (*check)(std::string_view), std::string_view text) {
    try {
        check(text);
        return true;
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        return false;
    }
}

void take_all(std::string_view text) {
    for (std::size_t offset = 0; offset < text.size();) take_code_point(text, offset);
}

TEST(Utf8Test, AgreesWithTheFastCheckOnEveryShortSequence) {
    // All sequences of up to four of the bytes at which the encoding changes its mind.
    const std::string borders = "\x7F\x80\x8F\x90\x9F\xA0\xBF\xC1\xC2\xE0\xED\xF0\xF4\xF5";
    std::vector<std::string> sequences{""};
    std::size_t num_valid = 0;
    for (std::size_t begin = 0, length = 1; length <= 4; ++length) {
        const std::size_t end = sequences.size();
        for (; begin < end; ++begin) {
            for (const char next : borders) sequences.push_back(sequences[begin] + next);
        }
    }
    for (const std::string& sequence : sequences) {
        const bool valid = is_valid_by(expect_valid_utf8, sequence);
        ASSERT_EQ(is_valid_by(take_all, sequence), valid) << testing::PrintToString(sequence);
        num_valid += valid ? 1U : 0U;
    }
    EXPECT_GT(num_valid, 100U);
}

}  // namespace
}  // namespace lockstep
