#include "launch/supervisor/leftovers.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

std::string behind(const std::string& path, uid_t user = 0) {
    return leftover_behind("7f2c-7f2d rw-s 00000000 00:1a 5    " + path, user).string();
}

TEST(LeftoversTest, SegmentsAndSessionsAreKnown) {
    EXPECT_EQ(behind("/dev/shm/vader_segment.vm.0.344e0001.2"), "/dev/shm/vader_segment.vm.0.344e0001.2");
    EXPECT_EQ(behind("/tmp/ompi.vm.0/pid.22704/pmix_dstor_ds21_22704/smseg-877527041-0"),
              "/tmp/ompi.vm.0/pid.22704");
    EXPECT_EQ(behind("/scratch/u 1/ompi.n1.1000/pid.7/x", 1000), "/scratch/u 1/ompi.n1.1000/pid.7");
}

TEST(LeftoversTest, NothingElseIsTouched) {
    for (const char* path :
         {"/dev/shm/other", "/dev/shm/sub/vader_segment.x", "/usr/lib/libmpi.so", "/tmp/ompi.vm.0/contact",
          "/tmp/ompi.vm.0", "[heap]", "", "/dev/shm/vader_segment.vm.0.1.0 (deleted)",
          "/home/u/ompi.d/data/file", "/tmp/ompi.vm.1000/pid.7/x", "/tmp/ompi.vm.10/pid.7/x",
          "/tmp/ompi.0/pid.7/x", "/home/u/ompi.vm.0/pid.d/file", "/home/u/ompi.vm.0/pid./file",
          "/home/u/ompi.vm.0/pid.7a/file"}) {
        EXPECT_EQ(behind(path), "") << path;
    }
}

/// A segment as Open MPI makes it, and a process that has it mapped.
class Segment {
  public:
    Segment() {
        const int file = open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
        EXPECT_GE(file, 0);
        EXPECT_EQ(ftruncate(file, 4096), 0);
        int ready[2];
        EXPECT_EQ(pipe(ready), 0);
        process_ = fork();
        if (process_ == 0) {
            if (mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED) _exit(1);
            if (write(ready[1], "", 1) != 1) _exit(1);
            for (;;) pause();
        }
        char byte = 0;
        EXPECT_EQ(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        close(ready[1]);
        close(file);
    }
    ~Segment() {
        end_process();
        unlink(path_.c_str());
    }
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;

    pid_t process() const { return process_; }
    const std::string& path() const { return path_; }
    bool exists() const { return std::filesystem::exists(path_); }
    void end_process() {
        if (process_ <= 0) return;
        kill(process_, SIGKILL);
        waitpid(std::exchange(process_, 0), nullptr, 0);
    }

  private:
    std::string path_ = "/dev/shm/vader_segment.lockstep-test." + std::to_string(getpid());
    pid_t process_ = 0;
};

TEST(LeftoversTest, WhatWasNotSeenIsNotSwept) {
    const TemporaryDirectory run;
    Leftovers leftovers(run.path());
    leftovers.note({getpid()});
    EXPECT_EQ(leftovers.sweep(), 0U);
    EXPECT_FALSE(std::filesystem::exists(run / "leftovers.json"));
}

TEST(LeftoversTest, ASegmentIsSweptWhenItsProcessIsGone) {
    const TemporaryDirectory run;
    Segment segment;
    Leftovers leftovers(run.path());
    leftovers.note({segment.process()});
    EXPECT_EQ(leftovers.sweep(), 0U);
    EXPECT_TRUE(segment.exists());
    segment.end_process();
    EXPECT_EQ(leftovers.sweep(), 1U);
    EXPECT_FALSE(segment.exists());
}

TEST(LeftoversTest, TheNextSupervisorOfTheRunSweepsThem) {
    const TemporaryDirectory run;
    Segment segment;
    Leftovers(run.path()).note({segment.process()});
    Leftovers next(run.path());
    EXPECT_EQ(next.sweep(), 0U);
    segment.end_process();
    EXPECT_EQ(next.sweep(), 1U);
    EXPECT_FALSE(segment.exists());
    EXPECT_FALSE(std::filesystem::exists(run / "leftovers.json"));
}

// A new run's folder is made by the job, some time after its start.
TEST(LeftoversTest, TheRecordWaitsForTheFolderOfTheRun) {
    const TemporaryDirectory folder;
    Segment segment;
    Leftovers leftovers(folder / "run");
    leftovers.note({segment.process()});
    EXPECT_FALSE(std::filesystem::exists(folder / "run"));
    std::filesystem::create_directory(folder / "run");
    leftovers.note({});
    EXPECT_TRUE(std::filesystem::exists(folder / "run/leftovers.json"));
    segment.end_process();
    EXPECT_EQ(leftovers.sweep(), 1U);
}

// Another machine or boot, another file under the same name, a name of no kind of ours, no record at all.
TEST(LeftoversTest, ARecordThatIsNotOfThisPlaceAndFileRemovesNothing) {
    const TemporaryDirectory run;
    Segment segment;
    Leftovers(run.path()).note({segment.process()});
    segment.end_process();
    const auto sound = nlohmann::json::parse(run.read("leftovers.json"));
    ASSERT_EQ(sound["left"].size(), 1U);
    ASSERT_EQ(sound["left"][0][0], segment.path());
    const auto kept = run.write("kept", "");
    struct stat status {};
    ASSERT_EQ(stat(kept.c_str(), &status), 0);
    std::vector<nlohmann::json> others(5, sound);
    others[0]["place"] = "another boot";
    others[1]["left"][0][2] = sound["left"][0][2].get<std::uint64_t>() + 1;
    others[2]["left"] = {{kept.string(), status.st_dev, status.st_ino}};
    others[3]["left"] = {segment.path()};
    others[4] = {segment.path()};
    for (const auto& other : others) {
        run.write("leftovers.json", other.dump());
        EXPECT_EQ(Leftovers(run.path()).sweep(), 0U) << other;
        EXPECT_TRUE(segment.exists()) << other;
        EXPECT_TRUE(std::filesystem::exists(kept)) << other;
    }
    run.write("leftovers.json", "{\"place\":");
    EXPECT_EQ(Leftovers(run.path()).sweep(), 0U);
    run.write("leftovers.json", sound.dump());
    EXPECT_EQ(Leftovers(run.path()).sweep(), 1U);
}

}  // namespace
}  // namespace lockstep
