#include "io/documents/megatron.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/documents/document_reader.h"
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
    std::string failure() {
        try {
            read();
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
            return error.what();
        }
        ADD_FAILURE() << "read without complaint";
        return {};
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
        EXPECT_THAT(failure(), HasSubstr("set.idx"));
    }
    directory_.write("set.idx", index);
    const std::string tokens = directory_.read("set.bin");
    directory_.write("set.bin", tokens.substr(1));
    EXPECT_THAT(failure(), HasSubstr("token file"));
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
