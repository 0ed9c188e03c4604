#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>

#include "io/columns/column_file.h"
#include "tests/io/columns/small_columns.h"
#include "tests/support/error_of.h"
#include "tests/support/failing_calls.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/forwarding_files.h"
#include "tests/support/sanitizers.h"
#include "tests/support/temporary_directory.h"

#ifdef LOCKSTEP_ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>
extern "C" int H5garbage_collect();  // Of hdf5.h, which only io/ has.
#endif

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ColumnFileWriterTest, NothingAppearsWithoutPublish) {
    const TemporaryDirectory directory;
    {
        ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1);
        writer.column("/large", view(random_words(large_words, 0)));
        EXPECT_FALSE(std::filesystem::exists(directory / "a.h5"));
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(ColumnFileWriterTest, FinishedWithoutSyncItIsTheSameFile) {
    const TemporaryDirectory directory;
    const auto write = [&](const char* name, auto end) {
        ColumnFileWriter writer(directory / name, "lockstep-test", 1);
        writer.column("/large", view(random_words(large_words, 0)));
        return end(writer);
    };
    const auto published = write("a.h5", [](ColumnFileWriter& writer) { return writer.publish(); });
    const auto finished = write("b.h5", [](ColumnFileWriter& writer) { return writer.finish(); });
    EXPECT_EQ(published.digest_hex, finished.digest_hex);
    EXPECT_EQ(directory.read("a.h5"), directory.read("b.h5"));
    EXPECT_FALSE(std::filesystem::exists(directory / "b.h5.tmp"));
}

TEST(ColumnFileWriterTest, OverwritesOnlyWhenTold) {
    const TemporaryDirectory directory;
    directory.write("a.h5", "precious");
    const Error refused = error_of([&] { write_small_file(directory / "a.h5"); });
    EXPECT_EQ(refused.code(), ErrorCode::output_exists);
    EXPECT_THAT(refused.what(), HasSubstr("--force"));
    EXPECT_EQ(directory.read("a.h5"), "precious");

    // Somebody else was faster.
    ColumnFileWriter slow(directory / "b.h5", "lockstep-test", 1);
    directory.write("b.h5", "precious");
    EXPECT_EQ(error_of([&] { slow.publish(); }).code(), ErrorCode::output_exists);
    EXPECT_EQ(directory.read("b.h5"), "precious");

    ColumnFileWriter allowed(directory / "a.h5", "lockstep-test", 1, Overwrite::yes);
    allowed.publish();
    EXPECT_THAT(ColumnFile::open_any(directory / "a.h5").columns(), IsEmpty());
}

TEST(ColumnFileWriterTest, RefusesToPublishAnIncompleteColumn) {
    const TemporaryDirectory directory;
    {
        ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1);
        writer.begin_column("/large", ColumnType::u32, 10);
        writer.append("/large", view(random_words(9, 0)));
        EXPECT_EQ(error_of([&] { writer.publish(); }).code(), ErrorCode::bug);
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(ColumnFileWriterTest, IsPublishedOnce) {
    const TemporaryDirectory directory;
    ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1, Overwrite::yes);
    writer.publish();
    const std::string before = directory.read("a.h5");
    const Error error = error_of([&] { writer.publish(); });
    EXPECT_EQ(error.code(), ErrorCode::bug);
    EXPECT_THAT(error.what(), HasSubstr("it was published before"));
    EXPECT_EQ(directory.read("a.h5"), before);
}

/// A disk that keeps one text as another, and says that all is well.
class LyingFiles : public ForwardingFiles {
  public:
    LyingFiles(std::string_view given, std::string_view kept) : given_(given), kept_(kept) {}
    ssize_t write_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset) override {
        std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        if (const std::size_t at = text.find(given_); at != std::string::npos) {
            text.replace(at, given_.size(), kept_);
        }
        return ForwardingFiles::write_at(descriptor, std::as_bytes(std::span(text)), offset);
    }

  private:
    std::string given_, kept_;
};

TEST(ColumnFileWriterTest, WhatTheDiskDoesNotKeepIsNotPublished) {
    const TemporaryDirectory directory;
    const auto words = random_words(large_words, 0);
    const auto lost = [&](const std::string& given, const std::string& kept, const auto& write) {
#ifdef LOCKSTEP_ADDRESS_SANITIZER
        // HDF5 forgets the header of an object whose bytes come back otherwise than it wrote them; be it in
        // new memory, not in some that it kept from before.
        H5garbage_collect();
        const __lsan::ScopedDisabler theirs;
#endif
        const LyingFiles lying(given, kept);
        const Error error = error_of([&] { write(directory / "a.h5"); });
        EXPECT_EQ(error.code(), ErrorCode::io_failure) << error.what();
        EXPECT_FALSE(std::filesystem::exists(directory / "a.h5"));
        EXPECT_FALSE(std::filesystem::exists(directory / "a.h5.tmp"));
        return std::string(error.what());
    };
    std::string word(reinterpret_cast<const char*>(words.data() + 300000), 16);
    const std::string given = word;
    word[3] = static_cast<char>(word[3] ^ 1);
    EXPECT_THAT(lost(given, word, write_large_file),
                HasSubstr("reads back different from what was written (column '/large')"));
    EXPECT_THAT(lost("9c41", "9c42", write_small_file), HasSubstr("(its list of columns and attributes)"));
}

#if defined(LOCKSTEP_CONTRACTS)
TEST(ColumnFileWriterTest, AWrongCallIsABugAndChangesNothing) {
    const TemporaryDirectory directory;
    ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1);
    const std::array<std::uint32_t, 3> words{1, 2, 3};
    const std::span<const std::uint32_t> three(words);
    writer.begin_column("/words", ColumnType::u32, 3);
    const auto refused = [](const char* condition, auto call) {
        const Error error = error_of(call);
        EXPECT_EQ(error.code(), ErrorCode::bug);
        EXPECT_THAT(error.what(), HasSubstr(condition));
    };
    refused("is_column_name", [&] { writer.begin_column("words", ColumnType::u32, 3); });
    refused("is_column_name", [&] { writer.begin_column("/w_block_digest", ColumnType::u32, 3); });
    refused("width >= 1", [&] { writer.begin_column("/wide", ColumnType::u32, 3, 0); });
    refused("contains(column_name)", [&] { writer.begin_column("/words", ColumnType::u32, 3); });
    refused("open_columns.end()", [&] { writer.append("/other", three); });
    refused("shape().type", [&] { writer.append("/words", std::span<const float>(std::array{1.0F})); });
    refused("bytes_missing",
            [&] { writer.append("/words", std::span<const std::uint32_t>(std::array<std::uint32_t, 4>{})); });
    refused("row_bytes", [&] { writer.column("/pairs", three, 2); });
    refused("group.front()", [&] { writer.attribute("cursor", "step", std::uint64_t{1}); });
    refused("group.empty()", [&] { writer.attribute("", "step", std::uint64_t{1}); });
    refused("name.empty()", [&] { writer.attribute("/", "", std::uint64_t{1}); });
    writer.append("/words", three);
    writer.publish();
    const ColumnFile file = ColumnFile::open_any(directory / "a.h5");
    EXPECT_EQ(file.columns().size(), 1U);
    EXPECT_THAT(file.column<std::uint32_t>("/words"), ElementsAre(1, 2, 3));
    refused("row_end <= column.place.rows", [&] { file.column_range<std::uint32_t>("/words", 2, 4); });
    refused("row_begin <= row_end", [&] { file.column_range<std::uint32_t>("/words", 2, 1); });
}
#endif

TEST(ColumnFileWriterTest, NamesAMissingFolder) {
    const TemporaryDirectory directory;
    const Error error = error_of([&] { write_small_file(directory / "absent" / "a.h5"); });
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_THAT(error.what(), HasSubstr("absent/a.h5"));
}

TEST(ColumnFileWriterTest, AFailedWriteAtAnyPlaceIsReportedAndLeavesNothing) {
    const TemporaryDirectory directory;
    write_large_file(directory / "sound.h5");
    const std::uint64_t file_bytes = std::filesystem::file_size(directory / "sound.h5");
    // From the first byte to the last but one: user block, structure, columns, digests, tail.
    for (const std::uint64_t limit :
         {std::uint64_t{0}, std::uint64_t{100}, std::uint64_t{512}, std::uint64_t{1000}, std::uint64_t{5000},
          file_bytes / 3, file_bytes / 2, file_bytes - 5000, file_bytes - 600, file_bytes - 100,
          file_bytes - 1}) {
        const FileSizeLimit guard(limit);
        const Error error = error_of([&] { write_large_file(directory / "a.h5"); });
        EXPECT_EQ(error.code(), ErrorCode::io_failure) << limit << error.what();
        EXPECT_THAT(error.what(), HasSubstr("a.h5"));
        EXPECT_THAT(error.what(), HasSubstr("too large")) << limit;
        EXPECT_FALSE(std::filesystem::exists(directory / "a.h5")) << limit;
        EXPECT_FALSE(std::filesystem::exists(directory / "a.h5.tmp")) << limit;
    }
    // HDF5 let go of all of those: at exit it closes what it still holds, and crashes if that fails. The
    // library is still usable, and a file of the same name is whole.
    write_large_file(directory / "a.h5");
    EXPECT_EQ(directory.read("a.h5"), directory.read("sound.h5"));
}

TEST(ColumnFileWriterTest, AFullDiskIsReported) {
    const TemporaryDirectory directory;
    {
        const FailingCalls full(FileCall::write_at, ENOSPC);
        const Error error = error_of([&] { write_large_file(directory / "a.h5"); });
        EXPECT_EQ(error.code(), ErrorCode::io_failure);
        EXPECT_THAT(error.what(), HasSubstr("No space left on device"));
        EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
    }
    write_small_file(directory / "a.h5");
    EXPECT_EQ(open_small_file(directory / "a.h5").columns().size(), 5U);
}

TEST(ColumnFileWriterTest, AnExistingFileSurvivesAFailedReplacement) {
    const TemporaryDirectory directory;
    write_small_file(directory / "a.h5");
    const std::string before = directory.read("a.h5");
    {
        const FileSizeLimit guard(1U << 20U);
        ColumnFileWriter writer(directory / "a.h5", "lockstep-test", 1, Overwrite::yes);
        EXPECT_EQ(error_of([&] { writer.column("/large", view(random_words(large_words, 0))); }).code(),
                  ErrorCode::io_failure);
#if defined(LOCKSTEP_CONTRACTS)
        EXPECT_THAT(error_of([&] { writer.attribute("/", "late", std::uint64_t{1}); }).what(),
                    HasSubstr("sound"));
#endif
        EXPECT_EQ(error_of([&] { writer.publish(); }).code(), ErrorCode::bug);
    }
    EXPECT_EQ(directory.read("a.h5"), before);
}

}  // namespace
}  // namespace lockstep
