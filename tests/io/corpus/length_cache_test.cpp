#include "io/corpus/length_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "io/base/philox.h"
#include "io/columns/column_file.h"
#include "io/columns/fingerprint_attribute.h"
#include "io/corpus/corpus.h"
#include "io/corpus/length_keys.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> keys_of(const LengthCache& lengths) {
    std::vector<std::string> keys;
    for (std::uint64_t i = 0; lengths.has_keys() && i < lengths.num_samples(); ++i)
        keys.emplace_back(lengths.key(i));
    return keys;
}

LengthCache cache_of(std::vector<std::uint32_t> sample_tokens, const std::vector<std::string>& keys = {},
                     std::vector<std::uint32_t> loss_tokens = {}, std::vector<double> scores = {},
                     const std::string& hash = "") {
    LengthColumns columns;
    columns.tokenizer_hash = hash;
    columns.sample_tokens = std::move(sample_tokens);
    for (const std::string& key : keys) columns.add_key(key);
    columns.loss_tokens = std::move(loss_tokens);
    columns.sample_score = std::move(scores);
    return LengthCache(std::move(columns));
}

class LengthCacheTest : public testing::Test {
  protected:
    LengthCache parse(std::string_view content) {
        return read_lengths_jsonl(directory_.write("lengths.jsonl", content));
    }
    Error refusal_of(std::string_view content) {
        return error_of([&] { parse(content); });
    }
    std::filesystem::path file() const { return directory_ / "lengths.jsonl"; }

    TemporaryDirectory directory_;
};

TEST_F(LengthCacheTest, ReadsWhatLazarusWrites) {
    const LengthCache lengths = parse(
        "{\"tokenizer_hash\": \"tok_v1\", \"version\": 1}\n"
        "{\"sample_id\": \"s0\", \"tokenizer_hash\": \"tok_v1\", \"length\": 5}\n"
        "{\"sample_id\": \"s1\", \"tokenizer_hash\": \"tok_v1\", \"length\": 128}\n");
    EXPECT_EQ(lengths.tokenizer_hash(), "tok_v1");
    EXPECT_THAT(lengths.sample_tokens(), ElementsAre(5, 128));
    EXPECT_THAT(keys_of(lengths), ElementsAre("s0", "s1"));
    EXPECT_THAT(lengths.loss_tokens(), IsEmpty());
}

TEST_F(LengthCacheTest, TheHeaderMayBeMissing) {
    const LengthCache lengths = parse(
        "{\"length\": 0, \"sample_id\": \"a\"}\r\n"
        "{\"sample_id\": \"\\u00e9\", \"tokenizer_hash\": \"t\", \"length\": 4294967295, \"more\": [{}]}");
    EXPECT_EQ(lengths.tokenizer_hash(), "t");
    EXPECT_THAT(lengths.sample_tokens(), ElementsAre(0, 4294967295));
    EXPECT_THAT(keys_of(lengths), ElementsAre("a", "\u00e9"));
}

TEST_F(LengthCacheTest, AHeaderAloneIsACacheOfNothing) {
    const LengthCache lengths = parse("{\"tokenizer_hash\": \"t\", \"version\": 1}\n");
    EXPECT_EQ(lengths.tokenizer_hash(), "t");
    EXPECT_THAT(lengths.sample_tokens(), IsEmpty());
}

TEST_F(LengthCacheTest, LossTokensAreReadWhenEverySampleHasThem) {
    const LengthCache lengths = parse(
        "{\"sample_id\": \"a\", \"length\": 7, \"loss_tokens\": 0}\n"
        "{\"sample_id\": \"b\", \"length\": 9, \"loss_tokens\": 8}\n");
    EXPECT_THAT(lengths.loss_tokens(), ElementsAre(0, 8));
}

TEST_F(LengthCacheTest, IdsThatAreTheIndicesAreNoKeys) {
    EXPECT_THAT(
        keys_of(parse("{\"sample_id\": \"0\", \"length\": 7}\n{\"sample_id\": \"1\", \"length\": 9}\n")),
        IsEmpty());
    EXPECT_THAT(keys_of(parse("{\"sample_id\": 0, \"length\": 7}\n{\"sample_id\": 1, \"length\": 9}\n")),
                IsEmpty());
    EXPECT_THAT(
        keys_of(parse("{\"sample_id\": \"1\", \"length\": 7}\n{\"sample_id\": \"0\", \"length\": 9}\n")),
        ElementsAre("1", "0"));
    EXPECT_THAT(keys_of(parse("{\"sample_id\": \"00\", \"length\": 7}\n")), ElementsAre("00"));
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
        const Error error = refusal_of(
            "{\"tokenizer_hash\": \"t\", \"version\": 1}\n{\"sample_id\": \"a\", \"length\": 5}\n" + line +
            "\n{\"sample_id\": \"z\", \"length\": 5}\n");
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << line;
        EXPECT_THAT(error.what(), HasSubstr("lengths.jsonl:3: ")) << line;
    }
}

TEST_F(LengthCacheTest, LossTokensAreOnAllSamplesOrNoneAndWithinTheLength) {
    EXPECT_THAT(
        refusal_of("{\"sample_id\": \"a\", \"length\": 5, \"loss_tokens\": 4}\n{\"sample_id\": \"b\", "
                   "\"length\": 5}\n")
            .what(),
        HasSubstr(":2: 'loss_tokens'"));
    EXPECT_THAT(refusal_of("{\"sample_id\": \"a\", \"length\": 5, \"loss_tokens\": 6}\n").what(),
                HasSubstr(":1: 'loss_tokens' 6 exceeds"));
}

TEST_F(LengthCacheTest, DuplicatesAreCountedWithoutAHeaderToo) {
    EXPECT_THAT(
        refusal_of("{\"sample_id\": \"a\", \"length\": 5}\n{\"sample_id\": \"a\", \"length\": 5}\n").what(),
        HasSubstr("lengths.jsonl:2: sample_id 'a' is repeated"));
}

TEST_F(LengthCacheTest, AFileCutAnywhereIsRefusedUnlessALineEndsThere) {
    const std::string whole =
        "{\"tokenizer_hash\": \"t\", \"version\": 1}\n"
        "{\"sample_id\": \"a\", \"tokenizer_hash\": \"t\", \"length\": 123}\n";
    const std::size_t header_bytes = whole.find('\n');
    for (std::size_t length = 0; length < whole.size() - 1; ++length) {
        if (length == header_bytes || length == header_bytes + 1) continue;
        EXPECT_EQ(refusal_of(whole.substr(0, length)).code(), ErrorCode::corrupt_data) << length;
    }
    EXPECT_EQ(parse(whole.substr(0, whole.size() - 1)).sample_tokens().size(), 1U);
}

TEST_F(LengthCacheTest, ANewerVersionAndAMissingFile) {
    EXPECT_EQ(refusal_of("{\"tokenizer_hash\": \"t\", \"version\": 2}\n").code(),
              ErrorCode::incompatible_version);
    EXPECT_THROW(read_lengths_jsonl(directory_ / "absent"), Error);
}

TEST_F(LengthCacheTest, WritingAndReadingAreInverse) {
    for (int choice = 0; choice < 8; ++choice) {
        const LengthCache written =
            cache_of({3, 0, 4294967295},
                     (choice & 1) != 0 ? std::vector<std::string>{"x", "with \"quotes\"\n", "\u00e9"}
                                       : std::vector<std::string>{},
                     (choice & 2) != 0 ? std::vector<std::uint32_t>{2, 0, 1} : std::vector<std::uint32_t>{},
                     (choice & 4) != 0 ? std::vector<double>{-0.0, -1e300, 0x1p64} : std::vector<double>{},
                     "a \"quoted\" hash");
        for (const char* name : {"lengths.jsonl", "lengths.h5"}) {
            write_lengths(directory_ / name, written, Overwrite::yes);
            const LengthCache read = open_lengths(directory_ / name);
            EXPECT_EQ(read.tokenizer_hash(), written.tokenizer_hash());
            EXPECT_THAT(read.sample_tokens(), ElementsAreArray(written.sample_tokens()));
            EXPECT_EQ(read.num_tokens(), 4294967298U);
            EXPECT_EQ(keys_of(read), keys_of(written));
            EXPECT_THAT(read.loss_tokens(), ElementsAreArray(written.loss_tokens()));
            EXPECT_THAT(read.sample_score(), ElementsAreArray(written.sample_score()));
            EXPECT_EQ(read.lengths_fingerprint(), written.lengths_fingerprint());
            EXPECT_EQ(fingerprint_of_scores(read.sample_score()),
                      fingerprint_of_scores(written.sample_score()));
            read.verify_everything();
        }
    }
}

TEST_F(LengthCacheTest, NothingIsACacheToo) {
    for (const char* name : {"none.jsonl", "none.h5"}) {
        write_lengths(directory_ / name, cache_of({}), Overwrite::no);
        EXPECT_EQ(open_lengths(directory_ / name).num_samples(), 0U);
    }
}

TEST_F(LengthCacheTest, WritesTheLinesOfLazarus) {
    write_lengths_jsonl(file(), cache_of({5, 128}, {"s0", "s1"}, {}, {}, "tok_v1"), Overwrite::no);
    EXPECT_EQ(directory_.read("lengths.jsonl"),
              "{\"tokenizer_hash\": \"tok_v1\", \"version\": 1}\n"
              "{\"sample_id\": \"s0\", \"tokenizer_hash\": \"tok_v1\", \"length\": 5}\n"
              "{\"sample_id\": \"s1\", \"tokenizer_hash\": \"tok_v1\", \"length\": 128}\n");
}

TEST_F(LengthCacheTest, WritingRefusesToOverwriteAndBadIds) {
    for (const char* name : {"lengths.jsonl", "lengths.h5"}) {
        EXPECT_THROW(write_lengths(directory_ / name, cache_of({1, 2}, {"a", ""}), Overwrite::no), Error);
        EXPECT_THROW(write_lengths(directory_ / name, cache_of({1, 2}, {"a", "\xFF"}), Overwrite::no), Error);
        EXPECT_FALSE(std::filesystem::exists(directory_ / name));
        write_lengths(directory_ / name, cache_of({1, 2}), Overwrite::no);
        EXPECT_THROW(write_lengths(directory_ / name, cache_of({1, 2}), Overwrite::no), Error);
    }
    EXPECT_THROW(write_lengths(directory_ / "twice.h5", cache_of({1, 2, 3}, {"b", "a", "b"}), Overwrite::no),
                 Error);
}

TEST_F(LengthCacheTest, ColumnsThatAreDamagedOrOfAnotherKindAreRefused) {
    write_lengths(directory_ / "lengths.h5", cache_of({1, 2, 3}, {"x", "y", "z"}), Overwrite::no);
    std::string bytes = directory_.read("lengths.h5");
    for (std::size_t at = 0; at < bytes.size(); at += 97) {
        std::string damaged = bytes;
        damaged[at] = static_cast<char>(damaged[at] ^ 4);
        EXPECT_THROW(LengthCache::open_columns(directory_.write("damaged.h5", damaged)), Error) << at;
    }
    EXPECT_THROW(LengthCache::open_columns(directory_.write("cut.h5", bytes.substr(0, bytes.size() / 2))),
                 Error);

    // Sound digests, but what they cover does not agree.
    const auto forge = [&](std::uint64_t samples, std::uint64_t tokens, std::vector<std::uint64_t> key_begin,
                           std::vector<double> scores) {
        ColumnFileWriter writer(directory_ / "forged.h5", std::string(lengths_format), 1, Overwrite::yes);
        writer.attribute("/", "tokenizer_hash", "t");
        writer.attribute("/", "num_samples", samples);
        writer.attribute("/", "num_tokens", tokens);
        const LengthCache honest = cache_of({1, 2}, {"x", "y"});
        write_fingerprint(writer, "/", "lengths_fingerprint", honest.lengths_fingerprint());
        writer.column("/sample_tokens", honest.sample_tokens());
        writer.column("/key_begin", std::span<const std::uint64_t>(key_begin));
        writer.column("/key_bytes", std::span(reinterpret_cast<const std::uint8_t*>("xy"), 2));
        if (!scores.empty()) writer.column("/sample_score", std::span<const double>(scores));
        writer.publish();
        return directory_ / "forged.h5";
    };
    EXPECT_EQ(LengthCache::open_columns(forge(2, 3, {0, 1, 2}, {1, 2})).num_tokens(), 3U);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    EXPECT_THROW(LengthCache::open_columns(forge(3, 3, {0, 1, 2}, {})), Error);
    EXPECT_THROW(LengthCache::open_columns(forge(2, 4, {0, 1, 2}, {})), Error);
    EXPECT_THROW(LengthCache::open_columns(forge(2, 3, {0, 0, 2}, {})), Error);  // Another fingerprint.
    EXPECT_THROW(LengthCache::open_columns(forge(2, 3, {0, 9, 2}, {})), Error);
    EXPECT_THROW(LengthCache::open_columns(forge(2, 3, {0, 1, 1}, {})), Error);
    EXPECT_THROW(LengthCache::open_columns(forge(2, 3, {0, 1, 2}, {1, nan})), Error);
    EXPECT_THROW(LengthCache::open_columns(forge(2, 3, {0, 1, 2}, {1})), Error);
}

TEST_F(LengthCacheTest, ScoresAreFiniteNumbersOnEverySampleOrNone) {
    const LengthCache lengths = parse(
        "{\"sample_id\": \"a\", \"length\": 7, \"score\": 1}\n"
        "{\"sample_id\": \"b\", \"length\": 7, \"score\": -0.25}\n"
        "{\"sample_id\": \"c\", \"length\": 7, \"score\": 1e-3}\n"
        "{\"length\": 7, \"score\": 2.5, \"sample_id\": \"d\"}\n");
    EXPECT_THAT(lengths.sample_score(), ElementsAre(1, -0.25, 1e-3, 2.5));
    const std::string good = "{\"sample_id\": \"a\", \"length\": 7, \"score\": 1}\n";
    for (const char* score :
         {"1e999", "NaN", "\"1\"", "1.", ".5", "01", "+1", "1e", "-", "null", "Infinity"}) {
        const Error error =
            refusal_of(good + "{\"sample_id\": \"b\", \"length\": 7, \"score\": " + score + "}\n");
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << score;
        EXPECT_THAT(error.what(), HasSubstr("lengths.jsonl:2: ")) << score;
    }
    EXPECT_THAT(refusal_of(good + "{\"sample_id\": \"b\", \"length\": 7}\n").what(),
                HasSubstr(":2: 'score'"));
}

TEST_F(LengthCacheTest, LinesOfOneShapeAreReadLikeAnyOther) {
    // The same samples in many spellings; what follows a line of the usual shape takes the short way.
    const std::vector<std::string> spellings{
        "{\"sample_id\": \"KEY\", \"tokenizer_hash\": \"t\", \"length\": NUM}\n",
        "{\"sample_id\":\"KEY\",\"tokenizer_hash\":\"t\",\"length\":NUM}\n",
        "{\"sample_id\": \"KEY\", \"length\": NUM}\r\n",
        "{\"length\": NUM, \"sample_id\": \"KEY\"}\n",
        "{\"sample_id\": \"KEY\", \"other\": \"length\", \"length\": NUM}\n",
        "{\"sample_id\": \"KEY\", \"tokenizer_hash\": \"\\u0074\", \"length\": NUM}\n",
        " { \"sample_id\" : \"KEY\" , \"length\" : NUM } \n"};
    const std::vector<std::pair<std::string, std::string>> keys{
        {"plain-key-of-some-length", "plain-key-of-some-length"},
        {"k", "k"},
        {"\u00e9\u4e2d", "\u00e9\u4e2d"},
        {"a\\nb", "a\nb"},
        {"\\u00e9", "\u00e9"},
        {"12345678", "12345678"}};
    const Philox random(5, "spellings");
    std::string content;
    std::vector<std::string> expected_keys;
    std::vector<std::uint32_t> expected;
    for (std::uint64_t i = 0; i < 3000; ++i) {
        const PhiloxCounter words = random.block(i / 3);  // Runs of one spelling.
        std::string line = spellings[words[0] % spellings.size()];
        const auto& [written, meant] = keys[random.below(i, keys.size())];
        const auto number =
            static_cast<std::uint32_t>(random.below(i + 5000, i % 7 == 0 ? 4294967296U : 3000U));
        line.replace(line.find("KEY"), 3, written + std::to_string(i));
        line.replace(line.find("NUM"), 3, std::to_string(number));
        content += line;
        expected_keys.push_back(meant + std::to_string(i));
        expected.push_back(number);
    }
    const LengthCache lengths = parse(content);
    EXPECT_EQ(keys_of(lengths), expected_keys);
    EXPECT_THAT(lengths.sample_tokens(), ElementsAreArray(expected));
}

TEST_F(LengthCacheTest, BadLinesAmongManyOfOneShapeAreNamed) {
    std::string many;
    for (int i = 0; i < 5000; ++i)
        many +=
            "{\"sample_id\": \"id" + std::to_string(i) + "\", \"tokenizer_hash\": \"t\", \"length\": 77}\n";
    const std::string start = "{\"sample_id\": \"";
    const std::string middle = "\", \"tokenizer_hash\": \"t\", \"length\": ";
    const std::vector<std::string> bad{
        start + middle + "5}",
        start + "b" + middle + "05}",
        start + "b" + middle + "4294967296}",
        start + "b" + middle + "10000000000000000000000}",
        start + "b" + middle + "-5}",
        start + "b" + middle + "5.0}",
        start + "b" + middle + "5",
        start + "b" + middle + "5} ,",
        start + "b" + middle + "}",
        start + "b" + middle + "5, \"loss_tokens\": 1}",
        start + "b\xFF" + middle + "5}",
        start + "b\xC3" + middle + "5}",
        start + "b\x01" + middle + "5}",
        start + "b\t" + middle + "5}",
        start + std::string("b\0c", 3) + middle + "5}",
        start + "b" + middle + "5}" + std::string(1, '\0'),
        start + "b\\x" + middle + "5}",
        start + "b\", \"tokenizer_hash\": \"u\", \"length\": 5}",
        start + "id4999" + middle + "5}",
        start + std::string(std::size_t{5} << 20U, 'x') + middle + "5}",
    };
    for (const std::string& line : bad) {
        for (const char* end : {"\n", "\n{\"sample_id\": \"z\", \"length\": 5}\n"}) {
            const Error error = refusal_of(many + line + end);
            EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << line.substr(0, 100);
            EXPECT_THAT(error.what(), HasSubstr("lengths.jsonl:5001: ")) << line.substr(0, 100);
        }
    }
}

TEST_F(LengthCacheTest, AsLazarusTheLastOfARepeatedIdWins) {
    const std::string content =
        "{\"sample_id\": \"s0\", \"length\": 5, \"loss_tokens\": 1, \"score\": 1}\n"
        "{\"sample_id\": \"s1\", \"length\": 128, \"loss_tokens\": 2, \"score\": 2}\n"
        "{\"sample_id\": \"s0\", \"length\": 6, \"loss_tokens\": 3, \"score\": 3}\n"
        "{\"sample_id\": \"s2\", \"length\": 7, \"loss_tokens\": 4, \"score\": 4}\n"
        "{\"sample_id\": \"s0\", \"length\": 8, \"loss_tokens\": 5, \"score\": 5}\n";
    EXPECT_THAT(refusal_of(content).what(), HasSubstr(":3: sample_id 's0' is repeated"));
    const LengthCache lengths =
        read_lengths_jsonl(directory_.write("lengths.jsonl", content), DuplicateIds::last_wins);
    EXPECT_THAT(keys_of(lengths), ElementsAre("s0", "s1", "s2"));
    EXPECT_THAT(lengths.sample_tokens(), ElementsAre(8, 128, 7));
    EXPECT_THAT(lengths.loss_tokens(), ElementsAre(5, 2, 4));
    EXPECT_THAT(lengths.sample_score(), ElementsAre(5, 2, 4));
}

TEST_F(LengthCacheTest, RepetitionsAreFoundAmongManyIds) {
    const Philox random(6, "ids");
    for (const std::uint64_t num_ids : {10U, 5000U, 300000U}) {
        LengthColumns columns;
        std::map<std::string, std::uint64_t> first;
        std::vector<std::pair<std::uint64_t, std::uint64_t>> expected;
        for (std::uint64_t i = 0; i < num_ids; ++i) {
            const std::string key = std::to_string(random.below(i, num_ids * num_ids / 8));
            columns.add_key(key);
            const auto [place, is_new] = first.emplace(key, i);
            if (!is_new) expected.emplace_back(place->second, i);
        }
        std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
        for (const RepeatedKey& key : find_repeated_keys(columns.key_begin, columns.key_bytes))
            found.emplace_back(key.first, key.index);
        EXPECT_EQ(found, expected);
        EXPECT_FALSE(num_ids > 10 && found.empty());
    }
    // All equal: nothing to part them by.
    LengthColumns columns;
    for (int i = 0; i < 20000; ++i) columns.add_key("same");
    const auto found = find_repeated_keys(columns.key_begin, columns.key_bytes);
    ASSERT_EQ(found.size(), 19999U);
    EXPECT_EQ(found.back().first, 0U);
}

TEST_F(LengthCacheTest, AMillionLinesAreReadWhole) {
    std::string content = "{\"tokenizer_hash\": \"t\", \"version\": 1}\n";
    constexpr std::uint64_t num_samples = 1'000'000;
    for (std::uint64_t i = 0; i < num_samples; ++i) {
        content += "{\"sample_id\": \"doc-" + std::to_string(i) +
                   "\", \"tokenizer_hash\": \"t\", \"length\": " + std::to_string(i % 4096) + "}\n";
    }
    const LengthCache lengths = parse(content);
    ASSERT_EQ(lengths.sample_tokens().size(), num_samples);
    EXPECT_EQ(lengths.sample_tokens().back(), (num_samples - 1) % 4096);
    EXPECT_EQ(lengths.key(num_samples - 1), "doc-999999");
}

TEST(LengthsFingerprintTest, CoversLengthsKeysAndTheirBorders) {
    const std::vector<Fingerprint> all{
        cache_of({1, 2}).lengths_fingerprint(), cache_of({1, 2}, {"ab", "c"}).lengths_fingerprint(),
        cache_of({1, 2}, {"a", "bc"}).lengths_fingerprint(), cache_of({2, 1}).lengths_fingerprint(),
        cache_of({1, 2, 0}).lengths_fingerprint()};
    for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) EXPECT_NE(all[i], all[j]) << i << " and " << j;
    }
}

TEST(LengthsFingerprintTest, IndicesAsKeysAreNoKeys) {
    EXPECT_EQ(cache_of({5, 6}).lengths_fingerprint(), cache_of({5, 6}, {"0", "1"}).lengths_fingerprint());
    EXPECT_NE(cache_of({5, 6}).lengths_fingerprint(), cache_of({5, 6}, {"1", "0"}).lengths_fingerprint());
}

TEST(LengthsFingerprintTest, NeitherHashNorLossTokensNorScoresMatter) {
    EXPECT_EQ(cache_of({5, 6}).lengths_fingerprint(),
              cache_of({5, 6}, {}, {1, 2}, {3, 4}, "t").lengths_fingerprint());
}

TEST(LengthsFingerprintTest, IsTheSameFromWideAndNarrowLengths) {
    std::vector<std::uint32_t> narrow;
    for (std::uint32_t i = 0; i < 10000; ++i) narrow.push_back(i * 429496U);
    const std::vector<std::uint64_t> wide(narrow.begin(), narrow.end());
    EXPECT_EQ(fingerprint_of_lengths(narrow, {}, {}), fingerprint_of_lengths(wide, {}, {}));
}

TEST(LengthsFingerprintTest, IsFixedForEver) {
    // Part of the plan fingerprint: a change here changes every plan.
    EXPECT_EQ(cache_of({5, 128, 0}).lengths_fingerprint().hex(),
              "9e186619989b81048effc0796727eee799ab2191bbc24c0a824caf5bdcad372d");
    EXPECT_EQ(cache_of({5, 128, 0}, {"s0", "s1", "\u00e9"}).lengths_fingerprint().hex(),
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
        EXPECT_THAT(lengths.sample_tokens(), ElementsAre(5, 0, 5));
        EXPECT_THAT(lengths.loss_tokens(), IsEmpty());
        EXPECT_EQ(lengths.tokenizer_hash(), corpus.tokenizer().fingerprint.hex());
        EXPECT_EQ(lengths.lengths_fingerprint(), corpus.lengths_fingerprint());
        for (const char* name : {"lengths.jsonl", "lengths.h5"}) {
            write_lengths(directory_ / name, lengths, Overwrite::yes);
            EXPECT_EQ(open_lengths(directory_ / name).lengths_fingerprint(), corpus.lengths_fingerprint());
        }
    }
}

TEST_F(LengthsOfCorpusTest, LossTokensLeaveOutTheFirstTokenOfASample) {
    EXPECT_THAT(lengths_of(make_corpus({}, true)).loss_tokens(), ElementsAre(0, 0, 3));
}

}  // namespace
}  // namespace lockstep
