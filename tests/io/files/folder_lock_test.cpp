#include "io/files/folder_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>

#include "io/base/error.h"
#include "tests/support/error_of.h"
#include "tests/support/failing_calls.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using testing::HasSubstr;

std::string host() {
    char name[256] = {};
    gethostname(name, sizeof name - 1);
    return name;
}

TEST(FolderLockTest, SecondHolderIsToldWhoTheFirstIs) {
    const TemporaryDirectory run;
    const FolderLock lock(run.path());
    const Error error = error_of([&] { FolderLock second(run.path()); });
    EXPECT_EQ(error.code(), ErrorCode::environment);
    EXPECT_THAT(error.what(), HasSubstr("pid " + std::to_string(getpid()) + " on " + host()));
    EXPECT_EQ(run.read("LOCK"), "pid " + std::to_string(getpid()) + " on " + host() + "\n");
}

TEST(FolderLockTest, LocksOfOtherNamesAreApart) {
    const TemporaryDirectory run;
    EXPECT_FALSE(FolderLock::is_held(run.path()));
    const FolderLock other(run.path(), {}, "OTHER.LOCK");
    EXPECT_FALSE(FolderLock::is_held(run.path()));
    const FolderLock lock(run.path());
    EXPECT_TRUE(FolderLock::is_held(run.path()));
    EXPECT_EQ(error_of([&] { FolderLock second(run.path(), {}, "OTHER.LOCK"); }).code(),
              ErrorCode::environment);
}

TEST(FolderLockTest, IsFreeAgainAtTheEndOfItsScope) {
    const TemporaryDirectory run;
    { const FolderLock lock(run.path()); }
    EXPECT_NO_THROW(FolderLock(run.path()));
}

TEST(FolderLockTest, DirectoriesAreLockedApart) {
    const TemporaryDirectory a, b;
    const FolderLock lock_a(a.path());
    EXPECT_NO_THROW(FolderLock(b.path()));
}

TEST(FolderLockTest, DiesWithItsHolder) {
    const TemporaryDirectory run;
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        const FolderLock lock(run.path());
        if (write(ready[1], "x", 1) == 1) pause();
        _exit(1);
    }
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    EXPECT_THAT(error_of([&] { FolderLock second(run.path()); }).what(),
                HasSubstr("pid " + std::to_string(child) + " on "));
    kill(child, SIGKILL);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    EXPECT_NO_THROW(FolderLock(run.path()));
    close(ready[0]);
    close(ready[1]);
}

TEST(FolderLockTest, TakesOverALockFileWithAnyContent) {
    const TemporaryDirectory run;
    run.write("LOCK", "pid 4711 on some-machine-with-a-long-name that is gone\nand more\n");
    const FolderLock lock(run.path());
    EXPECT_EQ(run.read("LOCK"), "pid " + std::to_string(getpid()) + " on " + host() + "\n");
}

TEST(FolderLockTest, AHolderWithoutANameIsStillAHolder) {
    const TemporaryDirectory run;
    const FolderLock lock(run.path());
    for (const char* content : {"", "\x01\x02",
                                "pid 4711 on no\x7f"
                                "de3\n"}) {
        run.write("LOCK", content);
        const Error error = error_of([&] { FolderLock second(run.path()); });
        EXPECT_EQ(error.code(), ErrorCode::environment);
        EXPECT_THAT(error.what(), HasSubstr("left no name"));
    }
}

TEST(FolderLockTest, NamesADirectoryItCannotLock) {
    const TemporaryDirectory directory;
    const Error missing = error_of([&] { FolderLock lock(directory / "absent"); });
    EXPECT_EQ(missing.code(), ErrorCode::io_failure);
    EXPECT_THAT(missing.what(), HasSubstr("absent/LOCK"));

    std::filesystem::create_directories(directory / "odd" / "LOCK");
    EXPECT_EQ(error_of([&] { FolderLock lock(directory / "odd"); }).code(), ErrorCode::io_failure);
}

TEST(FolderLockTest, IsTakenOrRefusedForAReason) {
    const TemporaryDirectory run;
    {
        const FailingCalls interrupted(FileCall::try_lock, EINTR, 2);
        const FolderLock lock(run.path());
    }
    {
        const FailingCalls interrupted(FileCall::write_at, EINTR, 2);
        const FolderLock lock(run.path());
    }
    {
        const FailingCalls held(FileCall::try_lock, EWOULDBLOCK, 2);
        const FolderLock patient(run.path(), std::chrono::hours(1));
    }
    expect_refused(FileCall::try_lock, ENOLCK, ErrorCode::environment, "file system with locks",
                   [&] { const FolderLock lock(run.path()); });
    expect_refused(FileCall::write_at, ENOSPC, ErrorCode::io_failure, "LOCK",
                   [&] { const FolderLock lock(run.path()); });
    expect_refused(FileCall::resize, EIO, ErrorCode::io_failure, "LOCK",
                   [&] { const FolderLock lock(run.path()); });
    const FolderLock free_again(run.path());
    const FailingCalls unread(FileCall::read_at, EIO);
    EXPECT_THAT(error_of([&] { const FolderLock second(run.path()); }).what(), HasSubstr("left no name"));
}

}  // namespace
}  // namespace lockstep
