#include "io/length_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/base/error.h"
#include "io/corpus.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LengthCacheTest : public testing::Test {
  protected:
    LengthCache parse(std::string_view content) {
        return read_lengths_jsonl(directory_.write("lengths.jsonl", content));
    }
    Error error_of(std::string_view content) {
        try {
            parse(content);
        } catch (const Error& error) {
            return error;
        }
        ADD_FAILURE() << "read without complaint: " << content;
        return {ErrorCode::bug, ""};
    }
    std::filesystem::path file() const { return directory_ / "lengths.jsonl"; }

    TemporaryDirectory directory_;
};

TEST_F(LengthCacheTest, ReadsWhatLazarusWrites) {
    const LengthCache lengths = parse(
        "{\"tokenizer_hash\": \"tok_v1\", \"version\": 1}\n"
        "{\"sample_id\": \"s0\", \"tokenizer_hash\": \"tok_v1\", \"length\": 5}\n"
        "{\"sample_id\": \"s1\", \"tokenizer_hash\": \"tok_v1\", \"length\": 128}\n");
    EXPECT_EQ(lengths.tokenizer_hash, "tok_v1");
    EXPECT_THAT(lengths.sample_tokens, ElementsAre(5, 128));
    EXPECT_THAT(lengths.keys, ElementsAre("s0", "s1"));
    EXPECT_THAT(lengths.loss_tokens, IsEmpty());
}

TEST_F(LengthCacheTest, TheHeaderMayBeMissing) {
    const LengthCache lengths = parse(
        "{\"length\": 0, \"sample_id\": \"a\"}\r\n"
        "{\"sample_id\": \"\\u00e9\", \"tokenizer_hash\": \"t\", \"length\": 4294967295, \"more\": [{}]}");
    EXPECT_EQ(lengths.tokenizer_hash, "t");
    EXPECT_THAT(lengths.sample_tokens, ElementsAre(0, 4294967295));
    EXPECT_THAT(lengths.keys, ElementsAre("a", "\u00e9"));
}

TEST_F(LengthCacheTest, AHeaderAloneIsACacheOfNothing) {
    const LengthCache lengths = parse("{\"tokenizer_hash\": \"t\", \"version\": 1}\n");
    EXPECT_EQ(lengths.tokenizer_hash, "t");
    EXPECT_THAT(lengths.sample_tokens, IsEmpty());
}

TEST_F(LengthCacheTest, LossTokensAreReadWhenEverySampleHasThem) {
    const LengthCache lengths = parse(
        "{\"sample_id\": \"a\", \"length\": 7, \"loss_tokens\": 0}\n"
        "{\"sample_id\": \"b\", \"length\": 9, \"loss_tokens\": 8}\n");
    EXPECT_THAT(lengths.loss_tokens, ElementsAre(0, 8));
}

TEST_F(LengthCacheTest, IdsThatAreTheIndicesAreNoKeys) {
    EXPECT_THAT(parse("{\"sample_id\": \"0\", \"length\": 7}\n{\"sample_id\": \"1\", \"length\": 9}\n").keys,
                IsEmpty());
    EXPECT_THAT(parse("{\"sample_id\": 0, \"length\": 7}\n{\"sample_id\": 1, \"length\": 9}\n").keys,
                IsEmpty());
    EXPECT_THAT(parse("{\"sample_id\": \"1\", \"length\": 7}\n{\"sample_id\": \"0\", \"length\": 9}\n").keys,
                ElementsAre("1", "0"));
    EXPECT_THAT(parse("{\"sample_id\": \"00\", \"length\": 7}\n").keys, ElementsAre("00"));
}

TEST_F(LengthCacheTest, EveryBadLineIsNamed) {
    const std::vector<std::string> bad{
        "",
        "garbage",
        "[]",
        "5",
        "{\"sample_id\": \"b\", \"length\": 5",
        "{\"sample_id\": \"b\", \"length\": 5} x",
        "{\"sample_id\": \"b\"}",
        "{\"length\": 5}",
        "{\"tokenizer_hash\": \"t\", \"version\": 1}",
        "{\"sample_id\": \"b\", \"length\": -1}",
        "{\"sample_id\": \"b\", \"length\": 4294967296}",
        "{\"sample_id\": \"b\", \"length\": 99999999999999999999}",
        "{\"sample_id\": \"b\", \"length\": 5.0}",
        "{\"sample_id\": \"b\", \"length\": 5e0}",
        "{\"sample_id\": \"b\", \"length\": \"5\"}",
        "{\"sample_id\": \"b\", \"length\": null}",
        "{\"sample_id\": \"b\", \"length\": true}",
        "{\"sample_id\": \"b\", \"length\": NaN}",
        "{\"sample_id\": \"b\", \"length\": 05}",
        "{\"sample_id\": \"\", \"length\": 5}",
        "{\"sample_id\": null, \"length\": 5}",
        "{\"sample_id\": 1.5, \"length\": 5}",
        "{\"sample_id\": [\"b\"], \"length\": 5}",
        "{\"sample_id\": \"\xFF\", \"length\": 5}",
        "{\"sample_id\": \"a\", \"length\": 5}",
        "{\"sample_id\": \"b\", \"length\": 5, \"length\": 5}",
        "{\"sample_id\": \"b\", \"sample_id\": \"c\", \"length\": 5}",
        "{\"sample_id\": \"b\", \"length\": 5, \"tokenizer_hash\": \"other\"}",
        "{\"sample_id\": \"b\", \"length\": 5, \"tokenizer_hash\": 7}",
        "{\"sample_id\": \"b\", \"length\": 5, \"loss_tokens\": 2}",
    };
    for (const std::string& line : bad) {
        const Error error =
            error_of("{\"tokenizer_hash\": \"t\", \"version\": 1}\n{\"sample_id\": \"a\", \"length\": 5}\n" +
                     line + "\n{\"sample_id\": \"z\", \"length\": 5}\n");
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << line;
        EXPECT_THAT(error.what(), HasSubstr("lengths.jsonl:3: ")) << line;
    }
}

TEST_F(LengthCacheTest, LossTokensAreOnAllSamplesOrNoneAndWithinTheLength) {
    EXPECT_THAT(error_of("{\"sample_id\": \"a\", \"length\": 5, \"loss_tokens\": 4}\n{\"sample_id\": \"b\", "
                         "\"length\": 5}\n")
                    .what(),
                HasSubstr(":2: 'loss_tokens'"));
    EXPECT_THAT(error_of("{\"sample_id\": \"a\", \"length\": 5, \"loss_tokens\": 6}\n").what(),
                HasSubstr(":1: 'loss_tokens' 6 exceeds"));
}

TEST_F(LengthCacheTest, DuplicatesAreCountedWithoutAHeaderToo) {
    EXPECT_THAT(
        error_of("{\"sample_id\": \"a\", \"length\": 5}\n{\"sample_id\": \"a\", \"length\": 5}\n").what(),
        HasSubstr("lengths.jsonl:2: sample_id 'a' is repeated"));
}

TEST_F(LengthCacheTest, AFileCutAnywhereIsRefusedUnlessALineEndsThere) {
    const std::string whole =
        "{\"tokenizer_hash\": \"t\", \"version\": 1}\n"
        "{\"sample_id\": \"a\", \"tokenizer_hash\": \"t\", \"length\": 123}\n";
    const std::size_t header_bytes = whole.find('\n');
    for (std::size_t length = 0; length < whole.size() - 1; ++length) {
        if (length == header_bytes || length == header_bytes + 1) continue;
        EXPECT_EQ(error_of(whole.substr(0, length)).code(), ErrorCode::corrupt_data) << length;
    }
    EXPECT_EQ(parse(whole.substr(0, whole.size() - 1)).sample_tokens.size(), 1U);
}

TEST_F(LengthCacheTest, ANewerVersionAndAMissingFile) {
    EXPECT_EQ(error_of("{\"tokenizer_hash\": \"t\", \"version\": 2}\n").code(),
              ErrorCode::incompatible_version);
    EXPECT_THROW(read_lengths_jsonl(directory_ / "absent"), Error);
}

TEST_F(LengthCacheTest, WritingAndReadingAreInverse) {
    LengthCache lengths;
    lengths.tokenizer_hash = "a \"quoted\" hash";
    lengths.sample_tokens = {3, 0, 4294967295};
    lengths.keys = {"x", "with \"quotes\"\n", "\u00e9"};
    lengths.loss_tokens = {2, 0, 1};
    for (const bool with_keys : {true, false}) {
        for (const bool with_loss : {true, false}) {
            LengthCache written = lengths;
            if (!with_keys) written.keys.clear();
            if (!with_loss) written.loss_tokens.clear();
            write_lengths_jsonl(file(), written, Overwrite::yes);
            const LengthCache read = read_lengths_jsonl(file());
            EXPECT_EQ(read.tokenizer_hash, written.tokenizer_hash);
            EXPECT_EQ(read.sample_tokens, written.sample_tokens);
            EXPECT_EQ(read.keys, written.keys);
            EXPECT_EQ(read.loss_tokens, written.loss_tokens);
            EXPECT_EQ(read.lengths_fingerprint(), written.lengths_fingerprint());
        }
    }
}

TEST_F(LengthCacheTest, WritesTheLinesOfLazarus) {
    LengthCache lengths;
    lengths.tokenizer_hash = "tok_v1";
    lengths.sample_tokens = {5, 128};
    lengths.keys = {"s0", "s1"};
    write_lengths_jsonl(file(), lengths, Overwrite::no);
    EXPECT_EQ(directory_.read("lengths.jsonl"),
              "{\"tokenizer_hash\": \"tok_v1\", \"version\": 1}\n"
              "{\"sample_id\": \"s0\", \"tokenizer_hash\": \"tok_v1\", \"length\": 5}\n"
              "{\"sample_id\": \"s1\", \"tokenizer_hash\": \"tok_v1\", \"length\": 128}\n");
}

TEST_F(LengthCacheTest, WritingRefusesToOverwriteAndHalfKeyedSamples) {
    LengthCache lengths;
    lengths.sample_tokens = {1, 2};
    lengths.keys = {"a", ""};
    EXPECT_THROW(write_lengths_jsonl(file(), lengths, Overwrite::no), Error);
    EXPECT_FALSE(std::filesystem::exists(file()));
    lengths.keys.clear();
    write_lengths_jsonl(file(), lengths, Overwrite::no);
    EXPECT_THROW(write_lengths_jsonl(file(), lengths, Overwrite::no), Error);
}

TEST_F(LengthCacheTest, AMillionLinesAreReadWhole) {
    std::string content = "{\"tokenizer_hash\": \"t\", \"version\": 1}\n";
    constexpr std::uint64_t num_samples = 1'000'000;
    for (std::uint64_t i = 0; i < num_samples; ++i) {
        content += "{\"sample_id\": \"doc-" + std::to_string(i) +
                   "\", \"tokenizer_hash\": \"t\", \"length\": " + std::to_string(i % 4096) + "}\n";
    }
    const LengthCache lengths = parse(content);
    ASSERT_EQ(lengths.sample_tokens.size(), num_samples);
    EXPECT_EQ(lengths.sample_tokens.back(), (num_samples - 1) % 4096);
    EXPECT_EQ(lengths.keys.back(), "doc-999999");
}

TEST(LengthsFingerprintTest, CoversLengthsKeysAndTheirBorders) {
    LengthCache plain;
    plain.sample_tokens = {1, 2};
    LengthCache keyed = plain;
    keyed.keys = {"ab", "c"};
    LengthCache shifted = plain;
    shifted.keys = {"a", "bc"};
    LengthCache swapped;
    swapped.sample_tokens = {2, 1};
    LengthCache longer;
    longer.sample_tokens = {1, 2, 0};
    const std::vector<Fingerprint> all{plain.lengths_fingerprint(), keyed.lengths_fingerprint(),
                                       shifted.lengths_fingerprint(), swapped.lengths_fingerprint(),
                                       longer.lengths_fingerprint()};
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) EXPECT_NE(all[i], all[j]) << i << " and " << j;
    }
}

TEST(LengthsFingerprintTest, IndicesAsKeysAreNoKeys) {
    LengthCache plain;
    plain.sample_tokens = {5, 6};
    LengthCache indexed = plain;
    indexed.keys = {"0", "1"};
    EXPECT_EQ(plain.lengths_fingerprint(), indexed.lengths_fingerprint());
    indexed.keys = {"1", "0"};
    EXPECT_NE(plain.lengths_fingerprint(), indexed.lengths_fingerprint());
}

TEST(LengthsFingerprintTest, NeitherHashNorLossTokensMatter) {
    LengthCache plain;
    plain.sample_tokens = {5, 6};
    LengthCache other = plain;
    other.tokenizer_hash = "t";
    other.loss_tokens = {1, 2};
    EXPECT_EQ(plain.lengths_fingerprint(), other.lengths_fingerprint());
}

TEST(LengthsFingerprintTest, IsFixedForEver) {
    // Part of the plan fingerprint: a change here changes every plan.
    LengthCache lengths;
    lengths.sample_tokens = {5, 128, 0};
    EXPECT_EQ(lengths.lengths_fingerprint().hex(),
              "9e186619989b81048effc0796727eee799ab2191bbc24c0a824caf5bdcad372d");
    lengths.keys = {"s0", "s1", "\u00e9"};
    EXPECT_EQ(lengths.lengths_fingerprint().hex(),
              "a8734b00fd22900e990f0418a0e41f73d648e4a76d47514f0a8025bf25caf2a9");
}

class LengthsOfCorpusTest : public testing::Test {
  protected:
    Corpus make_corpus(const std::vector<std::string>& keys, bool has_loss_spans) {
        CorpusTokenizer tokenizer;
        tokenizer.description_json = "{}";
        tokenizer.fingerprint = FingerprintBuilder("test").finish();
        tokenizer.vocabulary_size = 10;
        CorpusWriter writer(directory_ / "corpus.h5", tokenizer, Overwrite::yes);
        writer.add_source({"source.txt", 0, {}});
        const std::vector<std::uint32_t> tokens{1, 2, 3, 4, 5};
        const std::vector<LossSpan> spans{{0, 2}, {3, 5}};
        for (std::size_t i = 0; i < 3; ++i) {
            SampleRecord sample;
            sample.tokens = std::span(tokens).first(i == 1 ? 0 : 5);
            sample.has_loss_spans = has_loss_spans;
            if (has_loss_spans && i == 2) sample.loss_spans = spans;
            if (!keys.empty()) sample.key = keys[i];
            writer.add(sample);
        }
        writer.publish();
        return Corpus::open(directory_ / "corpus.h5");
    }

    TemporaryDirectory directory_;
};

TEST_F(LengthsOfCorpusTest, CorpusAndLengthsFileHaveOneFingerprint) {
    for (const std::vector<std::string>& keys :
         std::vector<std::vector<std::string>>{{}, {"a", "b", "c"}, {"0", "1", "2"}}) {
        const Corpus corpus = make_corpus(keys, false);
        const LengthCache lengths = lengths_of(corpus);
        EXPECT_THAT(lengths.sample_tokens, ElementsAre(5, 0, 5));
        EXPECT_THAT(lengths.loss_tokens, IsEmpty());
        EXPECT_EQ(lengths.tokenizer_hash, corpus.tokenizer().fingerprint.hex());
        EXPECT_EQ(lengths.lengths_fingerprint(), corpus.lengths_fingerprint());
        write_lengths_jsonl(directory_ / "lengths.jsonl", lengths, Overwrite::yes);
        EXPECT_EQ(read_lengths_jsonl(directory_ / "lengths.jsonl").lengths_fingerprint(),
                  corpus.lengths_fingerprint());
    }
}

TEST_F(LengthsOfCorpusTest, LossTokensLeaveOutTheFirstTokenOfASample) {
    EXPECT_THAT(lengths_of(make_corpus({}, true)).loss_tokens, ElementsAre(0, 0, 3));
}

}  // namespace
}  // namespace lockstep
