#include "io/columns/early_column.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/io/columns/small_columns.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

const FirstColumn place{"lockstep-test", 3, "/words", ColumnType::u32};

class EarlyColumnTest : public ::testing::Test {
  protected:
    static std::span<const std::byte> bytes_of(const std::vector<std::uint32_t>& words) {
        return std::as_bytes(std::span(words));
    }

    /// Appended in pieces of this many bytes.
    EarlyColumn begin(std::span<const std::byte> bytes, std::size_t piece_bytes,
                      std::uint64_t kept_bytes = 0) const {
        EarlyColumn column(early_, place, kept_bytes);
        for (std::size_t at = 0; at < bytes.size(); at += piece_bytes)
            column.append(bytes.subspan(at, std::min(piece_bytes, bytes.size() - at)));
        return column;
    }
    static void write_rest(ColumnFileWriter& writer) {
        writer.column("/more", view(random_words(300'000, 2)));
        writer.attribute("/group", "seven", std::uint64_t{7});
    }
    std::string finish(EarlyColumn column) const {
        ColumnFileWriter writer(directory_ / "early.h5", std::move(column), Overwrite::yes);
        write_rest(writer);
        writer.publish();
        EXPECT_FALSE(std::filesystem::exists(early_));
        return directory_.read("early.h5");
    }
    /// As it is written where the length is known.
    std::string plain(const std::vector<std::uint32_t>& words) const {
        ColumnFileWriter writer(directory_ / "plain.h5", place.format, place.format_version, Overwrite::yes);
        writer.column(place.column, view(words));
        write_rest(writer);
        writer.publish();
        return directory_.read("plain.h5");
    }

    TemporaryDirectory directory_;
    std::filesystem::path early_ = directory_ / "early";
};

TEST_F(EarlyColumnTest, TheFileIsTheSameForEveryLength) {
    constexpr std::size_t block = (std::size_t{1} << 20U) / sizeof(std::uint32_t);
    for (const std::size_t words : {std::size_t{0}, std::size_t{1}, std::size_t{500}, std::size_t{511},
                                    std::size_t{512}, std::size_t{513}, std::size_t{100'000}, block - 1,
                                    block, block + 1, 5 * block, 5 * block + 12'345}) {
        const auto column = random_words(words, 1);
        EXPECT_TRUE(finish(begin(bytes_of(column), 999'999)) == plain(column)) << words;
    }
}

TEST_F(EarlyColumnTest, AndForEveryWayOfAppending) {
    const auto column = random_words(700'001, 1);
    const std::string expected = plain(column);
    for (const std::size_t piece :
         {std::size_t{1001}, std::size_t{1} << 16U, std::size_t{1} << 18U, std::size_t{3'000'000}}) {
        EXPECT_TRUE(finish(begin(bytes_of(column), piece)) == expected) << piece;
    }
}

TEST_F(EarlyColumnTest, WhatWasFlushedCanBeGoneOnWith) {
    const auto column = random_words(700'001, 1);
    const std::string expected = plain(column);
    for (const std::uint64_t kept : {4U, 1U << 16U, 1U << 20U, 2'800'000U}) {
        begin(bytes_of(column).first(2'800'000), 100'000).flush();
        EXPECT_TRUE(finish(begin(bytes_of(column), 70'000, kept)) == expected) << kept;
    }
    // A column that became short after all.
    const auto few = random_words(100, 1);
    begin(bytes_of(column), 100'000).flush();
    EXPECT_TRUE(finish(begin(bytes_of(few), 40, 200)) == plain(few));
}

TEST_F(EarlyColumnTest, AWriterThatDoesNotPublishLeavesItToTheNext) {
    const auto column = random_words(700'001, 1);
    const std::uint64_t bytes = bytes_of(column).size();
    {
        ColumnFileWriter writer(directory_ / "early.h5", begin(bytes_of(column), 50'000));
        writer.column("/another", view(random_words(400'000, 3)));
        writer.attribute("/", "left", std::string_view("behind"));
        writer.seal();
    }
    EXPECT_FALSE(std::filesystem::exists(directory_ / "early.h5"));
    EXPECT_TRUE(finish(begin(bytes_of(column), 50'000, bytes)) == plain(column));
}

TEST_F(EarlyColumnTest, FlushedBytesCanBeRead) {
    const auto column = random_words(1000, 1);
    EarlyColumn early = begin(bytes_of(column), 300);
    early.flush();
    EXPECT_EQ(early.bytes(), 4000U);
    std::uint32_t word = 0;
    early.read(4 * 567, std::as_writable_bytes(std::span(&word, 1)));
    EXPECT_EQ(word, column[567]);
    EXPECT_EQ(std::filesystem::file_size(early_), early.file_offset() + 4000);
}

}  // namespace
}  // namespace lockstep
