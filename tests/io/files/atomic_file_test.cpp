#include "io/files/atomic_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <thread>

#include "io/files/commit_hook.h"
#include "io/files/posix_file.h"
#include "tests/support/error_of.h"
#include "tests/support/file_size_limit.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(WriteFileAtomicallyTest, WritesTheBytesAndLeavesNoTemporary) {
    const TemporaryDirectory directory;
    const std::string bytes("line\n\0\xff", 7);
    write_file_atomically(directory / "a", bytes, Overwrite::no);
    EXPECT_EQ(read_file(directory / "a"), bytes);
    EXPECT_FALSE(std::filesystem::exists(temporary_path(directory / "a")));
    write_file_atomically(directory / "empty", "", Overwrite::no);
    EXPECT_EQ(read_file(directory / "empty"), "");
}

TEST(WriteFileAtomicallyTest, ReplacesOnlyWhenTold) {
    const TemporaryDirectory directory;
    directory.write("a", "old");
    const Error error = error_of([&] { write_file_atomically(directory / "a", "new", Overwrite::no); });
    EXPECT_EQ(error.code(), ErrorCode::output_exists);
    EXPECT_THAT(error.what(), HasSubstr("--force"));
    EXPECT_EQ(directory.read("a"), "old");
    write_file_atomically(directory / "a", "new", Overwrite::yes);
    EXPECT_EQ(directory.read("a"), "new");
}

TEST(WriteFileAtomicallyTest, AReplacedStaleTemporaryIsNoTrouble) {
    const TemporaryDirectory directory;
    directory.write("a.tmp", "left behind by a killed process, and longer");
    write_file_atomically(directory / "a", "new", Overwrite::no);
    EXPECT_EQ(directory.read("a"), "new");
}

TEST(WriteFileAtomicallyTest, ADanglingLinkExistsToo) {
    const TemporaryDirectory directory;
    std::filesystem::create_symlink("nowhere", directory / "a");
    EXPECT_EQ(error_of([&] { write_file_atomically(directory / "a", "new", Overwrite::no); }).code(),
              ErrorCode::output_exists);
}

TEST(WriteFileAtomicallyTest, AFailedWriteLeavesEverythingAsBefore) {
    const TemporaryDirectory directory;
    directory.write("a", "old");
    const Error error = error_of([&] {
        const FileSizeLimit limit(1000);
        write_file_atomically(directory / "a", std::string(5000, 'x'), Overwrite::yes);
    });
    EXPECT_EQ(error.code(), ErrorCode::io_failure);
    EXPECT_THAT(error.what(), HasSubstr("too large"));
    EXPECT_EQ(directory.read("a"), "old");
    EXPECT_FALSE(std::filesystem::exists(directory / "a.tmp"));
}

TEST(WriteFileAtomicallyTest, NamesAMissingFolder) {
    const TemporaryDirectory directory;
    const Error error = error_of([&] { write_file_atomically(directory / "b" / "a", "x", Overwrite::no); });
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_THAT(error.what(), HasSubstr("b/a.tmp"));
}

TEST(WriteFileAtomicallyTest, AFolderInTheWayIsReported) {
    const TemporaryDirectory directory;
    std::filesystem::create_directories(directory / "a" / "inside");
    EXPECT_EQ(error_of([&] { write_file_atomically(directory / "a", "x", Overwrite::no); }).code(),
              ErrorCode::output_exists);
    EXPECT_EQ(error_of([&] { write_file_atomically(directory / "a", "x", Overwrite::yes); }).code(),
              ErrorCode::io_failure);
    EXPECT_FALSE(std::filesystem::exists(directory / "a.tmp"));
}

TEST(WriteFileTest, ReplacesWhatIsThere) {
    const TemporaryDirectory directory;
    write_file(directory / "a", "longer than the next");
    write_file(directory / "a", "x");
    EXPECT_EQ(directory.read("a"), "x");
    EXPECT_EQ(error_of([&] { write_file(directory / "none" / "a", "x"); }).code(), ErrorCode::not_found);
}

TEST(SyncTogetherTest, NamesTheFileThatIsNotThere) {
    const TemporaryDirectory directory;
    write_file(directory / "a", "x");
    write_file(directory / "b", "y");
    sync_together({});
    std::vector<std::filesystem::path> paths = {directory / ".", directory / "a", directory / "b"};
    sync_together(paths);
    paths.insert(paths.begin() + 1, directory / "gone");
    const Error error = error_of([&] { sync_together(paths); });
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_THAT(error.what(), HasSubstr("gone"));
}

TEST(PublishFileTest, TheNameIsFreeUntilTheRename) {
    const TemporaryDirectory directory;
    std::vector<std::string> seen;
    set_commit_hook([&](std::string_view point) {
        seen.push_back(std::string(point) +
                       (std::filesystem::exists(directory / "a") ? " present" : " absent"));
    });
    {
        const CommitScope scope("test");
        write_file_atomically(directory / "a", "x", Overwrite::no);
    }
    set_commit_hook({});
    EXPECT_THAT(seen, ElementsAre("test:written absent", "test:renamed present"));
}

TEST(PublishFileTest, ANameTakenMeanwhileIsNotReplaced) {
    const TemporaryDirectory directory;
    set_commit_hook([&](std::string_view) { directory.write("a", "theirs"); });
    const Error error = error_of([&] {
        const CommitScope scope("test");
        write_file_atomically(directory / "a", "ours", Overwrite::no);
    });
    set_commit_hook({});
    EXPECT_EQ(error.code(), ErrorCode::output_exists);
    EXPECT_EQ(directory.read("a"), "theirs");
    EXPECT_FALSE(std::filesystem::exists(directory / "a.tmp"));
}

TEST(PublishFileTest, WithoutATemporaryNothingHappens) {
    const TemporaryDirectory directory;
    directory.write("a", "old");
    EXPECT_EQ(error_of([&] { publish_file(directory / "b", directory / "a", Overwrite::yes); }).code(),
              ErrorCode::not_found);
    EXPECT_EQ(directory.read("a"), "old");
}

TEST(ReadFileTest, ReadsFilesThatDoNotKnowTheirSize) {
    EXPECT_THAT(read_file("/proc/self/status"), HasSubstr("VmPeak"));
}

TEST(ReadFileTest, NamesWhatItCannotRead) {
    const TemporaryDirectory directory;
    const Error absent = error_of([&] { read_file(directory / "absent"); });
    EXPECT_EQ(absent.code(), ErrorCode::not_found);
    EXPECT_THAT(absent.what(), HasSubstr("absent"));
    EXPECT_EQ(error_of([&] { read_file(directory.path()); }).code(), ErrorCode::io_failure);
}

TEST(SyncDirectoryTest, AcceptsTheCurrentOneAndRefusesFiles) {
    const TemporaryDirectory directory;
    directory.write("a", "x");
    sync_directory("");
    sync_directory(directory.path());
    EXPECT_EQ(error_of([&] { sync_directory(directory / "a"); }).code(), ErrorCode::not_found);
}

/// A pipe gives a few bytes at a time, and a signal without SA_RESTART interrupts whoever waits for it.
TEST(PosixFileTest, ContinuesInterruptedAndShortTransfers) {
    const TemporaryDirectory directory;
    ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
    struct sigaction ignore {};
    struct sigaction before {};
    ignore.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &ignore, &before);

    const std::string sent = [] {
        std::string text(300000, ' ');
        for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 23);
        return text;
    }();
    const pthread_t reader = ::pthread_self();
    std::thread writer([&] {
        PosixFile pipe(directory / "pipe", O_WRONLY);
        for (std::size_t begin = 0; begin < sent.size(); begin += 100000) {
            ::pthread_kill(reader, SIGUSR1);
            pipe.write(std::as_bytes(std::span(sent)).subspan(begin, 100000));
        }
        pipe.close();
    });
    PosixFile pipe(directory / "pipe", O_RDONLY);
    std::string received(sent.size() + 10, '\0');
    received.resize(pipe.read(std::as_writable_bytes(std::span(received))));
    writer.join();
    ::sigaction(SIGUSR1, &before, nullptr);
    EXPECT_EQ(received, sent);
}

TEST(PosixFileTest, ReadsExactlyOrSaysWhereTheFileEnds) {
    const TemporaryDirectory directory;
    directory.write("a", "0123456789");
    const PosixFile file(directory / "a", O_RDONLY);
    std::array<std::byte, 4> part{};
    file.read_at(6, part);
    EXPECT_EQ(std::memcmp(part.data(), "6789", 4), 0);
    const Error error = error_of([&] { file.read_at(8, part); });
    EXPECT_EQ(error.code(), ErrorCode::corrupt_data);
    EXPECT_THAT(error.what(), HasSubstr("ends at byte 10"));
}

}  // namespace
}  // namespace lockstep
