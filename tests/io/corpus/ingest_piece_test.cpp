#include "io/corpus/ingest_piece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "io/base/error.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class IngestPieceTest : public ::testing::Test {
  protected:
    static constexpr auto type = ColumnType::u16;

    std::filesystem::path path() const { return directory_.path() / "piece"; }

    /// Two blocks: samples of two and one tokens, and what was counted beside them.
    void write() {
        PieceWriter writer(path(), type);
        PieceSamples first;
        first.tokens = {2, 1};
        first.num_spans = {PieceSamples::no_spans, 1};
        first.spans = {0, 1};
        first.counts = {1, 2, 3, 4};
        const std::vector<std::uint16_t> ids = {7, 8, 9};
        writer.append(std::as_bytes(std::span(ids)), first);
        PieceSamples second;
        second.bad_source = {5};
        second.counts = {10, 20, 30, 40};
        writer.append({}, second);
        writer.finish();
    }

    TemporaryDirectory directory_;
};

TEST_F(IngestPieceTest, ReturnsWhatWasAppended) {
    write();
    ASSERT_TRUE(PieceFile::is_sound(path(), type));
    const PieceFile file(path(), type);
    EXPECT_EQ(file.num_tokens(), 3U);
    const PieceSamples& samples = file.samples();
    EXPECT_THAT(samples.tokens, ElementsAre(2, 1));
    EXPECT_THAT(samples.num_spans, ElementsAre(PieceSamples::no_spans, 1));
    EXPECT_THAT(samples.bad_source, ElementsAre(5));
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
    const std::string whole = read_file(path());
    for (std::size_t at = 3 * sizeof(std::uint16_t); at < whole.size(); ++at) {
        std::string damaged = whole;
        damaged[at] = static_cast<char>(damaged[at] ^ 1);
        write_file(path(), damaged);
        EXPECT_FALSE(PieceFile::is_sound(path(), type)) << "byte " << at;
    }
    for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
        write_file(path(), whole.substr(0, bytes));
        EXPECT_FALSE(PieceFile::is_sound(path(), type)) << bytes << " bytes";
    }
}

TEST_F(IngestPieceTest, AnotherVersionOrTokenTypeIsDoneAgain) {
    write();
    EXPECT_FALSE(PieceFile::is_sound(path(), ColumnType::u32));
    std::string older = read_file(path());
    const std::size_t version = older.rfind("STPIECE3");
    ASSERT_NE(version, std::string::npos);
    older[version + std::strlen("STPIECE")] = '2';
    write_file(path(), older);
    EXPECT_FALSE(PieceFile::is_sound(path(), type));
    try {
        const PieceFile file(path(), type);
        ADD_FAILURE() << "expected an Error";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        EXPECT_THAT(error.what(), HasSubstr("ingest again"));
    }
}

}  // namespace
}  // namespace lockstep
