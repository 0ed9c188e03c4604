#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/plan_input.h"
#include "io/base/error.h"
#include "tests/support/small_corpus.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

class PlanInputTest : public testing::Test {
  protected:
    TemporaryDirectory directory_;
};

TEST_F(PlanInputTest, CorpusColumnsAndLinesAreToldApartByContentAndGiveTheSame) {
    const auto corpus_file =
        write_small_corpus(directory_ / "corpus.odd",
                           {{small_tokens(5, 1), {}, "a"}, {{}, {}, "b"}, {small_tokens(9, 2), {}, "c"}});
    const PlanInput corpus = PlanInput::open(corpus_file, "name");
    const LengthCache cache = lengths_of(*corpus.corpus());
    write_lengths_columns(directory_ / "columns.odd", cache, Overwrite::no);
    write_lengths_jsonl(directory_ / "lines.odd", cache, Overwrite::no);
    for (const char* file : {"columns.odd", "lines.odd"}) {
        const PlanInput input = PlanInput::open(directory_ / file, "name");
        EXPECT_EQ(input.corpus(), nullptr);
        const SourceLengths lengths = input.lengths();
        EXPECT_TRUE(lengths.lengths_only);
        EXPECT_THAT(lengths.sample_tokens, ElementsAre(5, 0, 9));
        EXPECT_THAT(corpus.lengths().sample_tokens, ElementsAreArray(lengths.sample_tokens));
        EXPECT_EQ(lengths.source.lengths, corpus.lengths().source.lengths);
        EXPECT_EQ(lengths.source.tokenizer_hash, corpus.lengths().source.tokenizer_hash);
        EXPECT_TRUE(lengths.sample_score.empty());
        EXPECT_TRUE(lengths.source.scores.empty());
        EXPECT_EQ(input.key(2), "c");
    }
}

TEST_F(PlanInputTest, ScoresComeWithTheirFingerprint) {
    const auto lines = directory_.write("lengths.jsonl",
                                        "{\"sample_id\": \"a\", \"length\": 5, \"score\": 0.5}\n"
                                        "{\"sample_id\": \"b\", \"length\": 6, \"score\": 2}\n");
    write_lengths(directory_ / "lengths.h5", open_lengths(lines), Overwrite::no);
    std::filesystem::create_directory(directory_ / "corpus");
    FingerprintBuilder expected("lockstep-scores-v1");
    expected.add_array(std::span<const double>(std::vector<double>{0.5, 2}));
    const Fingerprint scores = expected.finish();
    write_small_corpus(directory_ / "corpus/lengths.h5",
                       {{small_tokens(5, 1), {}, "a", 0.5}, {small_tokens(6, 2), {}, "b", 2}});
    EXPECT_EQ(
        fingerprint_of_scores(lengths_of(Corpus::open(directory_ / "corpus/lengths.h5")).sample_score()),
        scores);
    for (const char* file : {"lengths.jsonl", "lengths.h5", "corpus/lengths.h5"}) {
        const PlanInput input = PlanInput::open(directory_ / file, "");
        EXPECT_THAT(input.lengths().sample_score, ElementsAre(0.5, 2));
        EXPECT_EQ(input.lengths().source.scores, scores);
        EXPECT_EQ(input.name(), "lengths");
    }
}

TEST_F(PlanInputTest, RepeatedIdsAreRefusedUnlessTheLastWins) {
    const auto lines =
        directory_.write("lengths.jsonl",
                         "{\"sample_id\": \"a\", \"length\": 5}\n{\"sample_id\": \"b\", \"length\": 6}\n"
                         "{\"sample_id\": \"a\", \"length\": 7}\n");
    EXPECT_THROW(PlanInput::open(lines, ""), Error);
    EXPECT_THAT(PlanInput::open(lines, "", DuplicateIds::last_wins).lengths().sample_tokens,
                ElementsAre(7, 6));
}

TEST_F(PlanInputTest, OtherFilesAreRefused) {
    EXPECT_THROW(PlanInput::open(directory_ / "absent", ""), Error);
    EXPECT_THROW(PlanInput::open(directory_.path(), ""), Error);
    EXPECT_THROW(PlanInput::open(directory_.write("zeros", std::string(1000, '\0')), ""), Error);
    EXPECT_THROW(PlanInput::open(directory_.write("empty", ""), ""), Error);
}

}  // namespace
}  // namespace lockstep
