// worker/generation_commit.h
//
// The commit protocol of a generation (DESIGN §7), beside the training. A step
// waits for this rank's own copy of its state, and for no other rank; one thread a
// rank writes, hashes and syncs the shard, rank 0's then ledger segment and
// manifest, whose rename is the commit. That thread makes no MPI call: between its
// own work the loop sends rank 0 what became of the shard, and what came of it all
// travels in the small all-reduce every step has anyway. At most one generation is
// in flight.

#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "io/comm/communicator.h"
#include "io/comm/pending_gather.h"
#include "io/run/checkpoint.h"
#include "io/run/ledger.h"
#include "io/run/retention.h"
#include "worker/background_task.h"
#include "worker/generation_cost.h"
#include "worker/generation_messages.h"
#include "worker/state_snapshot.h"

namespace lockstep {

/// What a commit builds on. Only rank 0 needs `ledger_head`.
struct CommitBase {
    std::uint64_t step = 0;               ///< Steps covered by the generation before; 0: none.
    std::optional<std::uint64_t> parent;  ///< Its number, if there is one.
    std::optional<LedgerSegmentName> ledger_head;
    Fingerprint ledger_root = empty_ledger_root();
};

struct CommitOptions {
    std::filesystem::path run;
    RetentionRule retention;
    SnapshotMode snapshot = SnapshotMode::copy;
};

class GenerationCommitter {
  public:
    /// Allocates what a snapshot needs. Everything borrowed outlives it.
    GenerationCommitter(Communicator& comm, ThreadPool& pool, const ShardedState& state, CommitBase base,
                        CommitOptions options);
    /// Gives up what is in flight: it is then an attempt without a manifest, and its messages may be left
    /// under way, so that the communicator is not fit for another committer.
    ~GenerationCommitter();
    GenerationCommitter(const GenerationCommitter&) = delete;
    GenerationCommitter& operator=(const GenerationCommitter&) = delete;

    /// Called on rank 0 for every generation once it is committed.
    std::function<void(const GenerationCost&)> on_committed;

    /// By every rank. Snapshot of the state at `cursor`; the rest happens beside the steps that follow.
    /// Finishes the generation in flight first, and waits for that.
    /// @param rows  this rank's packs of the steps since the last snapshot, in any order. With those of the
    ///              other ranks they must lead to the cursor's ledger root, or the generation fails.
    /// @throws as drain.
    void begin(const Cursor& cursor, std::span<const LedgerRow> rows);

    /// By any rank, as often as it likes: does what is to be done next and can be done without waiting.
    /// Called between the parts of a step, the generation is durable before the next step ends.
    void progress();

    /// Being destroyed: the thread leaves its work at the next place where it may. Any thread.
    bool given_up() const { return given_up_; }
    bool in_flight() const { return stage_ != Stage::idle; }
    /// Steps covered by the last snapshot, committed or in flight.
    std::uint64_t snapshot_step() const;

    /// What a rank has to say in a step; all ranks' words are added up.
    static constexpr std::size_t report_words = 6;
    using Report = std::array<std::int64_t, report_words>;
    /// Does what progress() does, first.
    Report report();
    /// Collective, with the sum of all ranks' reports of this step. Waits for no disk.
    /// After a failure nothing is in flight any more, and nothing may be begun.
    /// @throws AgreedError on every rank if any rank could not write; nothing committed is lost then.
    void advance(const Report& sum);

    /// Collective. Wait until what is in flight is committed. @throws as advance.
    void drain();

    /// What the next generation builds on. @pre nothing is in flight.
    const CommitBase& base() const { return base_; }
    /// Of the newest generation committed here; empty before the first.
    const Fingerprint& state_digest() const { return state_digest_; }

  private:
    using Clock = std::chrono::steady_clock;
    /// Of this rank; ranks are at different ones, but all leave and reach `idle` in the same step.
    enum class Stage {
        idle,
        writing,     ///< The thread: shard and leaves.
        reporting,   ///< Reports are on their way to rank 0; elsewhere it stays at that.
        committing,  ///< Rank 0's thread: ledger segment and manifest.
        failed,
    };

    bool is_root() const { return comm_.rank().value == 0; }
    enum class Asking : bool { not_now, allowed };  ///< MPI, whether a message has come.
    void enter(Stage stage);
    void go_on(Asking asking);
    void write_own_shard();
    void hash_own_shard();
    LedgerSegment cut_segment(std::vector<LedgerRow> rows) const;
    void commit();
    /// As drain. @param waited_seconds  what the loop waited is added here.
    void complete(double& waited_seconds);
    void finish(const Fingerprint& state_digest);
    void give_up_together();
    void pause() const;

    Communicator& comm_;
    CommitOptions options_;
    CommitBase base_;
    StateSnapshot snapshot_;
    Stage stage_ = Stage::idle;
    std::uint64_t calls_in_stage_ = 0;      ///< Of progress().
    std::optional<Error> failure_;          ///< When failed.
    std::optional<PendingGather> reports_;  ///< Once this rank has sent its own.
    Fingerprint state_digest_;

    // Of the generation in flight. The thread and the loop never use the same at one time: BackgroundTask
    // hands them over. Of the cost, each has its own members.
    Cursor cursor_;
    ShardReport shard_;                                  ///< This rank's.
    std::vector<std::byte> report_;                      ///< The same encoded; empty until it is hashed.
    std::atomic<bool> has_tails_ = false;                ///< Of the snapshot.
    std::vector<std::vector<std::byte>> shard_reports_;  ///< Rank 0: everyone's, encoded.
    Manifest manifest_;                                  ///< Rank 0.
    GenerationCost cost_;
    Clock::time_point began_;
    std::atomic<bool> given_up_ = false;
    BackgroundTask task_;  ///< Last, so that it ends before what it uses.
};

}  // namespace lockstep
