// What files do when the system refuses a call: repeated where that is right, else one clear
// error.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "io/base/error.h"
#include "io/files/atomic_file.h"
#include "io/files/directory.h"
#include "io/files/posix_file.h"
#include "tests/support/error_of.h"
#include "tests/support/failing_calls.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

class FileCallsTest : public testing::Test {
  protected:
    TemporaryDirectory folder_;
};

TEST_F(FileCallsTest, InterruptedCallsAreRepeated) {
    for (const FileCall call : {FileCall::open, FileCall::close, FileCall::write, FileCall::write_at,
                                FileCall::resize, FileCall::sync, FileCall::read, FileCall::read_at}) {
        FailingCalls interrupted(call, EINTR, 2);
        PosixFile file(folder_ / "a", O_RDWR | O_CREAT | O_TRUNC);
        file.write(bytes_of("0123"));
        file.write_at(4, bytes_of("4567"));
        file.resize(6);
        file.sync();
        std::array<std::byte, 6> found{};
        file.read_at(0, found);
        EXPECT_EQ(std::memcmp(found.data(), "012345", 6), 0);
        file.close();
        EXPECT_EQ(read_file(folder_ / "a"), "012345");
    }
}

TEST_F(FileCallsTest, RefusedCallsNameTheFileAndWhatToDo) {
    PosixFile file(folder_ / "a", O_RDWR | O_CREAT);
    const std::string advice = "free some space";
    expect_refused(FileCall::write, ENOSPC, ErrorCode::io_failure, advice,
                   [&] { file.write(bytes_of("x")); });
    expect_refused(FileCall::write_at, EDQUOT, ErrorCode::io_failure, advice,
                   [&] { file.write_at(0, bytes_of("x")); });
    expect_refused(FileCall::resize, EFBIG, ErrorCode::io_failure, "ulimit -f", [&] { file.resize(7); });
    expect_refused(FileCall::sync, EIO, ErrorCode::io_failure, "/a'", [&] { file.sync(); });
    expect_refused(FileCall::status, EIO, ErrorCode::io_failure, "/a'", [&] { file.size(); });
    std::array<std::byte, 1> byte{};
    expect_refused(FileCall::read, EIO, ErrorCode::io_failure, "/a'", [&] { file.read(byte); });
    expect_refused(FileCall::read_at, EIO, ErrorCode::io_failure, "/a'", [&] { file.read_at(0, byte); });
    expect_refused(FileCall::close, EIO, ErrorCode::io_failure, "/a'", [&] { file.close(); });
    expect_refused(FileCall::open, ENOSPC, ErrorCode::io_failure, advice,
                   [&] { PosixFile(folder_ / "b", O_WRONLY | O_CREAT); });
}

TEST_F(FileCallsTest, DirectoriesThatCannotBeMadeOrSeenAreNamed) {
    expect_refused(FileCall::make_directory, EROFS, ErrorCode::io_failure, "new",
                   [&] { create_directories_durably(folder_ / "new" / "deep"); });
    expect_refused(FileCall::sync, EIO, ErrorCode::io_failure, folder_.path().string(),
                   [&] { create_directories_durably(folder_ / "made"); });
    expect_refused(FileCall::list, EIO, ErrorCode::io_failure, folder_.path().string(),
                   [&] { directory_entries(folder_.path()); });
    expect_refused(FileCall::status_of_name, EIO, ErrorCode::io_failure, "x",
                   [&] { path_exists(folder_ / "x"); });
    expect_refused(FileCall::rename, EXDEV, ErrorCode::io_failure, "there",
                   [&] { rename_path(folder_ / "here", folder_ / "there", "one file system"); });
    expect_refused(FileCall::remove_file, EROFS, ErrorCode::io_failure, "x",
                   [&] { remove_file(folder_ / "x"); });
    EXPECT_THAT(directory_entries(folder_ / "absent"), IsEmpty());
    remove_file(folder_ / "absent");
}

// What the calls above stand in for, as the kernel itself reports it.
TEST_F(FileCallsTest, TheKernelsOwnRefusalsArriveAsSuch) {
    FileSystem& files = file_system();
    FileSystem::Status status;
    errno = 0;
    EXPECT_EQ(files.status(-1, status), -1);
    EXPECT_EQ(errno, EBADF);
    EXPECT_EQ(files.map(-1, 4096), nullptr);
    EXPECT_EQ(errno, EBADF);
    std::vector<std::string> names;
    EXPECT_EQ(files.list((folder_ / "absent").c_str(), names), -1);
    EXPECT_EQ(errno, ENOENT);
    EXPECT_THAT(names, IsEmpty());
}

TEST_F(FileCallsTest, ANameBelowAFileIsAbsentButOneThatIsTooLongIsAnError) {
    folder_.write("file", "x");
    EXPECT_FALSE(path_exists(folder_ / "file" / "below"));
    const Error error = error_of([&] { path_exists(folder_ / std::string(300, 'n')); });
    EXPECT_EQ(error.code(), ErrorCode::io_failure);
    EXPECT_THAT(error.what(), HasSubstr(std::strerror(ENAMETOOLONG)));
}

/// Where relative names begin, until the end of the scope.
class WorkingDirectory {
  public:
    explicit WorkingDirectory(const std::filesystem::path& folder) { std::filesystem::current_path(folder); }
    ~WorkingDirectory() { std::filesystem::current_path(before_); }
    WorkingDirectory(const WorkingDirectory&) = delete;
    WorkingDirectory& operator=(const WorkingDirectory&) = delete;

  private:
    std::filesystem::path before_ = std::filesystem::current_path();
};

TEST_F(FileCallsTest, DirectoriesAreMadeWhereWeStand) {
    {
        const WorkingDirectory here(folder_.path());
        create_directories_durably("runs/first");
        create_directories_durably("");
        expect_refused(FileCall::sync, EIO, ErrorCode::io_failure, "'.'",
                       [&] { create_directories_durably("second"); });
    }
    EXPECT_TRUE(std::filesystem::is_directory(folder_ / "runs" / "first"));
}

/// Another rank is faster by the blink between the look and the making.
class MadeMeanwhile : public ForwardingFiles {
  public:
    explicit MadeMeanwhile(bool as_directory) : as_directory_(as_directory) {}
    int make_directory(const char* path) override {
        if (as_directory_) {
            ForwardingFiles::make_directory(path);
        } else {
            close(open(path, O_WRONLY | O_CREAT));
        }
        return ForwardingFiles::make_directory(path);
    }

  private:
    bool as_directory_;
};

TEST_F(FileCallsTest, ADirectoryThatAnotherRankMakesMeanwhileIsNoFailure) {
    {
        const MadeMeanwhile other(true);
        create_directories_durably(folder_ / "run" / "logs");
    }
    EXPECT_TRUE(std::filesystem::is_directory(folder_ / "run" / "logs"));
    const MadeMeanwhile other(false);
    EXPECT_EQ(error_of([&] { create_directories_durably(folder_ / "file"); }).code(), ErrorCode::io_failure);
}

TEST_F(FileCallsTest, NamesAreSyncedHoweverTheyAreSpelled) {
    create_directories_durably((folder_ / "run").string() + "/");
    EXPECT_TRUE(std::filesystem::is_directory(folder_ / "run"));
    create_directories_durably("/");
    sync_name_of((folder_ / "run").string() + "/");
    sync_name_of("run");
    {
        // A parent that may be passed but not read.
        FailingCalls closed(FileCall::open, EACCES, 1);
        sync_name_of(folder_ / "run");
    }
    expect_refused(FileCall::open, EIO, ErrorCode::io_failure, folder_.path().string(),
                   [&] { sync_name_of(folder_ / "run"); });
    EXPECT_EQ(error_of([&] { sync_name_of(folder_ / "absent" / "run"); }).code(), ErrorCode::not_found);
}

TEST_F(FileCallsTest, OnlyTemporaryFilesAreSwept) {
    folder_.write("a.tmp", "left by a killed process");
    folder_.write("a", "whole");
    std::filesystem::create_directory(folder_ / "folder.tmp");
    {
        // What cannot be looked at stays.
        const FailingCalls unseen(FileCall::status_of_name, EIO);
        remove_temporaries(folder_.path());
    }
    EXPECT_EQ(directory_entries(folder_.path()).size(), 3U);
    remove_temporaries(folder_.path());
    EXPECT_THAT(directory_entries(folder_.path()), ElementsAre(folder_ / "a", folder_ / "folder.tmp"));
}

TEST_F(FileCallsTest, SizesAreOfFilesThatCanBeOpened) {
    folder_.write("a", "four");
    EXPECT_EQ(file_bytes_of(folder_ / "a"), 4U);
    EXPECT_EQ(file_bytes_of(folder_.path()), std::nullopt);
    const FailingCalls unseen(FileCall::status, EIO);
    EXPECT_EQ(file_bytes_of(folder_ / "a"), std::nullopt);
}

// Where the system cannot look and rename in one go, a look beforehand is the best there is.
TEST_F(FileCallsTest, PublishingNeedsNoRenameThatLooks) {
    for (const int reason : {EINVAL, ENOSYS}) {
        const std::filesystem::path path = folder_ / std::to_string(reason);
        const FailingCalls unable(FileCall::rename_beside, reason);
        write_file_atomically(path, "x", Overwrite::no);
        EXPECT_EQ(read_file(path), "x");
        write_file(temporary_path(path), "y");
        EXPECT_EQ(error_of([&] { publish_file(temporary_path(path), path, Overwrite::no); }).code(),
                  ErrorCode::output_exists);
        EXPECT_EQ(read_file(path), "x");
    }
    expect_refused(FileCall::rename_beside, EIO, ErrorCode::io_failure, "new",
                   [&] { write_file_atomically(folder_ / "new", "x", Overwrite::no); });
    EXPECT_FALSE(std::filesystem::exists(folder_ / "new.tmp"));
    const FailingCalls unseen(FileCall::status_of_name, EIO);
    write_file_atomically(folder_ / "new", "x", Overwrite::no);
    EXPECT_EQ(error_of([&] { write_file_atomically(folder_ / "new", "y", Overwrite::no); }).code(),
              ErrorCode::output_exists)
        << "what could not be looked at is found by the rename";
}

}  // namespace
}  // namespace lockstep
