#include "io/corpus/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "io/base/philox.h"
#include "io/columns/column_file.h"
#include "io/corpus/length_cache.h"
#include "tests/support/error_of.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/small_corpus.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

CorpusTokenizer tokenizer_with_eos(std::uint64_t vocabulary_size = small_vocabulary) {
    CorpusTokenizer tokenizer = small_tokenizer();
    tokenizer.vocabulary_size = vocabulary_size;
    tokenizer.eos_id = 256;
    return tokenizer;
}

void write_corpus(const std::filesystem::path& path, const std::vector<SmallSample>& samples,
                  const CorpusTokenizer& tokenizer = tokenizer_with_eos()) {
    CorpusWriter writer(path, tokenizer, Overwrite::yes);
    writer.add_source({"data/a.jsonl", 1234, Digest{5, 6}});
    for (std::size_t i = 0; i < samples.size(); ++i) writer.add(record_of(samples[i], 10 * i));
    writer.count_left_out("empty", 2);
    writer.count_left_out("bad_line", 1);
    writer.count_left_out("empty", 1);
    writer.publish();
}

const std::vector<SmallSample> plain_samples{
    {{1, 2, 3}, {}, ""}, {{}, {}, ""}, {{256}, {}, ""}, {{9, 8, 7, 299, 256}, {}, ""}};
const std::vector<SmallSample> rich_samples{{{1, 2, 3, 4}, {}, "first"},
                                            {{5, 6, 7, 8, 9, 256}, {{{1, 3}, {3, 3}, {5, 6}}}, "zweite"},
                                            {{}, {}, "leer"},
                                            {{10, 256}, {std::vector<LossSpan>{}}, ""}};

std::vector<std::uint32_t> tokens_of(const Corpus& corpus, std::uint64_t sample) {
    std::vector<std::uint32_t> tokens(corpus.sample_tokens(sample));
    corpus.read_tokens(sample, 0, tokens);
    return tokens;
}

TEST(CorpusTest, GivesBackTokensAndProvenance) {
    const TemporaryDirectory directory;
    write_corpus(directory / "corpus.h5", plain_samples);
    const Corpus corpus = Corpus::open(directory / "corpus.h5");

    EXPECT_EQ(corpus.num_samples(), 4U);
    EXPECT_EQ(corpus.num_tokens(), 9U);
    EXPECT_THAT(corpus.sample_begin(), ElementsAre(0, 3, 3, 4, 9));
    for (std::size_t i = 0; i < plain_samples.size(); ++i)
        EXPECT_EQ(tokens_of(corpus, i), plain_samples[i].tokens);
    std::vector<std::uint32_t> middle(2);
    corpus.read_tokens(3, 2, middle);
    EXPECT_THAT(middle, ElementsAre(7, 299));

    EXPECT_FALSE(corpus.has_loss_spans());
    EXPECT_THAT(corpus.loss_spans(0), IsEmpty());
    EXPECT_FALSE(corpus.has_keys());
    EXPECT_EQ(corpus.key(0), "");
    EXPECT_EQ(corpus.tokenizer().description_json, R"({"kind":"bytes"})");
    EXPECT_EQ(corpus.tokenizer().fingerprint, tokenizer_with_eos().fingerprint);
    EXPECT_EQ(corpus.tokenizer().vocabulary_size, 300U);
    EXPECT_EQ(corpus.tokenizer().eos_id, std::optional<std::uint32_t>(256));
    EXPECT_EQ(corpus.tokenizer().bos_id, std::nullopt);
    EXPECT_FALSE(corpus.tokenizer().file.has_value());

    const auto provenance = corpus.provenance(3);
    EXPECT_EQ(provenance.source_index, 0U);
    EXPECT_EQ(provenance.source_offset, 30U);
    EXPECT_EQ(provenance.source_digest, record_of(plain_samples[3], 0).source_digest);
    ASSERT_EQ(corpus.sources().size(), 1U);
    EXPECT_EQ(corpus.sources()[0].name, "data/a.jsonl");
    EXPECT_EQ(corpus.sources()[0].bytes, 1234U);
    EXPECT_EQ(corpus.sources()[0].digest, (Digest{5, 6}));
    EXPECT_THAT(corpus.left_out(), ElementsAre(Pair("bad_line", 1), Pair("empty", 3)));

    const auto counts = corpus.count_tokens();
    EXPECT_EQ(counts.size(), 300U);
    EXPECT_EQ(counts[256], 2U);
    EXPECT_EQ(counts[299], 1U);
    EXPECT_EQ(counts[0], 0U);
    corpus.verify_everything();
}

TEST(CorpusTest, SpansAndKeysComeBack) {
    const TemporaryDirectory directory;
    write_corpus(directory / "corpus.h5", rich_samples);
    const Corpus corpus = Corpus::open(directory / "corpus.h5");
    ASSERT_TRUE(corpus.has_loss_spans());
    // A sample without spans is trained as a whole; a span without tokens says nothing; no spans at all is no
    // training.
    EXPECT_THAT(corpus.loss_spans(0), ElementsAre(LossSpan{0, 4}));
    EXPECT_THAT(corpus.loss_spans(1), ElementsAre(LossSpan{1, 3}, LossSpan{5, 6}));
    EXPECT_THAT(corpus.loss_spans(2), IsEmpty());
    EXPECT_THAT(corpus.loss_spans(3), IsEmpty());
    ASSERT_TRUE(corpus.has_keys());
    EXPECT_EQ(corpus.key(0), "first");
    EXPECT_EQ(corpus.key(1), "zweite");
    EXPECT_EQ(corpus.key(3), "");
}

TEST(CorpusTest, ScoresComeBackAndAreNoContent) {
    const TemporaryDirectory directory;
    std::vector<SmallSample> scored = rich_samples;
    const std::vector<double> scores{0.1, -1e300, 0, 5e-324};
    for (std::size_t i = 0; i < scored.size(); ++i) scored[i].score = scores[i];
    write_corpus(directory / "scored.h5", scored);
    write_corpus(directory / "plain.h5", rich_samples);
    const Corpus corpus = Corpus::open(directory / "scored.h5");
    const Corpus plain = Corpus::open(directory / "plain.h5");
    EXPECT_THAT(corpus.sample_score(), ElementsAreArray(scores));
    EXPECT_THAT(plain.sample_score(), IsEmpty());
    EXPECT_EQ(corpus.content_fingerprint(), plain.content_fingerprint());
    EXPECT_EQ(corpus.lengths_fingerprint(), plain.lengths_fingerprint());
}

TEST(CorpusTest, StoresTheNarrowestWidthForTheVocabulary) {
    const TemporaryDirectory directory;
    for (const auto& [vocabulary, type] : {std::pair{std::uint64_t{65536}, ColumnType::u16},
                                           std::pair{std::uint64_t{65537}, ColumnType::u32}}) {
        const auto last = static_cast<std::uint32_t>(vocabulary - 1);
        write_corpus(directory / "corpus.h5", {{{0, last}, {}, ""}}, tokenizer_with_eos(vocabulary));
        EXPECT_EQ(ColumnFile::open_any(directory / "corpus.h5").info("/tokens").type, type);
        EXPECT_THAT(tokens_of(Corpus::open(directory / "corpus.h5"), 0), ElementsAre(0, last));
    }
}

TEST(CorpusTest, HoldsSamplesWithoutAnyToken) {
    const TemporaryDirectory directory;
    write_corpus(directory / "corpus.h5", {{{}, {}, ""}, {{}, {}, ""}});
    const Corpus corpus = Corpus::open(directory / "corpus.h5");
    EXPECT_EQ(corpus.num_samples(), 2U);
    EXPECT_EQ(corpus.num_tokens(), 0U);
    EXPECT_EQ(corpus.count_tokens(), std::vector<std::uint64_t>(300));
    corpus.verify_everything();
}

TEST(CorpusTest, LargeCorporaSpoolAndComeBack) {
    const TemporaryDirectory directory;
    const Philox random(3, "corpus-test");
    std::vector<SmallSample> samples(400);
    for (std::size_t i = 0; i < samples.size(); ++i) {
        samples[i].tokens.resize(random.below(i, 6000));
        for (std::size_t t = 0; t < samples[i].tokens.size(); ++t) {
            samples[i].tokens[t] = static_cast<std::uint32_t>(random.below((i << 20U) + t, 300));
        }
    }
    write_corpus(directory / "a.h5", samples);
    write_corpus(directory / "b.h5", samples);
    EXPECT_EQ(directory.read("a.h5"), directory.read("b.h5"));
    const Corpus corpus = Corpus::open(directory / "a.h5");
    EXPECT_GT(corpus.num_tokens(), 1000000U);
    for (std::size_t i = 0; i < samples.size(); ++i) ASSERT_EQ(tokens_of(corpus, i), samples[i].tokens) << i;
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
        names.push_back(entry.path().filename().string());
    }
    EXPECT_THAT(names, ::testing::UnorderedElementsAre("a.h5", "b.h5"));
}

/// Tokens handed over in parts of this many bytes.
void write_stored(const std::filesystem::path& path, std::span<const std::byte> stored,
                  std::uint64_t vocabulary_size, std::size_t part_bytes, int threads) {
    CorpusWriter writer(path, tokenizer_with_eos(vocabulary_size), Overwrite::no);
    writer.add_source({"a.txt", 0, {}});
    StoredSample sample;
    sample.num_tokens = stored.size() / (vocabulary_size <= 65536 ? 2 : 4);
    writer.add_stored(sample);
    writer.prepare(
        [&](const CorpusWriter::TokenSink& sink) {
            for (std::size_t at = 0; at < stored.size(); at += part_bytes)
                sink(stored.subspan(at, std::min(part_bytes, stored.size() - at)));
        },
        threads);
    writer.publish_prepared();
}

TEST(CorpusTest, ThreadsAndPartsDoNotShowInTheFile) {
    const TemporaryDirectory directory;
    const Philox random(5, "corpus-test");
    for (const std::uint64_t vocabulary_size : {std::uint64_t{60'000}, std::uint64_t{70'000}}) {
        std::vector<std::uint32_t> tokens(3'300'000);
        for (std::size_t i = 0; i < tokens.size(); ++i)
            tokens[i] = static_cast<std::uint32_t>(random.below(i, vocabulary_size));
        write_corpus(directory / "spooled.h5", {{tokens, {}, ""}}, tokenizer_with_eos(vocabulary_size));
        const std::vector<std::uint16_t> narrow(tokens.begin(), tokens.end());
        const auto stored =
            vocabulary_size <= 65536 ? std::as_bytes(std::span(narrow)) : std::as_bytes(std::span(tokens));
        const std::pair<std::size_t, int> cases[] = {{stored.size(), 1}, {1'000'000, 2}, {70'004, 5}};
        for (const auto& [part_bytes, threads] : cases) {
            write_stored(directory / "c.h5", stored, vocabulary_size, part_bytes, threads);
            const Corpus corpus = Corpus::open(directory / "c.h5");
            corpus.verify_everything();
            EXPECT_EQ(corpus.content_fingerprint(),
                      Corpus::open(directory / "spooled.h5").content_fingerprint());
            if (threads == 1) std::filesystem::copy(directory / "c.h5", directory / "one.h5");
            EXPECT_TRUE(directory.read("c.h5") == directory.read("one.h5")) << threads;
            std::filesystem::remove(directory / "c.h5");
        }
        std::filesystem::remove(directory / "one.h5");
        std::filesystem::remove(directory / "spooled.h5");
    }
}

TEST(CorpusTest, AnIdBeyondTheVocabularyIsFoundInAnyRun) {
    const TemporaryDirectory directory;
    std::vector<std::uint16_t> tokens(5'000'000, 3);
    for (const std::size_t at : {std::size_t{0}, std::size_t{2'500'000}, tokens.size() - 1}) {
        tokens[at] = 300;
        const Error error = error_of(
            [&] { write_stored(directory / "c.h5", std::as_bytes(std::span(tokens)), 300, 1'000'000, 3); });
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_THAT(error.what(), HasSubstr("token id 300"));
        tokens[at] = 3;
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(CorpusTest, ContentFingerprintCoversContentAndNothingElse) {
    const TemporaryDirectory directory;
    std::set<Fingerprint> seen;
    const auto fingerprint = [&](const std::vector<SmallSample>& samples, const CorpusTokenizer& tokenizer) {
        write_corpus(directory / "corpus.h5", samples, tokenizer);
        return Corpus::open(directory / "corpus.h5").content_fingerprint();
    };
    const auto expect_new = [&](const std::vector<SmallSample>& samples,
                                const CorpusTokenizer& tokenizer = tokenizer_with_eos()) {
        EXPECT_TRUE(seen.insert(fingerprint(samples, tokenizer)).second);
    };
    const Fingerprint base = fingerprint(rich_samples, tokenizer_with_eos());
    seen.insert(base);
    auto changed = rich_samples;
    changed[0].tokens[1] = 3;
    expect_new(changed);
    changed = rich_samples;
    changed[1].spans = std::vector<LossSpan>{{1, 3}, {4, 6}};
    expect_new(changed);
    changed = rich_samples;
    changed[0].key = "First";
    expect_new(changed);
    changed = rich_samples;
    std::swap(changed[0], changed[1]);
    expect_new(changed);
    changed = rich_samples;
    changed[3].tokens.insert(changed[3].tokens.begin(), 4);
    changed[0].tokens.pop_back();
    expect_new(changed);
    changed = rich_samples;
    for (SmallSample& sample : changed) sample.spans.reset();
    expect_new(changed);
    for (SmallSample& sample : changed) sample.key.clear();
    expect_new(changed);
    CorpusTokenizer other = tokenizer_with_eos();
    other.fingerprint = FingerprintBuilder("other").finish();
    expect_new(rich_samples, other);
    expect_new(rich_samples, tokenizer_with_eos(301));

    CorpusTokenizer moved = tokenizer_with_eos();
    moved.file = TokenizerFile{"elsewhere.tiktoken", "cl100k_base", {3, 4}};
    CorpusWriter writer(directory / "moved.h5", moved, Overwrite::no);
    writer.add_source({"elsewhere", 0, {}});
    for (const SmallSample& sample : rich_samples) writer.add(record_of(sample, 7));
    writer.publish();
    const Corpus corpus = Corpus::open(directory / "moved.h5");
    EXPECT_EQ(corpus.content_fingerprint(), base);
    ASSERT_TRUE(corpus.tokenizer().file.has_value());
    EXPECT_EQ(corpus.tokenizer().file->name, "elsewhere.tiktoken");
    EXPECT_EQ(corpus.tokenizer().file->pattern, "cl100k_base");
    EXPECT_EQ(corpus.tokenizer().file->digest, (Digest{3, 4}));
}

// The golden values stand in docs/formats/corpus.md; a change here is a format change.
TEST(CorpusTest, FingerprintsAreThoseOfTheFormatPage) {
    const TemporaryDirectory directory;
    write_corpus(directory / "corpus.h5", rich_samples);
    const Corpus corpus = Corpus::open(directory / "corpus.h5");
    FingerprintBuilder tokens("lockstep-tokens-v1");
    const std::vector<std::uint16_t> stored{1, 2, 3, 4, 5, 6, 7, 8, 9, 256, 10, 256};
    tokens.add(std::uint64_t{12}).add(std::uint64_t{2}).add(sha256(std::as_bytes(std::span(stored))));
    const std::vector<std::uint64_t> sample_begin{0, 4, 10, 10, 12};
    const std::vector<std::uint64_t> span_begin{0, 1, 3, 3, 3};
    const std::vector<std::uint32_t> spans{0, 4, 1, 3, 5, 6};
    const std::vector<std::uint64_t> key_begin{0, 5, 11, 15, 15};
    const std::string key_bytes = "firstzweiteleer";
    FingerprintBuilder content("lockstep-corpus-v1");
    content.add(tokenizer_with_eos().fingerprint).add(std::uint64_t{300}).add(tokens.finish());
    content.add_array(std::span(sample_begin));
    content.add(std::uint64_t{1}).add_array(std::span(span_begin)).add_array(std::span(spans));
    content.add(std::uint64_t{1}).add_array(std::span(key_begin)).add(key_bytes);
    EXPECT_EQ(corpus.content_fingerprint(), content.finish());

    const std::vector<std::uint64_t> lengths{4, 6, 0, 2};
    EXPECT_EQ(corpus.lengths_fingerprint(), fingerprint_of_lengths(lengths, key_begin, key_bytes));
}

/// Copies a corpus column by column, as somebody with an HDF5 library could, with some of them replaced.
class CorpusForger {
  public:
    CorpusForger(const std::filesystem::path& from, const std::filesystem::path& to) : from_(from), to_(to) {}

    CorpusForger& set(const std::string& name, std::vector<double> values) {
        columns_[name] = std::move(values);
        return *this;
    }
    CorpusForger& set_attribute(const std::string& name, std::uint64_t value) {
        numbers_[name] = value;
        return *this;
    }
    CorpusForger& set_attribute(const std::string& name, const std::string& value) {
        texts_[name] = value;
        return *this;
    }
    CorpusForger& leave_out(const std::string& name) {
        absent_.insert(name);
        return *this;
    }

    /// What opening the forgery ends with.
    Error failure() {
        {
            const ColumnFile source = ColumnFile::open_any(from_);
            ColumnFileWriter writer(to_, source.format(), source.format_version(), Overwrite::yes);
            for (const auto& attribute : source.attributes()) copy_attribute(source, attribute.name, writer);
            for (const auto& info : source.columns()) copy_column(source, info, writer);
            writer.publish();
        }
        return error_of([&] { Corpus::open(to_); });
    }

  private:
    void copy_attribute(const ColumnFile& source, const std::string& name, ColumnFileWriter& writer) {
        if (name == "format" || name == "format_version" || absent_.contains(name)) return;
        if (numbers_.contains(name)) {
            writer.attribute("/", name, numbers_[name]);
        } else if (texts_.contains(name)) {
            writer.attribute("/", name, std::string_view(texts_[name]));
        } else if (name.ends_with("fingerprint") || name.starts_with("to")) {  // tokenizer, tool_version
            writer.attribute("/", name, std::string_view(source.attribute_text("/", name)));
        } else {
            writer.attribute("/", name, source.attribute_u64("/", name));
        }
    }

    template <class T>
    void copy_values(const ColumnFile& source, const ColumnFile::Info& info, ColumnFileWriter& writer) {
        std::vector<T> values;
        if (columns_.contains(info.name)) {
            for (const double value : columns_[info.name]) values.push_back(static_cast<T>(value));
        } else {
            const auto column = source.column<T>(info.name);
            values.assign(column.begin(), column.end());
        }
        writer.column<T>(info.name, values, info.width);
    }

    void copy_column(const ColumnFile& source, const ColumnFile::Info& info, ColumnFileWriter& writer) {
        if (absent_.contains(info.name)) return;
        switch (info.type) {
            case ColumnType::u8:
                return copy_values<std::uint8_t>(source, info, writer);
            case ColumnType::u16:
                return copy_values<std::uint16_t>(source, info, writer);
            case ColumnType::u32:
                return copy_values<std::uint32_t>(source, info, writer);
            case ColumnType::f64:
                return copy_values<double>(source, info, writer);
            default:
                return copy_values<std::uint64_t>(source, info, writer);
        }
    }

    std::filesystem::path from_, to_;
    std::map<std::string, std::vector<double>> columns_;
    std::map<std::string, std::uint64_t> numbers_;
    std::map<std::string, std::string> texts_;
    std::set<std::string> absent_;
};

class CorpusCrossCheckTest : public testing::Test {
  protected:
    CorpusCrossCheckTest() { write_corpus(directory_ / "sound.h5", rich_samples); }

    CorpusForger forge() const { return {directory_ / "sound.h5", directory_ / "forged.h5"}; }

    static void expect_corrupt(const Error& error, const std::string& noun) {
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << error.what();
        EXPECT_THAT(error.what(), HasSubstr(noun));
        EXPECT_THAT(error.what(), HasSubstr("forged.h5"));
    }

    TemporaryDirectory directory_;
};

// Every digest of these files is right; what they say is not.

TEST_F(CorpusCrossCheckTest, Offsets) {
    expect_corrupt(forge().set("/sample_begin", {1, 4, 10, 10, 12}).failure(),
                   "first value of '/sample_begin' is 1");
    expect_corrupt(forge().set("/sample_begin", {0, 4, 10, 10, 11}).failure(),
                   "last value of '/sample_begin' is 11, expected 12");
    expect_corrupt(forge().set("/sample_begin", {0, 10, 4, 10, 12}).failure(),
                   "'/sample_begin' falls after row 1");
    expect_corrupt(forge().set("/sample_begin", {0, 4, 12}).failure(),
                   "number of rows of '/sample_begin' is 3, expected 5");
    expect_corrupt(forge().set("/sample_begin", {0, 4, 10, 11, 12}).failure(), "lengths have fingerprint");
    expect_corrupt(forge().set("/key_begin", {0, 5, 11, 15, 99}).failure(), "'/key_begin'");
    expect_corrupt(forge().set("/loss_span_begin", {0, 1, 3, 3, 4}).failure(), "'/loss_span_begin'");
    expect_corrupt(forge().set("/source_file/name_begin", {0, 13}).failure(), "'/source_file/name_begin'");
}

TEST_F(CorpusCrossCheckTest, Spans) {
    expect_corrupt(forge().set("/loss_spans", {0, 5, 1, 3, 5, 6}).failure(), "loss span [0, 5) of sample 0");
    expect_corrupt(forge().set("/loss_spans", {0, 4, 1, 3, 2, 6}).failure(), "loss span [2, 6) of sample 1");
    expect_corrupt(forge().set("/loss_spans", {0, 4, 3, 3, 5, 6}).failure(), "loss span [3, 3) of sample 1");
    expect_corrupt(forge().set("/loss_spans", {0, 4, 1, 3, 4, 6}).failure(), "content has fingerprint");
}

TEST_F(CorpusCrossCheckTest, Vocabulary) {
    expect_corrupt(forge().set_attribute("max_token_id", 300).failure(), "greatest token id is 300");
    expect_corrupt(forge().set_attribute("max_token_id", 257).failure(),
                   "greatest token id is 256, expected 257");
    expect_corrupt(forge().set_attribute("eos_id", 300).failure(), "eos_id is 300");
    expect_corrupt(forge().set_attribute("vocabulary_size", 0).failure(), "vocabulary size is 0");
    expect_corrupt(forge().set_attribute("vocabulary_size", 100000).failure(), "width");
    expect_corrupt(forge().set("/tokens", {1, 2, 3, 4, 5, 6, 7, 8, 9, 256, 10, 400}).failure(),
                   "greatest token id is 400");
}

TEST_F(CorpusCrossCheckTest, CountsAndProvenance) {
    expect_corrupt(forge().set_attribute("num_samples", 0).failure(), "no sample");
    expect_corrupt(forge().set_attribute("num_samples", 3).failure(), "expected 4");
    expect_corrupt(forge().set_attribute("num_tokens", 11).failure(), "rows of '/tokens' is 12, expected 11");
    expect_corrupt(forge().set("/source_index", {0, 0, 1, 0}).failure(), "sample 2 comes from source 1 of 1");
    expect_corrupt(forge().set("/source_offset", {0, 0, 1}).failure(),
                   "rows of '/source_offset' is 3, expected 4");
}

TEST_F(CorpusCrossCheckTest, Scores) {
    std::vector<SmallSample> scored = rich_samples;
    for (SmallSample& sample : scored) sample.score = 1;
    write_corpus(directory_ / "sound.h5", scored);
    expect_corrupt(forge().set("/sample_score", {1, 2, 3}).failure(),
                   "rows of '/sample_score' is 3, expected 4");
    const double infinity = std::numeric_limits<double>::infinity();
    expect_corrupt(forge().set("/sample_score", {1, 2, infinity, 3}).failure(),
                   "score of sample 2 is not finite");
}

TEST_F(CorpusCrossCheckTest, Fingerprints) {
    const std::string other = FingerprintBuilder("other").finish().hex();
    expect_corrupt(forge().set_attribute("content_fingerprint", other).failure(), "expected " + other);
    expect_corrupt(forge().set_attribute("lengths_fingerprint", other).failure(), "expected " + other);
    expect_corrupt(forge().set_attribute("tokenizer_fingerprint", other).failure(),
                   "content has fingerprint");
    expect_corrupt(forge().set_attribute("tokenizer_fingerprint", "short").failure(),
                   "tokenizer_fingerprint");
    expect_corrupt(forge().set("/tokens", {1, 2, 3, 4, 5, 6, 7, 8, 9, 256, 11, 256}).failure(),
                   "content has fingerprint");
}

TEST_F(CorpusCrossCheckTest, MissingParts) {
    expect_corrupt(forge().leave_out("/tokens").failure(), "no column '/tokens'");
    expect_corrupt(forge().leave_out("/source_digest").failure(), "no column '/source_digest'");
    expect_corrupt(forge().leave_out("/loss_span_begin").failure(), "no column '/loss_span_begin'");
    expect_corrupt(forge().leave_out("/loss_spans").leave_out("/loss_span_begin").failure(),
                   "content has fingerprint");
    expect_corrupt(forge().leave_out("/key_bytes").failure(), "no column '/key_bytes'");
    expect_corrupt(forge().leave_out("tokenizer").failure(), "'tokenizer'");
    expect_corrupt(forge().leave_out("max_token_id").failure(), "'max_token_id'");
}

TEST_F(CorpusCrossCheckTest, NewerFormatIsRefusedByNumber) {
    {
        ColumnFileWriter writer(directory_ / "newer.h5", "lockstep-corpus", 2);
        writer.publish();
    }
    const Error error = error_of([&] { Corpus::open(directory_ / "newer.h5"); });
    EXPECT_EQ(error.code(), ErrorCode::incompatible_version);
    EXPECT_THAT(error.what(), HasSubstr("version 2"));
}

class CorpusWriterTest : public testing::Test {
  protected:
    CorpusWriterTest() { writer_.add_source({"a.txt", 0, {}}); }

    Error refusal_of(const SmallSample& sample) {
        return error_of([&] { writer_.add(record_of(sample, 0)); });
    }
    void expect_refused(const SmallSample& sample, const std::string& noun) {
        const Error error = refusal_of(sample);
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_THAT(error.what(), HasSubstr(noun));
    }

    TemporaryDirectory directory_;
    CorpusWriter writer_{directory_ / "corpus.h5", tokenizer_with_eos(), Overwrite::no};
};

TEST_F(CorpusWriterTest, NamesATokenBeyondTheVocabulary) {
    writer_.add(record_of({{1, 2}, {}, ""}, 0));
    expect_refused({{1, 300}, {}, ""}, "sample 1: token id 300 at position 1");
}

TEST_F(CorpusWriterTest, NamesABadSpan) {
    expect_refused({{1, 2, 3}, {{{0, 4}}}, ""}, "loss span [0, 4)");
    expect_refused({{1, 2, 3}, {{{2, 1}}}, ""}, "loss span [2, 1)");
    expect_refused({{1, 2, 3}, {{{0, 2}, {1, 3}}}, ""}, "loss span [1, 3)");
}

TEST_F(CorpusWriterTest, RefusesAScoreOfSomeSamplesOnly) {
    expect_refused({{1}, {}, "", std::numeric_limits<double>::quiet_NaN()}, "not finite");
    writer_.add(record_of({{1}, {}, "", 0.5}, 0));
    expect_refused({{2}, {}, ""}, "sample 1: no score");
    CorpusWriter plain(directory_ / "plain.h5", tokenizer_with_eos(), Overwrite::no);
    plain.add_source({"a.txt", 0, {}});
    plain.add(record_of({{1}, {}, ""}, 0));
    const Error error = error_of([&] { plain.add(record_of({{2}, {}, "", 0.5}, 0)); });
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("sample 1: a score"));
}

TEST_F(CorpusWriterTest, RefusesAnUnknownSource) {
    const std::vector<std::uint32_t> tokens{1};
    SampleRecord record;
    record.tokens = tokens;
    record.source_index = 1;
    EXPECT_EQ(error_of([&] { writer_.add(record); }).code(), ErrorCode::invalid_argument);
}

TEST_F(CorpusWriterTest, ARefusedSampleLeavesNoTrace) {
    writer_.add(record_of({{1, 2}, {}, ""}, 0));
    expect_refused({{3, 300}, {{{0, 1}}}, "k"}, "sample 1");
    writer_.add(record_of({{4}, {}, ""}, 10));
    writer_.publish();
    const Corpus corpus = Corpus::open(directory_ / "corpus.h5");
    EXPECT_THAT(corpus.sample_begin(), ElementsAre(0, 2, 3));
    EXPECT_FALSE(corpus.has_loss_spans());
    EXPECT_FALSE(corpus.has_keys());
}

TEST_F(CorpusWriterTest, AnEmptyCorpusIsRefused) {
    EXPECT_EQ(error_of([&] { writer_.publish(); }).code(), ErrorCode::invalid_argument);
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(CorpusWriterTest, SourcesMayBecomeKnownLater) {
    writer_.set_source(0, {"a.txt", 77, Digest{1, 2}});
    writer_.add(record_of({{1}, {}, ""}, 0));
    writer_.publish();
    EXPECT_EQ(Corpus::open(directory_ / "corpus.h5").sources()[0].bytes, 77U);
}

TEST_F(CorpusWriterTest, RefusesAVocabularyItCannotStore) {
    CorpusTokenizer tokenizer = tokenizer_with_eos(0);
    EXPECT_EQ(error_of([&] { CorpusWriter(directory_ / "b.h5", tokenizer, Overwrite::no); }).code(),
              ErrorCode::invalid_argument);
    tokenizer = tokenizer_with_eos(256);  // EOS is 256.
    EXPECT_EQ(error_of([&] { CorpusWriter(directory_ / "b.h5", tokenizer, Overwrite::no); }).code(),
              ErrorCode::invalid_argument);
}

TEST_F(CorpusWriterTest, NeverOverwritesUnlessTold) {
    directory_.write("b.h5", "precious");
    EXPECT_EQ(
        error_of([&] { CorpusWriter(directory_ / "b.h5", tokenizer_with_eos(), Overwrite::no); }).code(),
        ErrorCode::output_exists);
    EXPECT_EQ(directory_.read("b.h5"), "precious");
}

TEST_F(CorpusWriterTest, AFullDiskIsReportedAndLeavesNothing) {
    // Too small for the spool; then enough for the spool of 3 MB and too small for the corpus.
    for (const std::uint64_t file_bytes_max : {1000000U, 3000100U}) {
        const SmallSample sample{std::vector<std::uint32_t>(1500000, 3), {}, ""};
        const Error error = error_of([&] {
            const FileSizeLimit limit(file_bytes_max);
            write_corpus(directory_ / "b.h5", {sample});
        });
        EXPECT_EQ(error.code(), ErrorCode::io_failure);
        EXPECT_THAT(error.what(), HasSubstr("too large"));
        EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
    }
}

}  // namespace
}  // namespace lockstep
