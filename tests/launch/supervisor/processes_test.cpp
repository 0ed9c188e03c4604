// Real processes: what was started ends with its code, and nothing outlives kill_all.

#include "launch/supervisor/processes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "io/base/error.h"
#include "launch/supervisor/host_pool.h"
#include "launch/supervisor/leftovers.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

int wait_for(Processes& processes, pid_t child) {
    for (;;) {
        if (const auto code = processes.exit_code(child)) return *code;
        processes.wait(10);
    }
}

/// No more files can be opened while it lives.
class NoFilesLeft {
  public:
    NoFilesLeft() {
        getrlimit(RLIMIT_NOFILE, &before_);
        rlimit none = before_;
        none.rlim_cur = 3;
        setrlimit(RLIMIT_NOFILE, &none);
    }
    ~NoFilesLeft() { setrlimit(RLIMIT_NOFILE, &before_); }
    NoFilesLeft(const NoFilesLeft&) = delete;
    NoFilesLeft& operator=(const NoFilesLeft&) = delete;

  private:
    rlimit before_{};
};

ErrorCode code_of_start(Processes& processes, const std::vector<std::string>& words,
                        const std::string& output = {}) {
    try {
        processes.start(words, {}, output);
    } catch (const Error& error) {
        return error.code();
    }
    ADD_FAILURE() << "it was started";
    return ErrorCode::bug;
}

bool is_alive(pid_t process) {
    return kill(process, 0) == 0;
}

/// The process id that a shell wrote, once it is there.
pid_t read_id(Processes& processes, const std::filesystem::path& file) {
    for (pid_t id = 0;;) {
        if (std::ifstream(file) >> id && id > 0) return id;
        processes.wait(0.01);
    }
}

TEST(ProcessesTest, CodesAndSignalsAreTold) {
    Processes processes;
    EXPECT_EQ(wait_for(processes, processes.start({"/bin/sh", "-c", "exit 7"}, {})), 7);
    EXPECT_EQ(wait_for(processes, processes.start({"/bin/sh", "-c", "kill -9 $$"}, {})), 137);
}

TEST(ProcessesTest, AProgramThatIsNotThereIsNamed) {
    Processes processes;
    try {
        processes.start({"no-such-program-anywhere"}, {});
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_NE(std::string(error.what()).find("no-such-program-anywhere"), std::string::npos);
    }
}

TEST(ProcessesTest, OneAtATime) {
    Processes processes;
    try {
        const Processes second;
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::bug);
    }
    raise(SIGTERM);
    processes.wait(1);
    EXPECT_EQ(processes.stop_requests(), 1) << "the first still has the signals";
}

TEST(ProcessesTest, AMachineWithoutRoomIsNoFaultOfTheCommand) {
    Processes processes;
    {
        const NoFilesLeft full;
        EXPECT_EQ(code_of_start(processes, {"/bin/sh", "-c", "exit 0"}), ErrorCode::environment);
    }
    EXPECT_EQ(wait_for(processes, processes.start({"/bin/sh", "-c", "exit 0"}, {})), 0);
}

TEST(ProcessesTest, AnOutputThatCannotBeOpenedIsSaid) {
    Processes processes;
    const TemporaryDirectory folder;
    EXPECT_EQ(code_of_start(processes, {"/bin/sh", "-c", "exit 0"}, (folder / "no/such/folder/log").string()),
              ErrorCode::not_found);
}

TEST(HostPoolProbeTest, AHostThatCannotBeAskedCountsAsNotAlive) {
    Processes processes;
    HostPool pool(processes, {{"far", 4}, {"localhost", 2}}, "true", 5);
    {
        const NoFilesLeft full;
        EXPECT_EQ(to_text(pool.ask()), "localhost:2");
        EXPECT_EQ(pool.slots_in_reach(), std::nullopt);
        EXPECT_EQ(pool.slots_in_reach(), 2);
    }
    EXPECT_EQ(to_text(pool.ask()), "far:4,localhost:2");
}

TEST(LeftoversSweepTest, SegmentsOfOurOwnDeadGoAndForeignOnesStay) {
    const std::string id = std::to_string(getpid());
    const std::filesystem::path ours = "/dev/shm/vader_segment.test-" + id + ".0";
    const std::filesystem::path foreign = "/dev/shm/vader_segment.test-" + id + ".1";
    std::ofstream(foreign) << "another job's";
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        const int file = open(ours.c_str(), O_RDWR | O_CREAT, 0600);
        const bool mapped = ftruncate(file, 4096) == 0 &&
                            mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) != MAP_FAILED;
        if (!mapped || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    const TemporaryDirectory run;
    Leftovers leftovers(run.path());
    leftovers.note({child});
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_TRUE(std::filesystem::exists(ours)) << "a killed process leaves it";
    EXPECT_EQ(leftovers.sweep(), 1U);
    EXPECT_FALSE(std::filesystem::exists(ours));
    EXPECT_TRUE(std::filesystem::exists(foreign));
    std::filesystem::remove(foreign);
    close(ready[0]);
    close(ready[1]);
}

TEST(ProcessesTest, VariablesAreLaidOver) {
    Processes processes;
    setenv("LOCKSTEP_TEST_OLD", "old", 1);
    const pid_t child =
        processes.start({"/bin/sh", "-c", "test $LOCKSTEP_TEST_OLD = new -a $LOCKSTEP_TEST_ADDED = yes"},
                        {{"LOCKSTEP_TEST_OLD", "new"}, {"LOCKSTEP_TEST_ADDED", "yes"}});
    EXPECT_EQ(wait_for(processes, child), 0);
}

TEST(ProcessesTest, NothingHidesFromTheEnd) {
    Processes processes;
    const TemporaryDirectory folder;
    // A grandchild in a session of its own, whose parent is gone, deaf to all that can be ignored.
    const std::string deaf =
        "trap '' TERM INT HUP USR1; echo $$ > " + (folder / "id").string() + "; while :; do sleep 100; done";
    const pid_t child = processes.start({"/bin/sh", "-c", "setsid sh -c \"$0\" & exit 0", deaf}, {});
    EXPECT_EQ(wait_for(processes, child), 0);
    const pid_t grandchild = read_id(processes, folder / "id");
    EXPECT_TRUE(is_alive(grandchild));
    EXPECT_TRUE(processes.kill_all().empty());
    EXPECT_FALSE(is_alive(grandchild));
    EXPECT_EQ(processes.exit_code(grandchild), std::nullopt) << "its number may be another's by now";
    EXPECT_TRUE(descendants_of(getpid()).empty());
}

TEST(ProcessesTest, AStoppedChildEndsToo) {
    Processes processes;
    const pid_t child = processes.start({"/bin/sh", "-c", "kill -STOP $$"}, {});
    processes.wait(0.05);
    processes.kill_all();
    EXPECT_EQ(processes.exit_code(child), 137);
}

TEST(ProcessesTest, ASuspendedProcessIsKnownAsOne) {
    Processes processes;
    const pid_t child = processes.start({"sleep", "60"}, {});
    EXPECT_FALSE(is_stopped(child));
    processes.signal(child, SIGSTOP);
    while (!is_stopped(child)) processes.wait(0.01);
    processes.signal(child, SIGCONT);
    while (is_stopped(child)) processes.wait(0.01);
    EXPECT_FALSE(is_stopped(0));
}

// nohup: the end of the terminal is to be survived.
TEST(ProcessesTest, AHangupThatWasIgnoredIsNoRequest) {
    const auto before = std::signal(SIGHUP, SIG_IGN);
    {
        Processes processes;
        raise(SIGHUP);
        processes.wait(0.01);
        EXPECT_EQ(processes.stop_requests(), 0);
    }
    std::signal(SIGHUP, before);
}

TEST(ProcessesTest, SignalsCloseTogetherAreOneRequest) {
    Processes processes;
    EXPECT_EQ(processes.stop_requests(), 0);
    raise(SIGTERM);
    processes.wait(1);
    raise(SIGUSR1);
    raise(SIGINT);
    processes.wait(1);
    EXPECT_EQ(processes.stop_requests(), 1);
}

TEST(ProcessesTest, AChildsSignalsAreItsOwn) {
    Processes processes;
    const pid_t child = processes.start({"/bin/sh", "-c", "kill -USR1 $$; sleep 100"}, {});
    EXPECT_EQ(wait_for(processes, child), 128 + SIGUSR1);
    EXPECT_EQ(processes.stop_requests(), 0);
}

}  // namespace
}  // namespace lockstep
