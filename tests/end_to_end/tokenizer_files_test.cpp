// Tokenizers as users have them, from their files to corpora, plans and starts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/corpus/corpus.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/tokenizer_files.h"
#include "tests/support/program.h"
#include "tests/support/sentencepiece_model.h"
#include "tests/support/temporary_directory.h"

namespace lockstep::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class TokenizerFilesTest : public testing::Test {
  protected:
    std::string path(const std::string& name) const { return (directory_ / name).string(); }

    static void succeeds(const std::vector<std::string>& arguments) {
        const ProgramResult result = run_lockstep_program(0, arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
    }
    /// @return what it said, with one error in it.
    static std::string refused(const std::vector<std::string>& arguments, int code,
                               const Environment& environment = {}) {
        const ProgramResult result = run_lockstep_program(0, arguments, environment);
        EXPECT_EQ(result.exit_code, code) << result.out << result.err;
        const std::size_t first = result.err.find("error: ");
        EXPECT_NE(first, std::string::npos) << result.err;
        EXPECT_EQ(result.err.find("error: ", first + 1), std::string::npos) << result.err;
        return result.err;
    }

    TemporaryDirectory directory_;
};

TEST_F(TokenizerFilesTest, AFileNestedWithoutEndIsRefused) {
    std::string text = R"({"version":"1.0","normalizer":)";
    for (int i = 0; i < 100'000; ++i) text += R"({"type":"Sequence","normalizers":[)";
    for (int i = 0; i < 100'000; ++i) text += "]}";
    directory_.write("tokenizer.json", text + R"(,"model":{}})");
    const std::string why = refused({"tokenizer", "encode", "-t", path("tokenizer.json"), "--text", "x"}, 65);
    EXPECT_THAT(why, HasSubstr("tokenizer.json"));
    EXPECT_THAT(why, HasSubstr("nested"));
}

TEST_F(TokenizerFilesTest, ASentencePieceFolderIsInTheCorpusWhole) {
    directory_.write("model/tokenizer.model", trained_sentencepiece_model("unigram"));
    directory_.write("model/tokenizer_config.json",
                     R"({"eos_token": "<|im_start|>", "chat_template": "{{ messages }}"})");
    std::string lines;
    std::vector<std::string> texts;
    for (int i = 0; i < 100; ++i) {
        texts.push_back("line " + std::to_string(i) + " the quick fox " +
                        (i % 3 == 0 ? "<s>Привет</s>" : "x->y") +
                        std::string(static_cast<std::size_t>(i), 'k'));
        lines += json({{"text", texts.back()}}).dump() + "\n";
    }
    directory_.write("texts.jsonl", lines);
    for (const char* specials : {"text", "parse"}) {
        SCOPED_TRACE(specials);
        succeeds({"ingest", "-d", path("texts.jsonl"), "-t", path("model"), "--specials", specials, "-o",
                  path("c.h5"), "--force"});
        const Corpus corpus = Corpus::open(path("c.h5"));
        TokenizerFileOptions options;
        if (std::string_view(specials) == "parse") options.policy.literal = LiteralSpecials::parse;
        const auto given = load_tokenizer(path("model"), options);
        const auto stored = make_tokenizer_from_description(corpus.tokenizer().description_json);
        EXPECT_EQ(stored->fingerprint(), given->fingerprint());
        EXPECT_EQ(corpus.tokenizer().fingerprint, given->fingerprint());
        EXPECT_EQ(stored->chat_template(), "{{ messages }}");
        EXPECT_EQ(corpus.tokenizer().eos_id, given->id_of("<|im_start|>"));
        ASSERT_EQ(corpus.num_samples(), texts.size());
        for (std::size_t i = 0; i < texts.size(); ++i) {
            std::vector<std::uint32_t> expected, found(corpus.sample_tokens(i));
            encode_document(*given, options.policy, texts[i], expected);
            corpus.read_tokens(i, 0, found);
            EXPECT_EQ(found, expected) << texts[i];
            const bool has_bos = std::ranges::find(found, *given->bos_id()) != found.end();
            EXPECT_EQ(has_bos, options.policy.literal == LiteralSpecials::parse && i % 3 == 0) << texts[i];
        }
    }
}

TEST_F(TokenizerFilesTest, AnOpenAiModelsRanksAreLookedForByName) {
    const std::vector<std::string> encode{"tokenizer", "encode", "-t", "gpt-4o", "--text", "x"};
    const std::string absent = refused(encode, 66, {{"LOCKSTEP_TOKENIZERS", path("a") + ":" + path("b")}});
    for (const std::string& noun : {std::string("gpt-4o"), std::string("o200k_base.tiktoken"), path("a"),
                                    path("b"), std::string("LOCKSTEP_TOKENIZERS")})
        EXPECT_THAT(absent, HasSubstr(noun));
    directory_.write("b/o200k_base.tiktoken", "YQ== 0\n");
    EXPECT_THAT(refused(encode, 65, {{"LOCKSTEP_TOKENIZERS", path("a") + ":" + path("b")}}),
                HasSubstr(path("b/o200k_base.tiktoken")));
    // A name that is a path is that path.
    const ProgramResult here =
        run_program({LOCKSTEP_BINARY, "tokenizer", "encode", "-t", "gpt-4o", "--text", "x"}, {},
                    directory_.write("gpt-4o/tokenizer.model", trained_sentencepiece_model("bpe"))
                        .parent_path()
                        .parent_path());
    EXPECT_EQ(here.exit_code, 0) << here.err;
}

TEST_F(TokenizerFilesTest, AChangedTokenizerIsNamedPartByPartBeforeTheFirstStep) {
    json vocabulary = json::object();
    for (unsigned b = 0; b < 256; ++b) vocabulary[mapped_bytes(std::string(1, static_cast<char>(b)))] = b;
    vocabulary["li"] = 256;
    vocabulary["ne"] = 257;
    json file = {{"version", "1.0"},
                 {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                 {"decoder", {{"type", "ByteLevel"}}},
                 {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"l i"}}}}};
    std::string text;
    for (int i = 0; i < 40; ++i) text += "line " + std::to_string(i) + "\n";
    directory_.write("texts.txt", text);
    const auto ingest = [&] {
        directory_.write("tokenizer.json", file.dump());
        succeeds({"ingest", "-d", path("texts.txt"), "--document", "line", "-t", path("tokenizer.json"), "-o",
                  path("c.h5"), "--force"});
    };
    ingest();
    succeeds({"batchplan", "build", "-l", path("c.h5"), "-e", "1", "-b", "512", "-o", path("plan")});
    const std::vector<std::string> validate{"batchplan", "validate", "-p", path("plan"), "-l", path("c.h5")};
    const std::vector<std::string> train{"train", "-p",      path("plan"), "-d", path("c.h5"), "-m",
                                         "nano",  "--steps", "1",          "-o", path("run")};
    succeeds(validate);

    file["model"]["merges"].push_back("n e");
    file["normalizer"] = {{"type", "NFC"}};
    ingest();
    for (const auto& arguments : {validate, train}) {
        const std::string why = refused(arguments, 65);
        EXPECT_THAT(why, HasSubstr("merges: 1 before, 2 now"));
        EXPECT_THAT(why, HasSubstr("normalizer: 'none' before, '{\"type\":\"NFC\"}' now"));
        EXPECT_THAT(why, testing::Not(HasSubstr("vocabulary:")));
    }
    EXPECT_FALSE(std::filesystem::exists(path("run")));
}

}  // namespace
}  // namespace lockstep::test
