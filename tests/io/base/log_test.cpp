#include "io/base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

TEST(LogTest, LastWordsWaitSoLongForTheLogAndNoLonger) {
    const TemporaryDirectory folder;
    log_to_file((folder / "log").string());
    EXPECT_TRUE(log_rank_within(std::chrono::minutes(1), LogLevel::error, "a word"));
    EXPECT_NE(folder.read("log").find("a word"), std::string::npos);

    // A log that hangs: a full pipe that nobody empties.
    const std::string pipe = (folder / "pipe").string();
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
    ASSERT_GE(reader, 0);
    const int filler = open(pipe.c_str(), O_WRONLY | O_NONBLOCK);
    ASSERT_GE(filler, 0);
    log_to_file(pipe);
    char bytes[4096] = {};
    while (write(filler, bytes, sizeof bytes) > 0) continue;
    while (write(filler, bytes, 1) > 0) continue;
    EXPECT_FALSE(log_rank_within(std::chrono::milliseconds(50), LogLevel::error, "farewell"));

    // The thread that was left with them goes on. It may still be in the log, which therefore stays.
    std::string taken;
    while (taken.find("farewell") == std::string::npos) {
        const ssize_t count = read(reader, bytes, sizeof bytes);
        if (count > 0) taken.append(bytes, static_cast<std::size_t>(count));
    }
}

}  // namespace
}  // namespace lockstep
