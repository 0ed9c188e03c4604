// P4 for the system: each system call of a save fails once, in every way it can, or
// the process ends there. Afterwards the generation before or the next one is the
// newest, and the save repeated ends in the state of the one never disturbed.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/files/directory.h"
#include "io/run/checkpoint.h"
#include "io/run/state_digest.h"
#include "launch/chaos/syscall_fault.h"
#include "tests/support/program.h"
#include "tests/support/temporary_directory.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;

ProgramResult save(const fs::path& run, int step, const Environment& environment = {}) {
    return run_program({LOCKSTEP_SAVER, run.string(), std::to_string(step)}, environment);
}

/// With LOCKSTEP_SYSCALLS=full every call meets every failure; else each call one of them, and the kill.
bool in_full() {
    const char* text = std::getenv("LOCKSTEP_SYSCALLS");
    return text != nullptr && std::string(text) == "full";
}

/// Generations 2 and 4, to be copied for every case; the save under test makes 6 and prunes 2.
class SyscallTest : public testing::Test {
  protected:
    SyscallTest() {
        fs::create_directories(directory_ / "before");
        for (const int step : {2, 4}) EXPECT_EQ(save(directory_ / "before", step).exit_code, 0);
        const fs::path undisturbed = fresh();
        EXPECT_EQ(save(undisturbed, 6, shim_.counting(undisturbed)).exit_code, 0);
        calls_ = shim_.counted_calls(0);
        before_ = newest(directory_ / "before");
        after_ = newest(undisturbed);
    }

    fs::path fresh() {
        const fs::path run = directory_ / ("run-" + std::to_string(number_++));
        fs::copy(directory_ / "before", run, fs::copy_options::recursive);
        return run;
    }

    /// Of the newest generation; every committed one must be valid, and hold what its manifest says.
    static Fingerprint newest(const fs::path& run) {
        Fingerprint digest;
        for (const GenerationStatus& status : list_generations(run)) {
            if (!status.committed) continue;
            EXPECT_TRUE(status.valid) << status.problem;
            if (!status.valid) return {};
            const GenerationReader reader = GenerationReader::open(run, *status.manifest);
            digest = state_digest_of(reader, status.manifest->state_elements);
            EXPECT_EQ(digest, status.manifest->state_digest);
        }
        return digest;
    }

    ProgramResult save_with(const SyscallFault& fault, const fs::path& run) {
        const ProgramResult result = save(run, 6, shim_.with(fault, run));
        EXPECT_TRUE(shim_.happened());
        return result;
    }

    void expect_neighbour_and_recovery(const fs::path& run, bool saved) {
        const Fingerprint found = newest(run);
        EXPECT_TRUE(found == after_ || (!saved && found == before_)) << "a third state, " << found.hex();
        const ProgramResult again = save(run, 6);
        EXPECT_EQ(again.exit_code, 0) << again.err;
        EXPECT_EQ(newest(run), after_);
        for (const auto& entry : fs::recursive_directory_iterator(run)) {
            EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
        }
    }

    TemporaryDirectory directory_;
    SyscallShim shim_{directory_.path()};
    int number_ = 0;
    std::vector<std::string> calls_;
    Fingerprint before_, after_;
};

TEST_F(SyscallTest, ASaveMakesTheCallsItIsKnownFor) {
    for (const char* name : {"open", "write", "pwrite", "fsync", "ftruncate", "close", "mkdir", "unlink"}) {
        EXPECT_NE(std::count(calls_.begin(), calls_.end(), name), 0) << name;
    }
    EXPECT_GE(std::count(calls_.begin(), calls_.end(), "rename") +
                  std::count(calls_.begin(), calls_.end(), "renameat2"),
              3)
        << "shard, ledger segment, manifest";
}

TEST_F(SyscallTest, AFailureLeavesTheGenerationBeforeOrTheNext) {
    const std::vector<SyscallEffect> errors = {SyscallEffect::no_space, SyscallEffect::io_error,
                                               SyscallEffect::over_quota};
    int failures = 0;
    for (const SyscallFault& fault : possible_faults(0, calls_)) {
        const auto kind = std::find(errors.begin(), errors.end(), fault.effect) - errors.begin();
        if (kind == std::ssize(errors) ||
            (!in_full() && static_cast<std::ptrdiff_t>(fault.call) % std::ssize(errors) != kind))
            continue;
        const fs::path run = fresh();
        SCOPED_TRACE(to_text(fault));
        const ProgramResult result = save_with(fault, run);
        EXPECT_TRUE(result.exit_code == 0 || result.exit_code == 74) << result.exit_code << result.err;
        EXPECT_LE(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
        EXPECT_EQ(result.exit_code == 0 && result.err.empty(), result.err.empty()) << "no silent failure";
        failures += result.exit_code == 74 ? 1 : 0;
        expect_neighbour_and_recovery(run, result.exit_code == 0);
        if (HasFailure()) return;
        fs::remove_all(run);
    }
    EXPECT_GT(failures, 10);
}

TEST_F(SyscallTest, InterruptedCallsAndShortWritesAreContinued) {
    for (const SyscallFault& fault : possible_faults(0, calls_)) {
        if (!is_continued(fault.effect)) continue;
        if (!in_full() && (fault.call % 2 == 0) == (fault.effect == SyscallEffect::short_write)) continue;
        const fs::path run = fresh();
        SCOPED_TRACE(to_text(fault));
        const ProgramResult result = save_with(fault, run);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        EXPECT_EQ(newest(run), after_);
        if (HasFailure()) return;
        fs::remove_all(run);
    }
}

TEST_F(SyscallTest, KilledAtAnyCallANeighbourLoads) {
    for (const SyscallFault& fault : possible_faults(0, calls_)) {
        if (fault.effect != SyscallEffect::kill) continue;
        const fs::path run = fresh();
        SCOPED_TRACE(to_text(fault));
        const ProgramResult result = save_with(fault, run);
        EXPECT_EQ(result.exit_code, 137) << result.err;
        expect_neighbour_and_recovery(run, false);
        if (HasFailure()) return;
        fs::remove_all(run);
    }
}

TEST_F(SyscallTest, AFaultHappensOnceAndInOneRankOnly) {
    const fs::path run = fresh();
    const Environment killing = shim_.with({0, 3, SyscallEffect::kill, ""}, run);
    EXPECT_EQ(save(run, 6, killing).exit_code, 137);
    EXPECT_TRUE(shim_.happened());
    EXPECT_EQ(save(run, 6, killing).exit_code, 0);
    const fs::path other = fresh();
    EXPECT_EQ(save(other, 6, shim_.with({1, 3, SyscallEffect::kill, ""}, other)).exit_code, 0);
    EXPECT_FALSE(shim_.happened());
}

}  // namespace
}  // namespace lockstep::test
