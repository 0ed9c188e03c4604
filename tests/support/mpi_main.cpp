#include "tests/support/mpi_main.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include "io/comm/mpi_communicator.h"

namespace lockstep {

namespace {

MpiEnvironment* the_environment = nullptr;
Communicator* the_communicator = nullptr;

/// On ranks other than 0: failures only, with the rank in front.
class FailurePrinter : public testing::EmptyTestEventListener {
  public:
    explicit FailurePrinter(int rank) : rank_(rank) {}

  private:
    void OnTestStart(const testing::TestInfo& info) override {
        test_ = std::string(info.test_suite_name()) + "." + info.name();
    }
    void OnTestPartResult(const testing::TestPartResult& result) override {
        if (!result.failed()) return;
        std::fprintf(stderr, "rank %d: %s failed at %s:%d\n%s\n", rank_, test_.c_str(),
                     result.file_name() == nullptr ? "?" : result.file_name(), result.line_number(),
                     result.message());
        std::fflush(stderr);
    }

    int rank_;
    std::string test_;
};

void leave_printing_to_rank_0(int rank) {
    if (rank == 0) return;
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(rank));
}

bool world_is_as_asked(const Communicator& comm) {
    const char* const asked = std::getenv("LOCKSTEP_TEST_RANKS");
    const int found = comm.size().value;
    if (asked != nullptr && std::to_string(found) == asked) return true;
    if (comm.rank().value == 0) {
        std::fprintf(stderr, "the world has %d ranks; LOCKSTEP_TEST_RANKS asks for %s\n", found,
                     asked == nullptr ? "none (run through ctest)" : asked);
    }
    return false;
}

/// Run the tests; the verdict of all ranks together.
int run_tests(Communicator& comm) {
    leave_printing_to_rank_0(comm.rank().value);
    bool failed = !world_is_as_asked(comm);
    if (!failed) {
        failed = RUN_ALL_TESTS() != 0;
        if (testing::UnitTest::GetInstance()->test_to_run_count() == 0) {
            std::fprintf(stderr, "rank %d: no test was run\n", comm.rank().value);
            failed = true;
        }
    }
    std::int64_t anyone_failed = failed ? 1 : 0;
    comm.set_phase("verdict of the tests");
    comm.max(std::span(&anyone_failed, 1));
    return anyone_failed != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

}  // namespace

Communicator& test_communicator() {
    return *the_communicator;
}

std::unique_ptr<Communicator> make_test_communicator() {
    return the_environment->make_communicator();
}

}  // namespace lockstep

int main(int argc, char** argv) {
    lockstep::MpiEnvironment environment;
    testing::InitGoogleTest(&argc, argv);
    const std::unique_ptr<lockstep::Communicator> comm = environment.make_communicator();
    // A rank that fails a test alone leaves the others in a collective; this ends it before ctest's own
    // timeout.
    comm->set_timeout(std::chrono::seconds(60));
    lockstep::the_environment = &environment;
    lockstep::the_communicator = comm.get();
    try {
        return lockstep::run_tests(*comm);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "rank %d: %s\n", comm->rank().value, failure.what());
        comm->abort(EXIT_FAILURE);
    }
}
