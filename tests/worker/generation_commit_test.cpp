#include "worker/generation_commit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include "io/base/error.h"
#include "io/comm/agreement.h"
#include "io/files/commit_hook.h"
#include "io/files/directory.h"
#include "io/run/generation_files.h"
#include "io/run/state_digest.h"
#include "tests/support/mpi_main.h"
#include "tests/support/temporary_directory.h"
#include "tests/worker/model_cases.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

/// One run directory, seen by all ranks.
std::string shared_folder() {
    static const TemporaryDirectory own;
    Communicator& comm = test_communicator();
    static int number = 0;
    const std::string name = (own.path() / std::to_string(number++)).string();
    std::vector<std::byte> bytes;
    if (comm.rank().value == 0) {
        const auto raw = std::as_bytes(std::span(name.data(), name.size()));
        bytes.assign(raw.begin(), raw.end());
    }
    broadcast_bytes(comm, bytes, Rank{0});
    const std::string folder(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (comm.rank().value == 0) create_directories_durably(folder);
    comm.barrier();
    return folder;
}

/// Called at every commit point while it lives. Declared before the committer, whose thread uses it to the
/// end.
class CommitHook {
  public:
    explicit CommitHook(std::function<void(std::string_view at)> hook) { set_commit_hook(std::move(hook)); }
    ~CommitHook() { set_commit_hook({}); }
    CommitHook(const CommitHook&) = delete;
    CommitHook& operator=(const CommitHook&) = delete;
};

/// Holds every thread that passes a commit point until it is opened. Declared before the committer, too.
class Gate {
  public:
    explicit Gate(std::string point)
        : hook_([this, point = std::move(point)](std::string_view at) {
              if (at != point) return;
              std::unique_lock lock(mutex_);
              changed_.wait(lock, [this] { return open_; });
          }) {}
    void open() {
        const std::lock_guard lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false;
    CommitHook hook_;
};

/// What training has at a step boundary, without training.
class GenerationCommitTest : public testing::Test {
  protected:
    GenerationCommitTest() {
        state_.initialize(3);
        cursor_.numerics = "fma256";
        cursor_.plan.bytes[0] = 1;
        cursor_.model.bytes[0] = 2;
        cursor_.ledger_root = empty_ledger_root();
    }

    bool is_root() const { return comm_.rank().value == 0; }

    std::unique_ptr<GenerationCommitter> committer(const fs::path& run,
                                                   SnapshotMode mode = SnapshotMode::copy,
                                                   RetentionRule rule = {}) {
        return std::make_unique<GenerationCommitter>(comm_, pool_, state_, CommitBase{},
                                                     CommitOptions{run, rule, mode});
    }

    /// The next step is the first.
    void begin_again() {
        cursor_.next_step = 0;
        cursor_.ledger_root = empty_ledger_root();
        rows_.clear();
    }

    /// One step: a row, and a state that shows the step.
    void step() {
        std::vector<LedgerRow> all(static_cast<std::size_t>(comm_.size().value));
        for (std::size_t rank = 0; rank < all.size(); ++rank) {
            all[rank].step = cursor_.next_step;
            all[rank].pack = cursor_.next_step * all.size() + rank;
            all[rank].tokens = 10;
            all[rank].loss = 0.5;
        }
        rows_.push_back(all[static_cast<std::size_t>(comm_.rank().value)]);
        cursor_.ledger_root = advance_ledger_root(cursor_.ledger_root, cursor_.next_step, all);
        for (float& w : state_.weights()) w += 1.0F;
        ++cursor_.next_step;
    }

    void begin(GenerationCommitter& committer) {
        committer.begin(cursor_, rows_);
        rows_.clear();
    }

    /// What the step's own all-reduce does. @return whether a generation is still in flight.
    bool advance(GenerationCommitter& committer) {
        GenerationCommitter::Report report = committer.report();
        comm_.sum(report);
        committer.advance(report);
        return committer.in_flight();
    }

    /// What ends the generation in flight, met while waiting for it or in the steps that follow.
    AgreedError failure_of(GenerationCommitter& committer, bool waits) {
        try {
            if (waits) committer.drain();
            while (advance(committer)) step();
        } catch (const AgreedError& error) {
            return error;
        }
        ADD_FAILURE() << "it was committed";
        return {ErrorCode::bug, ""};
    }

    Fingerprint digest_on_disk(const fs::path& run, std::uint64_t step) {
        for (const GenerationStatus& status : list_generations(run)) {
            if (status.step != step) continue;
            EXPECT_TRUE(status.valid) << status.problem;
            const GenerationReader reader = GenerationReader::open(run, *status.manifest);
            const Fingerprint found = state_digest_of(reader, status.manifest->state_elements);
            EXPECT_EQ(found, status.manifest->state_digest);
            return found;
        }
        ADD_FAILURE() << "no generation " << step;
        return {};
    }

    Communicator& comm_ = test_communicator();
    ThreadPool pool_{2};
    StateLayout layout_{small_gpt2(64, 6000)};  // More than one leaf.
    ShardedState state_{comm_, pool_, layout_};
    Cursor cursor_;
    std::vector<LedgerRow> rows_;
};

TEST_F(GenerationCommitTest, HoldsTheStateAtTheSnapshotWhateverComesAfter) {
    const fs::path run = shared_folder();
    const auto commits = committer(run);
    step();
    begin(*commits);
    const float at_snapshot = state_.weights()[0];
    EXPECT_TRUE(commits->in_flight());
    EXPECT_EQ(commits->snapshot_step(), 1U);
    while (advance(*commits)) step();
    EXPECT_EQ(commits->base().step, 1U);
    if (is_root()) {
        EXPECT_EQ(digest_on_disk(run, 1), commits->state_digest());
        std::vector<std::string> rejected;
        const GenerationReader reader = GenerationReader::open(run, *newest_valid_generation(run, rejected));
        std::vector<float> first(1);
        reader.read_weights(0, first);
        EXPECT_EQ(first[0], at_snapshot);
    }
    comm_.barrier();
}

TEST_F(GenerationCommitTest, TheGenerationBeforeTheFirstStepHasNoLedgerSegment) {
    const fs::path run = shared_folder();
    const auto commits = committer(run);
    EXPECT_EQ(commits->snapshot_step(), 0U);
    begin(*commits);
    commits->drain();
    EXPECT_EQ(commits->snapshot_step(), 0U);
    step();
    begin(*commits);
    commits->drain();
    EXPECT_EQ(commits->snapshot_step(), 1U) << "the base of the next";
    if (is_root()) {
        digest_on_disk(run, 0);
        EXPECT_FALSE(read_manifest(run, 0).ledger_head);
        EXPECT_TRUE(read_manifest(run, 1).ledger_head);
        EXPECT_EQ(read_manifest(run, 1).parent_step, 0U);
        EXPECT_EQ(directory_entries(run / "ledger").size(), 1U);
    }
    comm_.barrier();
}

TEST_F(GenerationCommitTest, AStepNeverWaitsForTheDisk) {
    const fs::path run = shared_folder();
    Gate gate("shard:written");
    const auto commits = committer(run);
    step();
    begin(*commits);
    for (int i = 0; i < 20; ++i) {
        step();
        EXPECT_TRUE(advance(*commits)) << "nothing can be committed while the shards are held";
    }
    EXPECT_FALSE(path_exists(generation_directory(run, 1) / "manifest.json"));
    gate.open();
    commits->drain();
    EXPECT_FALSE(commits->in_flight());
    if (is_root()) {
        EXPECT_EQ(digest_on_disk(run, 1), commits->state_digest());
    }
    comm_.barrier();
}

/// Ranks that come to a generation only when others are through with its beginning: begin() that waited for
/// anybody would wait for ever.
TEST_F(GenerationCommitTest, NoRankWaitsForAnotherToBegin) {
    constexpr int tag = 7;
    comm_.set_timeout(std::chrono::seconds(60));
    const fs::path run = shared_folder();
    const auto commits = committer(run);
    const int world = comm_.size().value;
    std::byte word{1};
    const auto tell = [&](int rank) { comm_.send(std::span(&word, 1), Rank{rank}, tag)->wait(); };
    const auto hear_of = [&](int rank) { comm_.receive(std::span(&word, 1), Rank{rank}, tag)->wait(); };

    step();
    if (!is_root()) hear_of(0);
    begin(*commits);
    for (int peer = 1; is_root() && peer < world; ++peer) tell(peer);
    commits->drain();

    step();
    for (int peer = 1; is_root() && peer < world; ++peer) hear_of(peer);
    begin(*commits);
    if (!is_root()) tell(0);
    while (advance(*commits)) step();
    if (is_root()) {
        digest_on_disk(run, 1);
        EXPECT_EQ(digest_on_disk(run, 2), commits->state_digest());
    }
    comm_.set_timeout(std::chrono::seconds(600));
    comm_.barrier();
}

/// Between two steps alone: nobody comes to an advance().
TEST_F(GenerationCommitTest, ItIsDurableWithinAStepThatAsksOften) {
    const fs::path run = shared_folder();
    const auto commits = committer(run);
    step();
    begin(*commits);
    const fs::path manifest = generation_directory(run, 1) / "manifest.json";
    while (!path_exists(manifest)) {
        commits->progress();
        std::this_thread::yield();
    }
    EXPECT_TRUE(commits->in_flight()) << "until all ranks have heard of it";
    while (advance(*commits)) step();
    EXPECT_EQ(commits->base().step, 1U);
    comm_.barrier();
}

TEST_F(GenerationCommitTest, TheSameBytesAsWhenTheStepsWait) {
    const auto files_of = [&](SnapshotMode mode) {
        state_.initialize(3);
        begin_again();
        const fs::path run = shared_folder();
        const auto commits = committer(run, mode, {8, 0});
        for (int i = 0; i < 4; ++i) {
            step();
            if (i == 0 || i == 3) begin(*commits);
            advance(*commits);
        }
        commits->drain();
        std::map<std::string, std::string> files;
        if (is_root()) {
            for (const auto& entry : fs::recursive_directory_iterator(run)) {
                if (entry.is_regular_file())
                    files[fs::relative(entry.path(), run).string()] = read_file(entry.path());
            }
        }
        comm_.barrier();
        return files;
    };
    const auto beside = files_of(SnapshotMode::copy);
    EXPECT_TRUE(beside == files_of(SnapshotMode::borrow));
    if (is_root()) {
        EXPECT_EQ(beside.size(), 4U + 2U * static_cast<std::size_t>(comm_.size().value));
    }
}

TEST_F(GenerationCommitTest, OneInFlightTheNextWaitsForIt) {
    const fs::path run = shared_folder();
    const auto commits = committer(run, SnapshotMode::copy, {2, 4});
    std::vector<GenerationCost> costs;
    commits->on_committed = [&](const GenerationCost& cost) { costs.push_back(cost); };
    for (int i = 0; i < 12; ++i) {
        step();
        if (i % 2 == 1) begin(*commits);
        advance(*commits);
    }
    commits->drain();
    if (is_root()) {
        ASSERT_EQ(costs.size(), 6U);
        for (std::size_t i = 0; i < costs.size(); ++i) {
            EXPECT_EQ(costs[i].step, 2 * (i + 1));
            EXPECT_GT(costs[i].bytes, layout_.size() * 12);
            EXPECT_GE(costs[i].stall_seconds, costs[i].copy_seconds + costs[i].waited_seconds);
            EXPECT_GE(costs[i].durable_seconds, costs[i].write_seconds);
        }
        std::vector<std::uint64_t> steps;
        for (const GenerationStatus& status : list_generations(run)) {
            EXPECT_TRUE(status.valid) << status.problem;
            steps.push_back(status.step);
        }
        EXPECT_EQ(steps, (std::vector<std::uint64_t>{4, 8, 10, 12})) << "two newest, and one of every four";
    } else {
        EXPECT_TRUE(costs.empty());
    }
    comm_.barrier();
}

TEST_F(GenerationCommitTest, WhatTheLoopWaitsIsCountedOnce) {
    using Clock = std::chrono::steady_clock;
    // Slow enough that every generation but the first finds another in flight.
    const CommitHook slow([](std::string_view at) {
        if (at == "shard:before-write") std::this_thread::sleep_for(std::chrono::milliseconds(20));
    });
    const fs::path run = shared_folder();
    const auto commits = committer(run);
    double stalled = 0, waited = 0;
    commits->on_committed = [&](const GenerationCost& cost) {
        stalled += cost.stall_seconds;
        waited += cost.waited_seconds;
    };
    double inside = 0;
    const auto timed = [&](const auto& call) {
        const Clock::time_point begin = Clock::now();
        call();
        inside += std::chrono::duration<double>(Clock::now() - begin).count();
    };
    for (int i = 0; i < 4; ++i) {
        step();
        timed([&] { begin(*commits); });
        GenerationCommitter::Report report;
        timed([&] { report = commits->report(); });
        comm_.sum(report);
        timed([&] { commits->advance(report); });
    }
    timed([&] { commits->drain(); });
    if (is_root()) {
        EXPECT_GT(waited, 0);
        EXPECT_LE(stalled, inside);
    }
    comm_.barrier();
}

TEST_F(GenerationCommitTest, AFailureOfOneRankIsTheSameErrorOnAll) {
    for (const bool waits : {false, true}) {
        const fs::path run = shared_folder();
        const Rank victim{comm_.size().value - 1};
        const CommitHook full([is_victim = comm_.rank() == victim](std::string_view at) {
            if (is_victim && at == "shard:written") {
                throw Error(ErrorCode::io_failure, "no space left for 'the shard'");
            }
        });
        const auto commits = committer(run);
        begin_again();
        step();
        begin(*commits);
        const AgreedError error = failure_of(*commits, waits);
        EXPECT_EQ(error.code(), ErrorCode::io_failure);
        const std::string message = error.what();
        EXPECT_NE(message.find("no space left for 'the shard'"), std::string::npos) << message;
        if (comm_.size().value > 1) {
            EXPECT_EQ(message.find("rank " + std::to_string(victim.value)), 0U) << message;
        }
        EXPECT_FALSE(commits->in_flight()) << "so that draining has nothing to wait for";
        commits->drain();
        comm_.barrier();
        EXPECT_FALSE(path_exists(generation_directory(run, 1) / "manifest.json"));
        comm_.barrier();
    }
}

TEST_F(GenerationCommitTest, RowsThatLeadToAnotherRootAreAnErrorOfAll) {
    for (const bool waits : {false, true}) {
        const fs::path run = shared_folder();
        const auto commits = committer(run);
        begin_again();
        step();
        if (comm_.rank().value == comm_.size().value - 1) rows_.front().loss = 0.25;
        begin(*commits);
        const std::string message = failure_of(*commits, waits).what();
        EXPECT_NE(message.find("root"), std::string::npos) << message;
        EXPECT_FALSE(commits->in_flight());
        comm_.barrier();
        EXPECT_FALSE(path_exists(generation_directory(run, 1) / "manifest.json"));
    }
}

TEST_F(GenerationCommitTest, AManifestThatCannotBeWrittenIsAnErrorOfAll) {
    const fs::path run = shared_folder();
    const CommitHook full([](std::string_view at) {
        if (at == "manifest:before-write") throw Error(ErrorCode::io_failure, "quota");
    });
    const auto commits = committer(run);
    step();
    begin(*commits);
    EXPECT_THROW(commits->drain(), AgreedError);
    EXPECT_FALSE(commits->in_flight());
    comm_.barrier();
}

TEST_F(GenerationCommitTest, WhatIsCommittedStaysSoThoughOldOnesCannotGo) {
    const fs::path run = shared_folder();
    const CommitHook stubborn([](std::string_view at) {
        if (at == "prune:before-manifest") throw std::runtime_error("no error of ours");
    });
    const auto commits = committer(run);
    for (int i = 0; i < 3; ++i) {
        step();
        begin(*commits);
        commits->drain();
    }
    EXPECT_EQ(commits->base().step, 3U);
    if (is_root()) {
        EXPECT_EQ(list_generations(run).size(), 3U);
    }
    comm_.barrier();
}

/// Last: its messages may be left under way.
TEST_F(GenerationCommitTest, GivenUpItIsAnAttemptThatIsSwept) {
    const fs::path run = shared_folder();
    {
        const GenerationCommitter* in_hook = nullptr;
        std::atomic<bool> met = false;
        const CommitHook held([&](std::string_view at) {
            if (at != "shard:before-write") return;
            met = true;
            // As long as a disk may take: until nobody wants the generation any more.
            while (!in_hook->given_up()) std::this_thread::yield();
        });
        {
            const auto commits = committer(run);
            in_hook = commits.get();
            step();
            begin(*commits);
            while (!met) commits->progress();
        }
    }
    EXPECT_FALSE(path_exists(generation_directory(run, 1) / shard_file_name(comm_.rank(), comm_.size())))
        << "the thread goes on writing for nobody";
    comm_.barrier();
    if (is_root()) {
        const auto generations = list_generations(run);
        for (const GenerationStatus& status : generations) EXPECT_FALSE(status.committed);
        settle_run_directory(run, std::nullopt, std::nullopt);
        EXPECT_TRUE(list_generations(run).empty());
    }
    comm_.barrier();
}

}  // namespace
}  // namespace lockstep
