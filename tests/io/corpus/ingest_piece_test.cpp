#include "io/corpus/ingest_piece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "io/base/digest.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class IngestPieceTest : public ::testing::Test {
  protected:
    static constexpr auto type = ColumnType::u16;

    std::filesystem::path path() const { return directory_ / "piece"; }

    /// Samples of two and one tokens, and everything else a block may have; no two values alike.
    static PieceSamples first_block() {
        PieceSamples samples;
        samples.tokens = {2, 1};
        samples.source_index = {3, 4};
        samples.source_offset = {1ULL << 40U, 5};
        samples.source_digest = {6, 7, 8, 9};
        samples.text_digest = {10, 11, 12, 13};
        samples.key_bytes = {3, 0};
        samples.keys = {'k', 'e', 'y'};
        samples.scores = {0.1, -1e300};
        samples.num_spans = {PieceSamples::no_spans, 1};
        samples.spans = {0, 14};
        samples.bad_source = {15};
        samples.bad_offset = {1ULL << 41U};
        samples.bad_bytes = {2};
        samples.bad_problems = {'n', 'o'};
        samples.counts = {1, 2, 3, 4};
        samples.pipe_source = {16};
        samples.pipe_identity = {17, 18, 19};
        return samples;
    }
    /// No sample, but a document that is none.
    static PieceSamples second_block() {
        PieceSamples samples;
        samples.bad_source = {20};
        samples.bad_offset = {21};
        samples.bad_bytes = {1};
        samples.bad_problems = {'?'};
        samples.counts = {10, 20, 30, 40};
        return samples;
    }
    void write() {
        PieceWriter writer(path(), type);
        const std::vector<std::uint16_t> ids = {7, 8, 9};
        writer.append(std::as_bytes(std::span(ids)), first_block());
        writer.append({}, second_block());
        writer.finish();
    }

    TemporaryDirectory directory_;
};

TEST_F(IngestPieceTest, ReturnsWhatWasAppended) {
    write();
    ASSERT_TRUE(PieceFile::find(path(), type));
    const PieceFile file(path(), type);
    EXPECT_EQ(file.num_tokens(), 3U);
    const PieceSamples& samples = file.samples();
    const PieceSamples first = first_block();
    EXPECT_EQ(samples.tokens, first.tokens);
    EXPECT_EQ(samples.source_index, first.source_index);
    EXPECT_EQ(samples.source_offset, first.source_offset);
    EXPECT_EQ(samples.source_digest, first.source_digest);
    EXPECT_EQ(samples.text_digest, first.text_digest);
    EXPECT_EQ(samples.key_bytes, first.key_bytes);
    EXPECT_EQ(samples.keys, first.keys);
    EXPECT_EQ(samples.scores, first.scores);
    EXPECT_EQ(samples.num_spans, first.num_spans);
    EXPECT_EQ(samples.spans, first.spans);
    EXPECT_THAT(samples.bad_source, ElementsAre(15, 20));
    EXPECT_THAT(samples.bad_offset, ElementsAre(1ULL << 41U, 21));
    EXPECT_THAT(samples.bad_bytes, ElementsAre(2, 1));
    EXPECT_THAT(samples.bad_problems, ElementsAre('n', 'o', '?'));
    EXPECT_EQ(samples.pipe_source, first.pipe_source);
    EXPECT_EQ(samples.pipe_identity, first.pipe_identity);
    EXPECT_EQ(samples.counts.empty, 11U);
    EXPECT_EQ(samples.counts.too_short, 22U);
    EXPECT_EQ(samples.counts.too_long, 33U);
    EXPECT_EQ(samples.counts.repaired, 44U);
    std::uint16_t last = 0;
    file.read(4, std::as_writable_bytes(std::span(&last, 1)));
    EXPECT_EQ(last, 9);
}

TEST_F(IngestPieceTest, DamageBeyondTheTokensMakesItUnsound) {
    write();
    const std::string whole = directory_.read("piece");
    for (std::size_t at = 3 * sizeof(std::uint16_t); at < whole.size(); ++at) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ 1);
        directory_.write("piece", damaged);
        EXPECT_FALSE(PieceFile::find(path(), type)) << "byte " << at;
    }
    for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
        directory_.write("piece", whole.substr(0, bytes));
        EXPECT_FALSE(PieceFile::find(path(), type)) << bytes << " bytes";
    }
}

TEST_F(IngestPieceTest, AnotherVersionOrTokenTypeIsDoneAgain) {
    write();
    EXPECT_FALSE(PieceFile::find(path(), ColumnType::u32));
    const std::string piece = directory_.read("piece");
    const std::size_t trailer = piece.rfind("STPIECE4");
    ASSERT_NE(trailer, std::string::npos);
    // As that version would write it: the digest at the end of the trailer is right.
    const auto with_version = [&](char version) {
        std::string other = piece;
        other[trailer + std::strlen("STPIECE")] = version;
        const std::size_t head_bytes = piece.size() - trailer - sizeof(Digest);
        const Digest self = digest_of(std::as_bytes(std::span(other)).subspan(trailer, head_bytes));
        std::memcpy(other.data() + trailer + head_bytes, &self, sizeof self);
        directory_.write("piece", other);
    };
    with_version('4');
    EXPECT_TRUE(PieceFile::find(path(), type));
    with_version('3');
    EXPECT_FALSE(PieceFile::find(path(), type));
    const Error error = error_of([&] { PieceFile(path(), type); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("ingest again"));
}

TEST_F(IngestPieceTest, ScoresOfSomeSamplesOnlyMakeItUnsound) {
    PieceWriter writer(path(), type);
    PieceSamples samples;
    samples.tokens = {2, 1};
    samples.scores = {0.5};
    const std::vector<std::uint16_t> ids = {7, 8, 9};
    writer.append(std::as_bytes(std::span(ids)), samples);
    writer.finish();
    EXPECT_FALSE(PieceFile::find(path(), type));
}

}  // namespace
}  // namespace lockstep
