// However a source is divided, every document is read once, and the same.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "io/base/error.h"
#include "io/base/philox.h"
#include "io/documents/block_parser.h"
#include "io/documents/document_reader.h"
#include "io/documents/reread.h"
#include "io/documents/text_blocks.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using Piece = std::tuple<std::string, std::uint64_t>;

/// Lines, blank lines, separators and line ends of both kinds, at random.
std::string made_up_text(std::uint64_t seed, bool json) {
    const Philox random(seed, "spans-text");
    std::string text = seed % 3 == 0 ? "\xEF\xBB\xBF" : "";
    const std::uint64_t lines = random.below(0, 40);
    for (std::uint64_t i = 1; i <= lines; ++i) {
        const char* const end = random.below(3 * i, 4) == 0 ? "\r\n" : "\n";
        const std::string word(random.below(3 * i + 1, 9), static_cast<char>('a' + i % 26));
        switch (random.below(3 * i + 2, 5)) {
            case 0:
                text += end;
                break;
            case 1:
                text += json ? "  " : " \t";
                text += end;
                break;
            case 2:
                text += json ? "" : "%";
                text += end;
                break;
            default:
                text += json ? "{\"text\": \"" + word + "\"}" : word;
                text += end;
        }
    }
    if (seed % 2 == 0 && text.ends_with('\n')) text.pop_back();
    return text;
}

struct ReadResult {
    std::vector<Piece> documents;
    std::uint64_t empty = 0;
};

void read_span(const std::filesystem::path& path, const SourceSpan& span, const TextBlocksOptions& options,
               ReadResult& into) {
    auto stream = open_stream(path, Compression::none, first_byte_of_stream(span, options), 500);
    const auto blocks = read_text_blocks(path, std::move(stream), span, options);
    BlockParser parser(options.document);
    DocumentBlock block;
    while (blocks->next(block)) {
        const BlockCounts counts = parser.parse(block, "x", [&](const Document& document) {
            into.documents.emplace_back(std::string(document.text), document.source_offset);
        });
        into.empty += counts.empty;
        EXPECT_TRUE(counts.bad.empty());
    }
}

class SpansTest : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(SpansTest, EveryDivisionGivesTheSameDocuments) {
    const auto [name, rule] = GetParam();
    TemporaryDirectory directory;
    TextBlocksOptions options;
    parse_document_rule(rule, options.document);
    options.content = std::string_view(name) == "jsonl" ? SourceContent::json_lines : SourceContent::text;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        const std::string text = made_up_text(seed, options.content == SourceContent::json_lines);
        const auto path = directory.write("input", text);
        options.block_bytes = std::size_t{1} << 20U;
        ReadResult whole;
        read_span(path, {0}, options, whole);
        for (const std::uint64_t span_bytes : {1U, 2U, 3U, 7U, 19U}) {
            options.block_bytes = 1 + seed % 13;
            ReadResult parts;
            for (std::uint64_t begin = 0; begin == 0 || begin < text.size(); begin += span_bytes) {
                const bool last = begin + span_bytes >= text.size();
                read_span(path, {0, begin, last ? ~std::uint64_t{0} : begin + span_bytes}, options, parts);
            }
            ASSERT_EQ(parts.documents, whole.documents) << "seed " << seed << ", spans of " << span_bytes;
            ASSERT_EQ(parts.empty, whole.empty) << "seed " << seed << ", spans of " << span_bytes;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Rules, SpansTest,
                         testing::Values(std::tuple{"jsonl", "line"}, std::tuple{"lines", "line"},
                                         std::tuple{"blank", "blank"},
                                         std::tuple{"separator", "separator:%"}),
                         [](const auto& test) { return std::string(std::get<0>(test.param)); });

TEST(TextBlocksTest, ANulByteIsNamedByItsLine) {
    TemporaryDirectory directory;
    const auto path = directory.write("input", std::string("one\ntwo\0two\n", 12));
    auto stream = open_stream(path, Compression::none, 0, 500);
    TextBlocksOptions options;
    const auto blocks = read_text_blocks(path, std::move(stream), {0}, options);
    DocumentBlock block;
    ASSERT_TRUE(blocks->next(block));
    const BlockCounts counts = BlockParser(options.document).parse(block, "input", [](const Document&) {});
    ASSERT_EQ(counts.bad.size(), 1U);
    EXPECT_EQ(counts.bad[0].offset, 7U);
    EXPECT_THAT(counts.bad[0].problem, testing::HasSubstr("NUL"));
}

TEST(TextBlocksTest, ALineBeyondTheLimitIsRefusedWhereverItStands) {
    TemporaryDirectory directory;
    TextBlocksOptions options;
    options.content = SourceContent::json_lines;
    options.document.document_bytes_max = 1000;
    for (const std::size_t before : {0U, 10U, 100'000U}) {
        std::string text;
        for (std::size_t i = 0; i < before; ++i) text += "{\"text\": \"x\"}\n";
        text += "{\"text\": \"" + std::string(200'000, 'y') + "\"}\n";
        const auto path = directory.write("input", text);
        for (const std::size_t block_bytes : {std::size_t{1000}, std::size_t{4} << 20U}) {
            options.block_bytes = block_bytes;
            ReadResult result;
            try {
                read_span(path, {0}, options, result);
                ADD_FAILURE();
            } catch (const Error& error) {
                EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
                EXPECT_THAT(error.what(), testing::HasSubstr("--document-bytes-max"));
                EXPECT_THAT(error.what(), testing::HasSubstr("at byte " + std::to_string(14 * before) + " "));
            }
        }
    }
}

TEST(RereadTest, AByteOrderMarkInsideAFileIsTextOfItsDocument) {
    TemporaryDirectory directory;
    const std::string mark = "\xEF\xBB\xBF";
    const auto path = directory.write("joined.txt", mark + "one\n" + mark + "two\nthree\n");
    DocumentOptions options;
    parse_document_rule("line", options);
    std::vector<Piece> all, again;
    const auto into = [](std::vector<Piece>& pieces) {
        return [&pieces](const Document& document) {
            pieces.emplace_back(std::string(document.text), document.source_offset);
        };
    };
    std::uint64_t bad = 0;
    read_documents(path, 0, options, bad, into(all));
    EXPECT_EQ(all, (std::vector<Piece>{{"one", 3}, {mark + "two", 7}, {"three", 14}}));
    std::vector<std::uint64_t> offsets;
    for (const auto& [text, offset] : all) offsets.push_back(offset);
    reread_documents(path, options, offsets, 0, into(again));
    EXPECT_EQ(again, all);
}

}  // namespace
}  // namespace lockstep
