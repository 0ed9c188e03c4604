// Real processes: what was started ends with its code, and nothing outlives kill_all.

#include "launch/supervisor/processes.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "io/base/error.h"
#include "tests/support/temporary_directory.h"

namespace lockstep {
namespace {

int wait_for(Processes& processes, pid_t child) {
    for (;;) {
        if (const auto code = processes.exit_code(child)) return *code;
        processes.wait(10);
    }
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
    processes.kill_all();
    EXPECT_FALSE(is_alive(grandchild));
    EXPECT_TRUE(descendants_of(getpid()).empty());
}

TEST(ProcessesTest, AStoppedChildEndsToo) {
    Processes processes;
    const pid_t child = processes.start({"/bin/sh", "-c", "kill -STOP $$"}, {});
    processes.wait(0.05);
    processes.kill_all();
    EXPECT_EQ(processes.exit_code(child), 137);
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
