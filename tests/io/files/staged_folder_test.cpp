#include "io/files/staged_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <iterator>
#include <string>
#include <string_view>

#include "tests/support/error_of.h"
#include "tests/support/failing_calls.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;

/// A disk that fails after so many syncs.
class LateSyncFails : public ForwardingFiles {
  public:
    explicit LateSyncFails(int good) : good_(good) {}
    int sync(int descriptor) override {
        if (good_-- > 0) return ForwardingFiles::sync(descriptor);
        errno = EIO;
        return -1;
    }

  private:
    std::atomic<int> good_;
};

class StagedFolderTest : public ::testing::Test {
  protected:
    /// Publish a folder "out" of one file with this text.
    void publish(const std::string& text, Overwrite overwrite) {
        StagedFolder folder(directory_ / "out", kind_, overwrite);
        write_file(folder.path() / "part", text);
        folder.publish();
    }
    /// @param name  of a folder that somebody keeps a text in.
    void keep_thesis_in(const std::string& name) {
        std::filesystem::create_directories(directory_ / name);
        directory_.write(name + "/thesis", "years");
    }

    TemporaryDirectory directory_;
    FolderKind kind_{
        "a set of parts",
        [](const std::filesystem::path& folder) { return std::filesystem::exists(folder / "part"); },
        [](std::string_view name) { return name == "part"; }};
};

TEST_F(StagedFolderTest, AppearsWholeAndIsReplacedOnlyWhenToldTo) {
    publish("one", Overwrite::no);
    EXPECT_EQ(error_of([&] { publish("two", Overwrite::no); }).code(), ErrorCode::output_exists);
    EXPECT_EQ(directory_.read("out/part"), "one");
    publish("two", Overwrite::yes);
    EXPECT_EQ(directory_.read("out/part"), "two");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
}

TEST_F(StagedFolderTest, WhatAnInterruptedStartLeftIsRemoved) {
    std::filesystem::create_directories(directory_ / "out.tmp");
    directory_.write("out.tmp/part", "half");
    directory_.write("out.tmp/part.tmp", "half");
    publish("whole", Overwrite::no);
    EXPECT_EQ(directory_.read("out/part"), "whole");
    EXPECT_FALSE(std::filesystem::exists(directory_ / "out.tmp"));
}

TEST_F(StagedFolderTest, NobodysFolderIsLost) {
    keep_thesis_in("out.tmp");
    const Error error = error_of([&] { publish("text", Overwrite::no); });
    EXPECT_EQ(error.code(), ErrorCode::output_exists);
    EXPECT_THAT(error.what(), HasSubstr("holds 'thesis', which is nothing that a set of parts is made of"));
    EXPECT_EQ(directory_.read("out.tmp/thesis"), "years");
    std::filesystem::remove_all(directory_ / "out.tmp");
    directory_.write("out.tmp", "years");
    EXPECT_THAT(error_of([&] { publish("text", Overwrite::no); }).what(),
                HasSubstr("is in the way: it is no folder"));
    EXPECT_EQ(directory_.read("out.tmp"), "years");
    std::filesystem::remove(directory_ / "out.tmp");

    keep_thesis_in("out.old");
    publish("one", Overwrite::no);
    {
        const FailingCalls unable(FileCall::exchange, ENOSYS);
        publish("two", Overwrite::yes);
    }
    EXPECT_EQ(directory_.read("out/part"), "two");
    EXPECT_EQ(directory_.read("out.old/thesis"), "years");
    EXPECT_FALSE(std::filesystem::exists(directory_ / "out.old-1"));

    keep_thesis_in("mine");
    directory_.write("blank", "");  // A file, empty as a folder may be.
    for (const char* name : {"mine", "blank"}) {
        EXPECT_THAT(error_of([&] { StagedFolder(directory_ / name, kind_, Overwrite::yes); }).what(),
                    HasSubstr("exists and is not a set of parts; --force replaces only those"));
    }
    EXPECT_EQ(directory_.read("mine/thesis"), "years");
    EXPECT_TRUE(std::filesystem::is_regular_file(directory_ / "blank"));
}

TEST_F(StagedFolderTest, AFolderOrALinkIsNoFileOfTheKindWhateverItsName) {
    keep_thesis_in("out.tmp/part");
    const auto refused = [&] {
        const Error error = error_of([&] { publish("text", Overwrite::no); });
        EXPECT_EQ(error.code(), ErrorCode::output_exists);
        EXPECT_THAT(error.what(), HasSubstr("holds 'part'"));
    };
    refused();
    EXPECT_EQ(directory_.read("out.tmp/part/thesis"), "years");
    std::filesystem::remove_all(directory_ / "out.tmp/part");
    directory_.write("letter", "years");
    std::filesystem::create_symlink(directory_ / "letter", directory_ / "out.tmp/part");
    refused();
    EXPECT_EQ(directory_.read("out.tmp/part"), "years");
}

TEST_F(StagedFolderTest, ItsPlaceIsSyncedBeforeTheOldOneGoes) {
    const auto unsynced = [&](const std::string& text) {
        // The file and its folder are synced, the parent is not.
        const LateSyncFails broken(2);
        const Error error = error_of([&] { publish(text, Overwrite::yes); });
        EXPECT_EQ(error.code(), ErrorCode::io_failure);
        EXPECT_THAT(error.what(), HasSubstr(directory_.path().string()));
        EXPECT_EQ(directory_.read("out/part"), text);
    };
    unsynced("one");
    // A power cut may still bring the old one back.
    unsynced("two");
    EXPECT_EQ(directory_.read("out.tmp/part"), "one");
    const FailingCalls unable(FileCall::exchange, ENOSYS);
    unsynced("three");
    EXPECT_EQ(directory_.read("out.old/part"), "two");
}

/// A file system that exchanges nothing, where a new folder is kept from its place.
class KeptFromItsPlace : public FailingCalls {
  public:
    KeptFromItsPlace() : FailingCalls(FileCall::exchange, EINVAL) {}
    int rename(const char* from, const char* to) override {
        if (!std::string_view(from).ends_with("/out.tmp")) return FailingCalls::rename(from, to);
        errno = EIO;
        return -1;
    }
};

TEST_F(StagedFolderTest, TheOldOneComesBackIfTheNewOneCannotTakeItsPlace) {
    publish("one", Overwrite::no);
    const auto refused = [&] {
        EXPECT_EQ(error_of([&] { publish("two", Overwrite::yes); }).code(), ErrorCode::io_failure);
        EXPECT_EQ(directory_.read("out/part"), "one");
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
    };
    {
        const KeptFromItsPlace files;
        refused();
    }
    {
        const FailingCalls broken(FileCall::exchange, EIO);
        refused();
    }
    for (const int reason : {EINVAL, ENOSYS}) {
        const FailingCalls unable(FileCall::exchange, reason);
        publish(std::to_string(reason), Overwrite::yes);
        EXPECT_EQ(directory_.read("out/part"), std::to_string(reason));
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
    }
}

TEST_F(StagedFolderTest, WhatIsReplacedHoldsNothingElse) {
    publish("one", Overwrite::no);
    keep_thesis_in("out/mine");
    const Error error = error_of([&] { publish("two", Overwrite::yes); });
    EXPECT_EQ(error.code(), ErrorCode::output_exists);
    EXPECT_THAT(error.what(), HasSubstr("holds 'mine', which is nothing that a set of parts is made of"));
    EXPECT_EQ(directory_.read("out/mine/thesis"), "years");
    EXPECT_EQ(directory_.read("out/part"), "one");

    std::filesystem::create_symlink("nowhere", directory_ / "link");
    for (const Overwrite overwrite : {Overwrite::no, Overwrite::yes}) {
        EXPECT_EQ(error_of([&] { StagedFolder(directory_ / "link", kind_, overwrite); }).code(),
                  ErrorCode::output_exists);
    }
}

TEST_F(StagedFolderTest, ASecondStartIsRefusedWhileTheFirstIsAtWork) {
    StagedFolder first(directory_ / "out", kind_, Overwrite::no);
    write_file(first.path() / "part", "first");
    const Error error = error_of([&] { publish("second", Overwrite::no); });
    EXPECT_EQ(error.code(), ErrorCode::environment);
    EXPECT_THAT(error.what(), HasSubstr("another process is at work in"));
    first.publish();
    EXPECT_EQ(directory_.read("out/part"), "first");
    publish("third", Overwrite::yes);
    EXPECT_EQ(directory_.read("out/part"), "third");
}

TEST_F(StagedFolderTest, ATargetThatAppearsMeanwhileStays) {
    StagedFolder folder(directory_ / "out", kind_, Overwrite::no);
    write_file(folder.path() / "part", "ours");
    std::filesystem::create_directory(directory_ / "out");
    directory_.write("out/part", "theirs");
    EXPECT_EQ(error_of([&] { folder.publish(); }).code(), ErrorCode::output_exists);
    EXPECT_EQ(directory_.read("out/part"), "theirs");
}

TEST_F(StagedFolderTest, WhereNothingCanBeLockedThereIsWorkAllTheSame) {
    const FailingCalls unable(FileCall::try_lock, ENOLCK);
    publish("one", Overwrite::no);
    publish("two", Overwrite::yes);
    EXPECT_EQ(directory_.read("out/part"), "two");
    const FailingCalls broken(FileCall::try_lock, EIO);
    EXPECT_EQ(error_of([&] { publish("three", Overwrite::yes); }).code(), ErrorCode::io_failure);
}

TEST_F(StagedFolderTest, WhatIsNotPublishedIsGone) {
    {
        const StagedFolder folder(directory_ / "out", kind_, Overwrite::no);
        write_file(folder.path() / "part", "x");
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

}  // namespace
}  // namespace lockstep
