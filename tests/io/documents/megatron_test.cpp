#include "io/documents/megatron.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/documents/block_parser.h"
#include "io/documents/document_reader.h"
#include "io/files/commit_hook.h"
#include "tests/support/error_of.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::HasSubstr;
using Tokens = std::vector<std::uint32_t>;

const std::vector<Tokens> documents{{1, 2, 3}, {}, {65499, 0}, {7}};

class MegatronTest : public testing::TestWithParam<std::uint64_t> {
  protected:
    void write(std::uint64_t vocabulary) {
        std::vector<std::uint64_t> lengths;
        for (const Tokens& tokens : documents) lengths.push_back(tokens.size());
        write_megatron(
            directory_ / "set", vocabulary, lengths,
            [](std::uint64_t sample, Tokens& tokens) { tokens = documents[sample]; }, Overwrite::no);
    }
    std::vector<Tokens> read() {
        std::vector<Tokens> result;
        std::uint64_t bad = 0;
        summary_ = read_documents(directory_ / "set.idx", 0, {}, bad, [&](const Document& document) {
            EXPECT_TRUE(document.has_tokens);
            result.emplace_back(document.tokens.begin(), document.tokens.end());
        });
        return result;
    }
    std::string refusal() {
        const Error error = error_of([&] { read(); });
        EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
        return error.what();
    }

    TemporaryDirectory directory_;
    SourceSummary summary_;
};

TEST_P(MegatronTest, WhatIsWrittenIsRead) {
    write(GetParam());
    EXPECT_EQ(read(), (std::vector<Tokens>{{1, 2, 3}, {65499, 0}, {7}}));
    EXPECT_EQ(summary_.empty, 1U);
}

TEST_P(MegatronTest, CutAnywhereIsRefused) {
    write(GetParam());
    const std::string index = directory_.read("set.idx");
    for (std::size_t bytes = 9; bytes < index.size(); ++bytes) {
        // One byte a sequence more or less is how multimodal files look.
        directory_.write("set.idx", index.substr(0, bytes));
        EXPECT_THAT(refusal(), HasSubstr("set.idx"));
    }
    directory_.write("set.idx", index);
    const std::string tokens = directory_.read("set.bin");
    directory_.write("set.bin", tokens.substr(1));
    EXPECT_THAT(refusal(), HasSubstr("token file"));
}

INSTANTIATE_TEST_SUITE_P(Widths, MegatronTest, testing::Values(65499, 65500),
                         [](const auto& test) { return test.param == 65499 ? "u16" : "i32"; });

TEST(MegatronFormatTest, TheBytesAreThoseOfTheFormat) {
    TemporaryDirectory directory;
    write_megatron(
        directory / "m", 300, {2},
        [](std::uint64_t, Tokens& tokens) {
            tokens = {258, 5};
        },
        Overwrite::no);
    EXPECT_EQ(directory.read("m.bin"), std::string("\x02\x01\x05\x00", 4));
    const std::string expected = std::string("MMIDIDX\0\0", 9) + std::string("\1\0\0\0\0\0\0\0", 8) + "\x08" +
                                 std::string("\1\0\0\0\0\0\0\0", 8) + std::string("\2\0\0\0\0\0\0\0", 8) +
                                 std::string("\2\0\0\0", 4) + std::string(8, '\0') + std::string(8, '\0') +
                                 std::string("\1\0\0\0\0\0\0\0", 8);
    EXPECT_EQ(directory.read("m.idx"), expected);
}

/// Tokens of every document of some spans, in order.
std::vector<Tokens> tokens_of(const std::filesystem::path& path, const std::vector<SourceSpan>& spans) {
    std::vector<Tokens> result;
    const DocumentOptions options;
    BlockParser parser(options);
    for (const SourceSpan& span : spans) {
        const auto blocks = read_megatron_blocks(path, span, options);
        for (DocumentBlock block; blocks->next(block);) {
            parser.parse(block, "x", [&](const Document& document) {
                result.emplace_back(document.tokens.begin(), document.tokens.end());
            });
        }
    }
    return result;
}

TEST(MegatronFormatTest, SpansReadTheirSliceOfTheIndex) {
    TemporaryDirectory directory;
    std::vector<std::uint64_t> lengths;
    for (std::uint64_t i = 0; i < 40; ++i) lengths.push_back(i % 5 == 2 ? 0 : 1 + i % 3);
    write_megatron(
        directory / "m", 300, lengths,
        [&](std::uint64_t i, Tokens& tokens) { tokens.assign(lengths[i], static_cast<std::uint32_t>(i)); },
        Overwrite::no);
    const auto whole = tokens_of(directory / "m.idx", {{0}});
    EXPECT_EQ(whole.size(), 32U);
    for (const std::uint64_t span_bytes : {1U, 3U, 8U, 1000U}) {
        const auto spans = divide_megatron(directory / "m.idx", 0, span_bytes);
        EXPECT_EQ(tokens_of(directory / "m.idx", spans), whole) << span_bytes;
    }
    std::vector<SourceSpan> single;
    for (std::uint64_t i = 0; i < lengths.size(); ++i) single.push_back({0, i, i + 1});
    EXPECT_EQ(tokens_of(directory / "m.idx", single), whole);

    // Damage is found by the span it lies in, and by whoever divides.
    std::string index = directory.read("m.idx");
    index[34 + 4 * 20] = '\x7F';
    directory.write("m.idx", index);
    EXPECT_THROW(divide_megatron(directory / "m.idx", 0, 8), Error);
    EXPECT_THROW(tokens_of(directory / "m.idx", {{0, 15, 25}}), Error);
    EXPECT_NO_THROW(tokens_of(directory / "m.idx", {{0, 0, 15}}));
}

TEST(MegatronFormatTest, ASourceIsItsTwoFiles) {
    TemporaryDirectory directory;
    write_megatron(
        directory / "m", 300, {3},
        [](std::uint64_t, Tokens& tokens) {
            tokens = {1, 2, 3};
        },
        Overwrite::no);
    const auto path = directory / "m.idx";
    const SourceIdentity before = identify_source(path, source_kind_of(path));
    EXPECT_EQ(before.bytes, directory.read("m.idx").size() + 6);
    std::string tokens = directory.read("m.bin");
    tokens[2] = 9;
    directory.write("m.bin", tokens);
    EXPECT_NE(identify_source(path, source_kind_of(path)).digest, before.digest);
}

TEST(MegatronFormatTest, AnIndexThatCannotAppearTakesItsTokensAlong) {
    TemporaryDirectory directory;
    const auto write = [&](Overwrite overwrite) {
        write_megatron(
            directory / "m", 300, {1}, [](std::uint64_t, Tokens& tokens) { tokens = {1}; }, overwrite);
    };
    set_commit_hook([seen = 0](std::string_view point) mutable {
        // The second file is complete, and the disk fails.
        if (point == "megatron:written" && ++seen == 2) throw Error(ErrorCode::io_failure, "no more");
    });
    {
        const CommitScope scope("megatron");
        EXPECT_THROW(write(Overwrite::no), Error);
    }
    set_commit_hook({});
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
    write(Overwrite::no);
    EXPECT_EQ(tokens_of(directory / "m.idx", {{0}}), std::vector<Tokens>{{1}});
}

TEST(MegatronFormatTest, NeverOverwritesUnlessTold) {
    TemporaryDirectory directory;
    directory.write("m.bin", "mine");
    EXPECT_THROW(
        write_megatron(
            directory / "m", 300, {1}, [](std::uint64_t, Tokens& tokens) { tokens = {1}; }, Overwrite::no),
        Error);
    EXPECT_EQ(directory.read("m.bin"), "mine");
}

}  // namespace
}  // namespace lockstep
