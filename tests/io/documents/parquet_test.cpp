// Parquet against files of two independent writers (tests/data/parquet/make_parquet_fixtures.mjs).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/documents/block_parser.h"
#include "io/documents/document_reader.h"
#include "io/documents/parquet/thrift_compact.h"
#include "tests/support/error_of.h"
#include "tests/support/small_parquet.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int num_rows = 300;
const std::filesystem::path fixtures = std::filesystem::path(LOCKSTEP_TEST_DATA) / "parquet";

std::string text_of_row(int i) {
    if (i % 7 == 0) return "the same text";
    return "row " + std::to_string(i) + " – grüße " + std::string(static_cast<std::size_t>(i % 50), 'x');
}

struct Row {
    std::string text, prompt, key;
    std::uint64_t number;
};

std::vector<Row> rows_of(const std::filesystem::path& path, const DocumentOptions& options = {},
                         SourceSummary* summary = nullptr) {
    std::vector<Row> rows;
    std::uint64_t bad = 0;
    const SourceSummary read = read_documents(path, 0, options, bad, [&](const Document& d) {
        rows.push_back({std::string(d.text), std::string(d.prompt), std::string(d.key), d.source_offset});
    });
    if (summary != nullptr) *summary = read;
    return rows;
}

Error refusal_of(const std::filesystem::path& path, const DocumentOptions& options = {}) {
    return error_of([&] { rows_of(path, options); });
}

class PlainColumnTest : public testing::TestWithParam<const char*> {};

TEST_P(PlainColumnTest, GivesEveryRowWithItsKey) {
    const auto rows = rows_of(fixtures / GetParam());
    ASSERT_EQ(rows.size(), num_rows);
    for (int i = 0; i < num_rows; ++i) {
        const Row& row = rows[static_cast<std::size_t>(i)];
        EXPECT_EQ(row.text, text_of_row(i));
        EXPECT_EQ(row.key, std::to_string(1000 + i));
        EXPECT_EQ(row.number, static_cast<std::uint64_t>(i));
    }
}

TEST_P(PlainColumnTest, RowGroupsReadByThemselvesGiveTheSameRows) {
    const std::filesystem::path path = fixtures / GetParam();
    const DocumentOptions options;
    const SourceKind kind = source_kind_of(path);
    const auto spans = divide_source(path, kind, 0, options, 1);
    EXPECT_GT(spans.size(), 1U);
    std::vector<std::uint64_t> numbers;
    BlockParser parser(options);
    for (const SourceSpan& span : spans) {
        const auto blocks = open_blocks(path, kind, span, options);
        for (DocumentBlock block; blocks->next(block);) {
            parser.parse(block, "x", [&](const Document& d) { numbers.push_back(d.source_offset); });
        }
    }
    ASSERT_EQ(numbers.size(), num_rows);
    for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], i);
}

INSTANTIATE_TEST_SUITE_P(Writers, PlainColumnTest,
                         testing::Values("hyparquet-uncompressed.parquet", "hyparquet-snappy.parquet",
                                         "wasm-v1-dictionary-snappy.parquet", "wasm-v1-plain-gzip.parquet",
                                         "wasm-v2-dictionary-zstd.parquet", "wasm-v2-plain-none.parquet"));

TEST(ParquetTest, AListOfStringsIsJoinedByNewlines) {
    for (const char* name : {"wasm-v1-list-zstd.parquet", "wasm-v2-list-dictionary-snappy.parquet"}) {
        SourceSummary summary;
        const auto rows = rows_of(fixtures / name, {}, &summary);
        EXPECT_EQ(summary.empty, num_rows / 4) << name;
        ASSERT_EQ(rows.size(), num_rows - num_rows / 4) << name;
        EXPECT_EQ(rows[0].text, "part 0 of 1");
        EXPECT_EQ(rows[2].text, "part 0 of 3\npart 1 of 3\npart 2 of 3");
        EXPECT_EQ(rows[2].key, "1003");
    }
}

TEST(ParquetTest, ANullTextIsABadRow) {
    const auto path = fixtures / "wasm-v2-nulls-gzip.parquet";
    EXPECT_THAT(refusal_of(path).what(), HasSubstr("row 3: the text is null"));
    DocumentOptions options;
    options.skip_bad_max = 60;
    EXPECT_EQ(rows_of(path, options).size(), 240U);
}

/// One a row; of rows that are bad none.
std::vector<double> scores_of(const std::filesystem::path& path, const std::string& field) {
    DocumentOptions options;
    options.score_field = field;
    options.skip_bad_max = num_rows;
    std::vector<double> scores;
    std::uint64_t bad = 0;
    read_documents(path, 0, options, bad,
                   [&](const Document& document) { scores.push_back(document.score.value_or(-1e9)); });
    return scores;
}

TEST(ParquetTest, ANumberOfAnyKindIsAScore) {
    std::vector<double> exact, rounded, whole, large;
    for (int i = 0; i < num_rows; ++i) {
        exact.push_back(i / 7.0 - 20);
        rounded.push_back(static_cast<float>(i / 7.0 - 20));
        whole.push_back(i - 150);
        large.push_back(4294967295.0 - i);
    }
    for (const char* name : {"wasm-v1-numbers-snappy.parquet", "wasm-v2-numbers-none.parquet"}) {
        const auto path = fixtures / name;
        EXPECT_EQ(scores_of(path, "double"), exact) << name;
        EXPECT_EQ(scores_of(path, "float"), rounded) << name;
        EXPECT_EQ(scores_of(path, "int"), whole) << name;
        EXPECT_EQ(scores_of(path, "long"), whole) << name;
        EXPECT_EQ(scores_of(path, "unsigned"), large) << name;
    }
    EXPECT_EQ(scores_of(fixtures / "hyparquet-numbers.parquet", "double"), exact);
    EXPECT_EQ(scores_of(fixtures / "hyparquet-numbers.parquet", "float"), rounded);
}

TEST(ParquetTest, ARowWithoutAFiniteScoreIsABadRow) {
    const auto path = fixtures / "wasm-v1-numbers-snappy.parquet";
    EXPECT_EQ(scores_of(path, "some").size(), num_rows - num_rows / 5);
    EXPECT_EQ(scores_of(path, "infinite").size(), num_rows - 1);
    DocumentOptions options;
    options.score_field = "some";
    EXPECT_THAT(refusal_of(path, options).what(), HasSubstr("row 3: no score in"));
    options.score_field = "infinite";
    EXPECT_THAT(refusal_of(path, options).what(), HasSubstr("row 4: the score is not finite"));
}

TEST(ParquetTest, WhatIsNoNumberIsNoScore) {
    const auto path = fixtures / "wasm-v2-numbers-none.parquet";
    DocumentOptions options;
    options.score_field = "text";
    EXPECT_THAT(refusal_of(path, options).what(), HasSubstr("field 'text' is no number"));
    options.score_field = "list";
    EXPECT_THAT(refusal_of(path, options).what(), HasSubstr("field 'list' is a list, not a number"));
    options.score_field = "price";
    EXPECT_THAT(refusal_of(fixtures / "hyparquet-decimal.parquet", options).what(),
                HasSubstr("field 'price' holds decimals"));
    options.score_field = "absent";
    const Error error = refusal_of(path, options);
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(),
                HasSubstr("no column 'absent', which --score-field names (there are 'id', 'text'"));
    options = {};
    options.text_field = "double";
    EXPECT_THAT(refusal_of(path, options).what(), HasSubstr("'double' is neither a string nor an integer"));
}

/// One row of one column, 64 bits of ones.
SmallParquet all_ones(ThriftBytes column) {
    SmallParquet file;
    file.schema = {std::move(column)};
    file.num_rows = file.num_values = 1;
    file.page = std::string(8, '\xFF');
    return file;
}

TEST(ParquetTest, WhatTheSchemaSaysOfAnIntegerDecidesItsScore) {
    const TemporaryDirectory directory;
    const auto int64 = ThriftBytes().integer(1, 2).integer(3, 0).text(4, "text");
    const auto scores = [&](const ThriftBytes& column) {
        return scores_of(directory.write("ones.parquet", all_ones(column).bytes()), "text");
    };
    EXPECT_THAT(scores(int64), ElementsAre(-1));
    constexpr int converted_uint64 = 14;
    EXPECT_THAT(scores(ThriftBytes(int64).integer(6, converted_uint64)), ElementsAre(0x1p64));
    // Decimals by the logical type alone.
    const auto decimal = ThriftBytes(int64).structure(10, ThriftBytes().structure(5, {}));
    EXPECT_THAT(error_of([&] { scores(decimal); }).what(), HasSubstr("field 'text' holds decimals"));
}

TEST(ParquetTest, PromptAndResponseMakeOneText) {
    const auto rows = rows_of(fixtures / "wasm-v1-chat-none.parquet");
    ASSERT_EQ(rows.size(), num_rows);
    EXPECT_EQ(rows[5].prompt, text_of_row(5));
    EXPECT_EQ(rows[5].text, text_of_row(5) + "answer 5");
    EXPECT_EQ(rows[5].key, "chat-5");
}

TEST(ParquetTest, WhatIsNotReadIsNamed) {
    EXPECT_THAT(refusal_of(fixtures / "wasm-brotli.parquet").what(), HasSubstr("BROTLI"));
    DocumentOptions options;
    options.text_field = "content";
    const Error error = refusal_of(fixtures / "hyparquet-snappy.parquet", options);
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_THAT(error.what(), HasSubstr("'id', 'text'"));
}

std::string bytes_of(const char* name) {
    std::ifstream stream(fixtures / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

TEST(ParquetTest, CutAnywhereIsRefused) {
    TemporaryDirectory directory;
    const std::string whole = bytes_of("wasm-v1-dictionary-snappy.parquet");
    for (std::size_t bytes = 0; bytes < whole.size(); bytes += 1 + whole.size() / 300) {
        const Error error = refusal_of(directory.write("cut.parquet", whole.substr(0, bytes)));
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data) << bytes;
    }
}

TEST(ParquetTest, RowsWithoutBytesFillBlocksToo) {
    TemporaryDirectory directory;
    constexpr std::uint64_t rows = 200'000;
    const auto path = directory.write("empty.parquet", SmallParquet::empty_lists(rows).bytes());
    const auto blocks = open_blocks(path, source_kind_of(path), {0}, {});
    std::uint64_t found = 0;
    for (DocumentBlock block; blocks->next(block); found += block.rows.size())
        EXPECT_LE(block.rows.size(), std::size_t{1} << 16U);
    EXPECT_EQ(found, rows);
}

TEST(ParquetTest, AnEmptyListIsNoNullAlsoWhereNullsCannotBe) {
    TemporaryDirectory directory;
    SourceSummary summary;
    EXPECT_TRUE(
        rows_of(directory.write("a.parquet", SmallParquet::empty_lists(3).bytes()), {}, &summary).empty());
    EXPECT_EQ(summary.empty, 3U);
    // An optional list: level 0 is null, 1 is empty.
    SmallParquet file = SmallParquet::empty_lists(2);
    file.schema.front() = SmallParquet::group("text", 1, 1);
    file.page = SmallParquet::levels({{2, 0}}) + SmallParquet::levels({{1, 1}, {1, 0}});
    EXPECT_THAT(refusal_of(directory.write("b.parquet", file.bytes())).what(),
                HasSubstr("row 1: the text is null"));
}

TEST(ParquetTest, RunsOfNothingAreBombs) {
    TemporaryDirectory directory;
    constexpr std::uint64_t many = (std::uint64_t{1} << 31U) - 1;
    for (const SmallParquet& file : {SmallParquet::empty_lists(many), SmallParquet::null_elements(many)}) {
        const Error error = refusal_of(directory.write("bomb.parquet", file.bytes()));
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        EXPECT_THAT(error.what(), HasSubstr("decompression bomb"));
    }
    const Error error =
        refusal_of(directory.write("count.parquet", SmallParquet::null_elements(many + 1).bytes()));
    EXPECT_THAT(error.what(), HasSubstr("2^31 values or more"));
}

TEST(ParquetTest, ListsOfNothingInAFooterAreRefused) {
    TemporaryDirectory directory;
    const std::string count = ThriftBytes::varint_bytes(100);
    // A list, and maps of either, whose elements have no type and so no bytes; enough bytes follow.
    for (const auto& [type, bytes] :
         {std::pair(9U, "\xF0" + count), std::pair(11U, count + '\x01'), std::pair(11U, count + '\x10')}) {
        SmallParquet file = SmallParquet::empty_lists(1);
        file.footer_front.field(1, type, bytes + std::string(200, '\x01'));
        EXPECT_THAT(refusal_of(directory.write("footer.parquet", file.bytes())).what(),
                    HasSubstr("of no type"));
    }
}

TEST(ThriftTest, BooleansTakeAByteInListsAndMaps) {
    // A map of two from i8 to booleans, then a field.
    const std::string map = ThriftBytes::varint_bytes(2) + '1' + std::string("\x07\x01\x08\x02", 4);
    const std::string bytes = ThriftBytes().field(1, 11, map).integer(2, 77).finished();
    ThriftReader in(std::as_bytes(std::span(bytes)));
    std::int64_t found = 0;
    in.structure([&](int id, ThriftType type) {
        if (id == 2) {
            found = in.integer(type);
        } else {
            in.skip(type);
        }
    });
    EXPECT_EQ(found, 77);
    EXPECT_EQ(in.position(), bytes.size());
}

/// Never a crash, a hang or another kind of failure; the pages of this writer have no checksums, so some
/// changes are texts of their own.
TEST(ParquetTest, DamageIsAnErrorOrAnotherText) {
    TemporaryDirectory directory;
    const Philox random(7, "parquet-damage");
    std::uint64_t draw = 0;
    for (const char* name : {"hyparquet-snappy.parquet", "wasm-v2-dictionary-zstd.parquet",
                             "wasm-v2-list-dictionary-snappy.parquet"}) {
        const std::string whole = bytes_of(name);
        for (int round = 0; round < 300; ++round) {
            std::string damaged = whole;
            // The footer and the page headers are where structure is; most changes go there.
            const std::size_t from = round % 2 == 0 ? whole.size() - whole.size() / 3 : 0;
            for (int change = 0; change <= round % 3; ++change) {
                const std::size_t at = from + random.below(draw++, whole.size() - from);
                damaged[at] = static_cast<char>(random.below(draw++, 256));
            }
            try {
                rows_of(directory.write("damaged.parquet", damaged));
            } catch (const Error& error) {
                EXPECT_NE(error.code(), ErrorCode::bug) << error.what();
            }
        }
    }
}

}  // namespace
}  // namespace lockstep
