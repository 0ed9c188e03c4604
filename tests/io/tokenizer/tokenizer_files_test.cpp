#include "io/tokenizer/tokenizer_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "io/base/error.h"
#include "io/tokenizer/base64.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/openai_names.h"
#include "io/tokenizer/saved_files.h"
#include "tests/io/encoded.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

/// Byte level: 256 bytes, then "he", "ll", "hell", "hello", and one special.
json small_file() {
    json vocabulary = json::object();
    for (unsigned b = 0; b < 256; ++b) vocabulary[mapped_bytes(std::string(1, static_cast<char>(b)))] = b;
    vocabulary["he"] = 256;
    vocabulary["ll"] = 257;
    vocabulary["hell"] = 258;
    vocabulary["hello"] = 259;
    return {
        {"version", "1.0"},
        {"added_tokens",
         {{{"id", 260}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", false}}}},
        {"normalizer", nullptr},
        {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
        {"post_processor", nullptr},
        {"decoder", {{"type", "ByteLevel"}}},
        {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"h e", "l l", "he ll", "hell o"}}}}};
}

std::unique_ptr<Tokenizer> small(const json& file = small_file(),
                                 LiteralSpecials specials = LiteralSpecials::text) {
    SpecialsPolicy policy;
    policy.literal = specials;
    return make_json_tokenizer(file.dump(), "", "", policy);
}

Error refused(const json& file) {
    return error_of([&] { small(file); });
}

TEST(JsonTokenizerTest, MergesByRankAndDecodesBack) {
    const auto tokenizer = small();
    EXPECT_THAT(encode(*tokenizer, "hello shell"), ElementsAre(259, 32, 115, 258));
    EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "hello é\n")), "hello é\n");
    EXPECT_EQ(tokenizer->vocabulary_size(), 261U);
    EXPECT_EQ(tokenizer->eos_id(), 260U);
    EXPECT_THAT(tokenizer->ids_after(), ElementsAre(260));
}

TEST(JsonTokenizerTest, NamesTheLineOfWhatIsWrong) {
    const auto place_of = [](const std::string& from, const std::string& to, const std::string& wrong) {
        std::string text = small_file().dump(1);
        const std::size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        text.replace(at, from.size(), to);
        const std::size_t found = text.rfind(wrong);
        const auto line =
            1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(found), '\n');
        const std::size_t column = found - text.rfind('\n', found);
        const Error error = error_of([&] { make_json_tokenizer(text, "", "", {}); });
        EXPECT_THAT(error.what(),
                    HasSubstr("line " + std::to_string(line) + ", column " + std::to_string(column) + ": "))
            << error.what();
        return std::string(error.what());
    };
    EXPECT_THAT(place_of("\"l l\"", "\"l q\"", "\"l q\""), HasSubstr("model.merges[1]: needs the token"));
    EXPECT_THAT(place_of("\"l l\"", "[7]", "[7]"), HasSubstr("model.merges[1]: neither"));
    EXPECT_THAT(place_of("\"ll\": 257", "\"ll\": -1", "\"ll\": -1"), HasSubstr("model.vocab: token 'll'"));
    EXPECT_THAT(place_of("\"ll\": 257", "\"l\\u006c\": 256", "\"l\\u006c\""),
                HasSubstr("both have the id 256"));
    EXPECT_THAT(place_of("\"type\": \"ByteLevel\"", "\"type\": \"Wide\"", "\"decoder\""),
                HasSubstr("decoder: component 'Wide'"));
}

TEST(JsonTokenizerTest, LiteralSpecialsAreTextUnlessParsed) {
    EXPECT_EQ(encode(*small(), "a<|endoftext|>").size(), 14U);
    EXPECT_THAT(encode(*small(small_file(), LiteralSpecials::parse), "a<|endoftext|>"), ElementsAre(97, 260));
}

TEST(JsonTokenizerTest, ItsDescriptionBuildsAnEqualOne) {
    const auto tokenizer = small();
    const auto again = make_tokenizer_from_description(tokenizer->description_json());
    EXPECT_EQ(again->fingerprint(), tokenizer->fingerprint());
    EXPECT_EQ(encode(*again, "hello"), encode(*tokenizer, "hello"));
}

TEST(JsonTokenizerTest, TheFingerprintIsOfTheEffectiveTokenizer) {
    json pairs = small_file();
    pairs["model"]["merges"] = json::parse(R"([["h","e"],["l","l"],["he","ll"],["hell","o"]])");
    EXPECT_EQ(small(pairs)->fingerprint(), small()->fingerprint());
    json other = small_file();
    other["model"]["merges"] = {"l l", "h e", "he ll", "hell o"};
    EXPECT_NE(small(other)->fingerprint(), small()->fingerprint());
    json normalized = small_file();
    normalized["normalizer"] = {{"type", "NFC"}};
    EXPECT_NE(small(normalized)->fingerprint(), small()->fingerprint());
}

TEST(JsonTokenizerTest, TemplatesSayWhatStandsAround) {
    json file = small_file();
    file["post_processor"] = {{"type", "RobertaProcessing"}, {"cls", {"<s>", 1}}, {"sep", {"</s>", 2}}};
    const auto tokenizer = small(file);
    EXPECT_THAT(tokenizer->ids_before(), ElementsAre(1));
    EXPECT_THAT(tokenizer->ids_after(), ElementsAre(2));
}

std::vector<std::uint32_t> part(const Tokenizer& tokenizer, std::string_view text, TextPlace place) {
    std::vector<std::uint32_t> ids;
    tokenizer.encode_part(text, place, ids);
    return ids;
}

TEST(JsonTokenizerTest, WhatStandsInFrontOfADocumentDoesNotWhereTextGoesOn) {
    json file = small_file();
    const auto expect = [&](const char* text, bool start, bool special) {
        const auto tokenizer = small(file);
        const auto has_prefix = [&](TextPlace place) { return part(*tokenizer, text, place).size() == 2; };
        EXPECT_EQ(has_prefix(TextPlace::document_start), start)
            << file["normalizer"] << file["pre_tokenizer"];
        EXPECT_EQ(has_prefix(TextPlace::after_special), special) << file["normalizer"];
        EXPECT_FALSE(has_prefix(TextPlace::after_text)) << file["normalizer"] << file["pre_tokenizer"];
        std::vector<std::uint32_t> whole;
        tokenizer->encode(text, whole);
        EXPECT_EQ(part(*tokenizer, text, TextPlace::document_start), whole);
    };
    expect("hello", false, false);
    file["normalizer"] = {{"type", "Prepend"}, {"prepend", " "}};
    expect("hello", true, true);
    file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, file["normalizer"]}}};
    expect("hello", true, true);
    file["normalizer"] = nullptr;
    file["pre_tokenizer"]["add_prefix_space"] = true;
    expect("hello", true, true);
    file["pre_tokenizer"] = {{"type", "Sequence"},
                             {"pretokenizers",
                              {{{"type", "Metaspace"}, {"replacement", " "}, {"prepend_scheme", "first"}},
                               {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
    expect("hello", true, false);
    file["pre_tokenizer"]["pretokenizers"][0]["prepend_scheme"] = "always";
    expect("hello", true, true);
}

TEST(JsonTokenizerTest, OnlySpecialTokensAreTakenForBosByTheirName) {
    json file = small_file();
    file["model"]["vocab"]["<s>"] = 260;
    file["added_tokens"][0]["id"] = 261;
    EXPECT_FALSE(small(file)->bos_id());
    EXPECT_EQ(small(file)->eos_id(), 261U);
    file["added_tokens"].push_back({{"id", 260}, {"content", "<s>"}, {"special", true}});
    EXPECT_EQ(small(file)->bos_id(), 260U);
    const auto configured = [&](const char* config) {
        return make_json_tokenizer(file.dump(), config, "", SpecialsPolicy{});
    };
    EXPECT_FALSE(configured(R"({"bos_token": null})")->bos_id());
    EXPECT_EQ(configured(R"({"eos_token": null})")->bos_id(), 260U);
    EXPECT_FALSE(configured(R"({"eos_token": null})")->eos_id());
}

TEST(JsonTokenizerTest, TruncatedTextIsRefusedWithItsLine) {
    std::string text = small_file().dump(1);
    text.resize(text.size() / 2);
    const Error error = error_of([&] { make_json_tokenizer(text, "", "", {}); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("line "));
}

TEST(JsonTokenizerTest, EveryCutIsRefusedOrReadAsBefore) {
    const std::string text = small_file().dump();
    for (std::size_t size = 0; size < text.size(); size += 37)
        EXPECT_EQ(error_of([&] { make_json_tokenizer(text.substr(0, size), "", "", {}); }).code(),
                  ErrorCode::corrupt_data);
}

TEST(JsonTokenizerTest, WhatIsWrongIsNamed) {
    json file = small_file();
    file["model"]["merges"].push_back("hello w");
    EXPECT_THAT(refused(file).what(), HasSubstr("merges[4]: needs the token 'hellow'"));
    file = small_file();
    file["model"]["merges"][0] = "h  e";
    EXPECT_THAT(refused(file).what(), HasSubstr("merges[0]"));
    file = small_file();
    file["model"]["vocab"]["again"] = 5;
    EXPECT_THAT(refused(file).what(), HasSubstr("both have the id 5"));
    file = small_file();
    file["model"]["vocab"]["far"] = 2000000000;
    EXPECT_THAT(refused(file).what(), HasSubstr("far beyond"));
    file = small_file();
    file["model"]["vocab"]["minus"] = -1;
    EXPECT_THAT(refused(file).what(), HasSubstr("minus"));
    file = small_file();
    file["version"] = "2.0";
    EXPECT_EQ(refused(file).code(), ErrorCode::incompatible_version);
    file = small_file();
    file.erase("model");
    EXPECT_THAT(refused(file).what(), HasSubstr("model"));
}

TEST(JsonTokenizerTest, SequencesMayStandInSequencesButNotWithoutEnd) {
    const auto nested = [](const char* list, int levels) {
        std::string text;
        for (int i = 0; i < levels; ++i) text += R"({"type": "Sequence", ")" + std::string(list) + R"(": [)";
        for (int i = 0; i < levels; ++i) text += "]}";
        return text;
    };
    json file = small_file();
    file["normalizer"] = json::parse(nested("normalizers", 20));
    file["decoder"] = {{"type", "Sequence"}, {"decoders", {{{"type", "ByteLevel"}}}}};
    EXPECT_EQ(small(file)->decode(encode(*small(file), "hello")), "hello");
    const std::string deep = R"({"version": "1.0",)"
                             "\n"
                             R"("normalizer": )" +
                             nested("normalizers", 100'000) + "}";
    const Error error = error_of([&] { make_json_tokenizer(deep, "", "", {}); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("line 2, column "));
    EXPECT_THAT(error.what(), HasSubstr("nested"));
}

TEST(JsonTokenizerTest, NothingHasTwoIds) {
    std::string text = small_file().dump();
    text.replace(text.find("\"he\":256"), 8, "\"he\":256,\"he\":300");
    EXPECT_THAT(error_of([&] { make_json_tokenizer(text, "", "", {}); }).what(),
                HasSubstr("model.vocab: 'he' stands twice"));
    text = small_file().dump(1);
    text.replace(text.find("\"ll\": 257"), 9, "\"ll\": 257,\n   \"h\\u0065\": 5");
    const std::size_t again = text.find("\"h\\u0065\"");
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(again), '\n');
    EXPECT_THAT(error_of([&] { make_json_tokenizer(text, "", "", {}); }).what(),
                HasSubstr("line " + std::to_string(line) + ", column 4: model.vocab: 'he' stands twice"));
    json file = small_file();
    file["added_tokens"][0]["id"] = 5;
    EXPECT_THAT(refused(file).what(), HasSubstr("has the id 5"));
    file = small_file();
    file["added_tokens"].push_back({{"id", 260}, {"content", "<other>"}});
    EXPECT_THAT(refused(file).what(), HasSubstr("added_tokens[1]"));
    // The same token again, and an id that is not the one it will have, are the reference's own habits.
    file = small_file();
    file["added_tokens"].push_back(file["added_tokens"][0]);
    file["added_tokens"].push_back({{"id", 400}, {"content", "<far>"}});
    EXPECT_EQ(small(file)->id_of("<far>"), 261U);
}

/// Characters behind the first of a word have a prefix.
json prefixed_file(const std::vector<std::string>& tokens, const json& merges) {
    json vocabulary = json::object();
    for (const std::string& token : tokens) vocabulary[token] = vocabulary.size();
    return {
        {"model",
         {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}, {"continuing_subword_prefix", "##"}}}};
}

TEST(JsonTokenizerTest, NoMergeMakesATokenOfItself) {
    EXPECT_THAT(encode(*small(prefixed_file({"a", "##b", "##c", "ab", "abc"}, {"a ##b", "ab ##c"})), "abc"),
                ElementsAre(4));
    EXPECT_THAT(refused(prefixed_file({"#", "##", "###"}, {"# ###", "## ###"})).what(),
                HasSubstr("'###' is made of itself"));
    EXPECT_THAT(refused(prefixed_file({"#", "###", "####"}, {"# ####", "### ###"})).what(),
                HasSubstr("made of itself, by way of"));
    EXPECT_THAT(refused(prefixed_file({"a", "##"}, {"a ##"})).what(), HasSubstr("merges[0]"));
    json file = small_file();
    file["model"]["vocab"][""] = 260;
    file["added_tokens"][0]["id"] = 261;
    file["model"]["merges"].push_back({"hello", ""});
    EXPECT_THAT(refused(file).what(), HasSubstr("merges[4]"));
    file["model"]["merges"][4] = json::array({"", "hello"});
    EXPECT_THAT(refused(file).what(), HasSubstr("merges[4]"));
}

TEST(JsonTokenizerTest, UnsupportedComponentsAreRefusedByName) {
    for (const char* place : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
        json file = small_file();
        file[place] = {{"type", "Telepathy"}};
        const Error error = refused(file);
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_THAT(error.what(), HasSubstr(place));
        EXPECT_THAT(error.what(), HasSubstr("Telepathy"));
    }
    json file = small_file();
    file["model"]["dropout"] = 0.1;
    EXPECT_THAT(refused(file).what(), HasSubstr("dropout"));
    file = small_file();
    file["model"]["byte_fallback"] = true;
    file["model"]["end_of_word_suffix"] = "</w>";
    EXPECT_THAT(refused(file).what(), HasSubstr("byte_fallback"));
    file = small_file();
    file["pre_tokenizer"] = {
        {"type", "Split"}, {"behavior", "Isolated"}, {"pattern", {{"Regex", "[a-z&&[^b]]+"}}}};
    EXPECT_THAT(refused(file).what(), HasSubstr("&&"));
}

/// Components of the reference that this build does not have.
TEST(JsonTokenizerTest, WhatOnlyTheReferenceHasIsRefusedByName) {
    const std::vector<std::pair<const char*, json>> components{
        {"normalizer", {{"type", "Nmt"}}},
        {"normalizer", {{"type", "ByteLevel"}}},
        {"pre_tokenizer", {{"type", "CharDelimiterSplit"}, {"delimiter", "a"}}},
        {"pre_tokenizer", {{"type", "UnicodeScripts"}}},
        {"pre_tokenizer", {{"type", "FixedLength"}, {"length", 3}}},
        {"decoder", {{"type", "CTC"}, {"pad_token", "<pad>"}, {"word_delimiter_token", "|"}}},
        {"model", {{"type", "WordLevel"}, {"vocab", {{"a", 0}}}, {"unk_token", "a"}}},
    };
    for (const auto& [place, component] : components) {
        json file = small_file();
        file[place] = component;
        const Error error = refused(file);
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << component;
        EXPECT_THAT(error.what(), HasSubstr(place));
        EXPECT_THAT(error.what(), HasSubstr(component.at("type").get<std::string>()));
    }
    // In a sequence too.
    json file = small_file();
    file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Nmt"}}}}};
    EXPECT_THAT(refused(file).what(), HasSubstr("normalizer.normalizers[1]: component 'Nmt'"));
}

TEST(JsonTokenizerTest, AModelWithoutTypeIsKnownByItsFields) {
    const json vocabulary = {{"[UNK]", 0}, {"a", 1}, {"##b", 2}};
    const json word_level = {{"model", {{"vocab", vocabulary}, {"unk_token", "[UNK]"}}}};
    EXPECT_EQ(refused(word_level).code(), ErrorCode::invalid_argument);
    EXPECT_THAT(refused(word_level).what(), HasSubstr("WordLevel"));
    json word_piece = word_level;
    word_piece["model"]["continuing_subword_prefix"] = "##";
    word_piece["model"]["max_input_chars_per_word"] = 100;
    EXPECT_THAT(encode(*small(word_piece), "ab"), ElementsAre(1, 2));
    json pairs = small_file();
    pairs["model"].erase("type");
    EXPECT_THAT(encode(*small(pairs), "hello"), ElementsAre(259));
    const json unigram = json::parse(R"({"model": {"vocab": [["<unk>", 0], ["ab", -1]], "unk_id": 0}})");
    EXPECT_THAT(encode(*small(unigram), "ab"), ElementsAre(1));
}

TEST(JsonTokenizerTest, EmptyTextIsNoPattern) {
    const json pattern = {{"String", ""}};
    for (const auto& [place, component] :
         {std::pair<const char*, json>{"normalizer", {{"type", "Replace"}, {"content", "x"}}},
          {"pre_tokenizer", {{"type", "Split"}, {"behavior", "Isolated"}}},
          {"decoder", {{"type", "Replace"}, {"content", "x"}}}}) {
        json file = small_file();
        file[place] = component;
        file[place]["pattern"] = pattern;
        EXPECT_THAT(refused(file).what(), HasSubstr(std::string(place) + ".pattern: an empty String"));
    }
}

TEST(JsonTokenizerTest, WhiteSpaceThatATokenSwallowedIsNoTokenAgain) {
    json file = small_file();
    file["added_tokens"].push_back(
        {{"id", 261}, {"content", "\n"}, {"lstrip", true}, {"rstrip", true}, {"normalized", false}});
    EXPECT_THAT(encode(*small(file), "a \n\n\n b\n"), ElementsAre(97, 261, 98, 261));
}

std::string byte_ranks() {
    std::string text;
    for (unsigned b = 0; b < 256; ++b)
        text += base64_encoded(std::string(1, static_cast<char>(b))) + " " + std::to_string(b) + "\n";
    return text;
}

TEST(TiktokenTest, UnknownRanksNeedAPattern) {
    const Error error = error_of([] { make_tiktoken_tokenizer(byte_ranks(), "", {}); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("--pattern"));
    EXPECT_EQ(error_of([] { make_tiktoken_tokenizer(byte_ranks(), "cl9", {}); }).code(),
              ErrorCode::invalid_argument);
    const auto tokenizer = make_tiktoken_tokenizer(byte_ranks() + "YWI= 256\n", "cl100k_base", {});
    EXPECT_THAT(encode(*tokenizer, "abc"), ElementsAre(256, 99));
    EXPECT_EQ(tokenizer->eos_id(), 257U);
    const auto again = make_tokenizer_from_description(tokenizer->description_json());
    EXPECT_EQ(again->fingerprint(), tokenizer->fingerprint());
}

TEST(TiktokenTest, BadRanksAreRefusedWithTheirLine) {
    for (const char* line : {"YWI=", "YWI= x", "Y!!= 256", " 256", "YWI= 256 7"}) {
        const Error error =
            error_of([&] { make_tiktoken_tokenizer(byte_ranks() + line + "\n", "cl100k_base", {}); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << line;
        EXPECT_THAT(error.what(), HasSubstr("line 257")) << line;
    }
    for (const char* line : {"YQ== 256\n", "YWI= 5\n", "YWI= 2000000000\n"}) {
        EXPECT_EQ(error_of([&] { make_tiktoken_tokenizer(byte_ranks() + line, "cl100k_base", {}); }).code(),
                  ErrorCode::corrupt_data)
            << line;
    }
    EXPECT_EQ(error_of([] { make_tiktoken_tokenizer("YWI= 0\n", "cl100k_base", {}); }).code(),
              ErrorCode::corrupt_data);
}

TEST(OpenAiNamesTest, ModelsHaveTheirEncodings) {
    EXPECT_EQ(openai_encoding_of("gpt-4o"), "o200k_base");
    EXPECT_EQ(openai_encoding_of("gpt-4o-2024-08-06"), "o200k_base");
    EXPECT_EQ(openai_encoding_of("o1-mini"), "o200k_base");
    EXPECT_EQ(openai_encoding_of("ft:gpt-4o-mini:us:x:y"), "o200k_base");
    EXPECT_EQ(openai_encoding_of("gpt-oss-20b"), "o200k_harmony");
    EXPECT_EQ(openai_encoding_of("gpt-4"), "cl100k_base");
    EXPECT_EQ(openai_encoding_of("gpt-4-32k-0613"), "cl100k_base");
    EXPECT_EQ(openai_encoding_of("gpt-3.5-turbo"), "cl100k_base");
    EXPECT_EQ(openai_encoding_of("davinci-002"), "cl100k_base");
    EXPECT_EQ(openai_encoding_of("text-davinci-003"), "p50k_base");
    EXPECT_EQ(openai_encoding_of("text-davinci-edit-001"), "p50k_edit");
    EXPECT_EQ(openai_encoding_of("davinci"), "r50k_base");
    EXPECT_EQ(openai_encoding_of("gpt2"), "r50k_base");
    EXPECT_EQ(openai_encoding_of("p50k_edit"), "p50k_edit");
    EXPECT_EQ(openai_ranks_file("p50k_edit"), "p50k_base.tiktoken");
    EXPECT_EQ(openai_ranks_file("o200k_harmony"), "o200k_base.tiktoken");
    for (const char* name : {"", "gpt", "gpt-4o2", "gpt-44", "davinci-003", "ft:", "llama", "bytes", "o200k"})
        EXPECT_EQ(openai_encoding_of(name), "") << name;
}

TEST(LoadTokenizerTest, AModelsRanksAreLookedForInEveryFolder) {
    const TemporaryDirectory directory;
    TokenizerFileOptions options;
    options.folders = {directory / "a", directory / "b"};
    const Error absent = error_of([&] { load_tokenizer("gpt-4o", options); });
    EXPECT_EQ(absent.code(), ErrorCode::not_found);
    for (const std::string& noun : {std::string("'gpt-4o'"), std::string("o200k_base.tiktoken"),
                                    (directory / "a").string(), (directory / "b").string()})
        EXPECT_THAT(absent.what(), HasSubstr(noun));
    // Found, but not what OpenAI published.
    directory.write("b/o200k_base.tiktoken", byte_ranks());
    const Error other = error_of([&] { load_tokenizer("gpt-4o", options); });
    EXPECT_EQ(other.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(other.what(), HasSubstr((directory / "b/o200k_base.tiktoken").string()));
    EXPECT_THAT(other.what(), HasSubstr("o200k_base that OpenAI published"));
    options.pattern = "cl100k_base";
    EXPECT_THAT(error_of([&] { load_tokenizer("gpt-4o", options); }).what(), HasSubstr("--pattern"));
    EXPECT_THAT(error_of([&] { load_tokenizer("gpt-99", options); }).what(), HasSubstr("does not exist"));
}

TEST(LoadTokenizerTest, TheEnvironmentNamesFolders) {
    ASSERT_EQ(setenv("LOCKSTEP_TOKENIZERS", "/one::/two", 1), 0);
    EXPECT_THAT(tokenizer_folders(), ElementsAre(".", "/one", "/two"));
    ASSERT_EQ(unsetenv("LOCKSTEP_TOKENIZERS"), 0);
    EXPECT_THAT(tokenizer_folders(), ElementsAre("."));
}

TEST(LoadTokenizerTest, PathsThatAreNoTokenizersAreRefused) {
    const TemporaryDirectory directory;
    const auto path = directory.path() / "x.model";
    std::ofstream(path) << "no model";
    const Error broken = error_of([&] { load_tokenizer(path); });
    EXPECT_EQ(broken.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(broken.what(), HasSubstr("none of the 8 bytes"));
    EXPECT_EQ(error_of([&] { load_tokenizer(directory.path()); }).code(), ErrorCode::not_found);
    std::ofstream(directory.path() / "vocab.json") << "{}";
    EXPECT_THAT(error_of([&] { load_tokenizer(directory.path()); }).what(),
                HasSubstr("'vocab.json' does not hold all"));
    EXPECT_EQ(error_of([&] { load_tokenizer(directory.path() / "absent.json"); }).code(),
              ErrorCode::not_found);
    std::ofstream(directory.path() / "x.txt") << "text";
    EXPECT_EQ(error_of([&] { load_tokenizer(directory.path() / "x.txt"); }).code(),
              ErrorCode::invalid_argument);
}

TEST(LoadTokenizerTest, AFolderBringsItsConfiguration) {
    const TemporaryDirectory directory;
    std::ofstream(directory.path() / "tokenizer.json") << small_file().dump();
    std::ofstream(directory.path() / "tokenizer_config.json")
        << R"({"eos_token": "hello", "pad_token": {"content": "he"}, "chat_template": "{{ x }}"})";
    const auto tokenizer = load_tokenizer(directory.path());
    EXPECT_EQ(tokenizer->eos_id(), 259U);
    EXPECT_EQ(tokenizer->pad_id(), 256U);
    EXPECT_EQ(tokenizer->chat_template(), "{{ x }}");
}

TEST(LoadTokenizerTest, ChatTemplatesAreKeptByName) {
    const auto with = [](const std::string& config) {
        return make_json_tokenizer(small_file().dump(), config, "", {});
    };
    const auto tokenizer = with(R"({"chat_template": [{"name": "tool_use", "template": "{{ t }}"},
        {"name": "default", "template": "{{ x }}"}, {"name": "rag", "template": "{{ r }}"}]})");
    EXPECT_EQ(tokenizer->chat_template(), "{{ x }}");
    EXPECT_THAT(tokenizer->named_chat_templates(),
                ElementsAre(std::pair("rag", "{{ r }}"), std::pair("tool_use", "{{ t }}")));
    const auto again = make_tokenizer_from_description(tokenizer->description_json());
    EXPECT_EQ(again->named_chat_templates(), tokenizer->named_chat_templates());
    EXPECT_EQ(again->fingerprint(), tokenizer->fingerprint());
    const auto alone = with(R"({"chat_template": "{{ x }}"})");
    EXPECT_THAT(alone->named_chat_templates(), testing::IsEmpty());
    EXPECT_NE(alone->fingerprint(), tokenizer->fingerprint());
    EXPECT_EQ(with(R"({"chat_template": [{"name": "default", "template": "{{ x }}"}]})")->fingerprint(),
              alone->fingerprint());
}

TEST(LoadTokenizerTest, SettingsThatAreNotFollowedAreNamed) {
    const auto ignored = [](const json& file, const std::string& config = {}, const std::string& map = {}) {
        return ignored_settings({file.dump(), config, map},
                                *make_json_tokenizer(file.dump(), config, "", {}));
    };
    json file = small_file();
    EXPECT_THAT(ignored(file), testing::IsEmpty());
    file["truncation"] = {{"max_length", 4}};
    file["padding"] = {{"pad_id", 0}};
    EXPECT_THAT(ignored(file), ElementsAre("truncation", "padding"));

    // The post-processor puts BOS in front, and no EOS behind.
    file = small_file();
    file["post_processor"] = json::parse(R"({"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "hello"}}, {"Sequence": {"id": "A"}}],
        "special_tokens": {"hello": {"id": "hello", "ids": [259], "tokens": ["hello"]}}})");
    const std::string names = R"("bos_token": "hello", "eos_token": "<|endoftext|>")";
    EXPECT_THAT(ignored(file, "{" + names + R"(, "add_bos_token": true, "add_eos_token": false})"),
                testing::IsEmpty());
    EXPECT_THAT(ignored(file, "{" + names + R"(, "add_bos_token": false, "add_eos_token": true})"),
                ElementsAre("add_bos_token", "add_eos_token"));
    // An EOS where there is no post-processor is the ingest's own.
    EXPECT_THAT(ignored(small_file(), R"({"add_bos_token": false, "add_eos_token": false})"),
                testing::IsEmpty());

    const auto decoder = [](const std::string& id, const std::string& more) {
        return R"({"added_tokens_decoder": {")" + id + R"(": {"content": "<|endoftext|>", "special": true)" +
               more + "}}}";
    };
    EXPECT_THAT(ignored(small_file(), decoder("260", R"(, "lstrip": false)")), testing::IsEmpty());
    EXPECT_THAT(ignored(small_file(), decoder("260", R"(, "lstrip": true)")),
                ElementsAre("added_tokens_decoder"));
    EXPECT_THAT(ignored(small_file(), decoder("261", "")), ElementsAre("added_tokens_decoder"));
    EXPECT_THAT(ignored(small_file(), R"({"added_tokens_decoder": {"259": {"content": "hello"}}})"),
                ElementsAre("added_tokens_decoder"));

    EXPECT_THAT(ignored(small_file(), "{}", R"({"eos_token": {"content": "<|endoftext|>"}})"),
                testing::IsEmpty());
    EXPECT_THAT(ignored(small_file(), "{}", R"({"eos_token": "hello", "pad_token": "he"})"),
                ElementsAre("eos_token of special_tokens_map.json", "pad_token of special_tokens_map.json"));
}

TEST(JsonTokenizerTest, ThreadsEncodeAlike) {
    const auto tokenizer = small();
    const std::string text = "hello shell, hello é world 12345 \n\n hell";
    const std::vector<std::uint32_t> expected = encode(*tokenizer, text);
    std::vector<std::thread> threads;
    std::atomic<int> wrong = 0;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 200; ++i) wrong += encode(*tokenizer, text) != expected ? 1 : 0;
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace lockstep
