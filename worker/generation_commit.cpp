#include "worker/generation_commit.h"

#include <time.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>
#include <tuple>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"

namespace lockstep {

namespace {

constexpr int reports_tag = 110;

// Words of a report.
constexpr std::size_t failed = 0, committed = 1, digest_begin = 2;

double seconds_between(std::chrono::steady_clock::time_point begin,
                       std::chrono::steady_clock::time_point end) {
    return std::chrono::duration<double>(end - begin).count();
}

/// Time on a processor of the calling thread [s].
double processor_seconds() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Adds the time it lives to a sum.
class Stopwatch {
  public:
    explicit Stopwatch(double& sum) : sum_(sum), begin_(std::chrono::steady_clock::now()) {}
    ~Stopwatch() { sum_ += seconds_between(begin_, std::chrono::steady_clock::now()); }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

  private:
    double& sum_;
    std::chrono::steady_clock::time_point begin_;
};

}  // namespace

GenerationCommitter::GenerationCommitter(Communicator& comm, ThreadPool& pool, const ShardedState& state,
                                         CommitBase base, CommitOptions options)
    : comm_(comm),
      options_(std::move(options)),
      base_(std::move(base)),
      snapshot_(comm, pool, state, options_.snapshot) {}

GenerationCommitter::~GenerationCommitter() {
    given_up_ = true;
}

std::uint64_t GenerationCommitter::snapshot_step() const {
    return stage_ == Stage::idle ? base_.step : cursor_.next_step;
}

void GenerationCommitter::pause() const {
    if (given_up()) throw Error(ErrorCode::stopped, "the generation was given up");
}

void GenerationCommitter::begin(const Cursor& cursor, std::span<const LedgerRow> rows) {
    LOCKSTEP_EXPECTS(!failure_);
    const Clock::time_point begin = Clock::now();
    // This generation is the one that waits; the one before does not count it again.
    double waited = 0;
    complete(waited);
    began_ = Clock::now();
    cost_ = {};
    cost_.step = cursor.next_step;
    cost_.waited_seconds = waited;

    cursor_ = cursor;
    report_.clear();
    shard_.rows.assign(rows.begin(), rows.end());
    {
        const Stopwatch stopwatch(cost_.copy_seconds);
        snapshot_.take();
    }
    has_tails_ = !snapshot_.awaits_tails();
    enter(Stage::writing);
    task_.begin([this] { write_own_shard(); });
    cost_.stall_seconds = seconds_between(begin, Clock::now());
    if (options_.snapshot == SnapshotMode::borrow) drain();
}

void GenerationCommitter::enter(Stage stage) {
    stage_ = stage;
    calls_in_stage_ = 0;
}

void GenerationCommitter::progress() {
    if (stage_ == Stage::idle) return;
    const Stopwatch stopwatch(cost_.stall_seconds);
    // A question goes through all of MPI's devices, over TCP with system calls; asked at every tensor it
    // would add up.
    go_on(std::has_single_bit(++calls_in_stage_) ? Asking::allowed : Asking::not_now);
}

/// From stage to stage, up to one that is not over.
void GenerationCommitter::go_on(Asking asking) {
    const bool may_ask = asking == Asking::allowed;
    // Also where nothing comes in any more: what goes out moves on only while it is asked after.
    if (may_ask) has_tails_ = snapshot_.has_tails();
    const bool reports_done = may_ask && reports_ && reports_->test();
    if (stage_ == Stage::writing || stage_ == Stage::committing) {
        if (task_.busy()) return;
        failure_ = task_.failure();
        if (failure_) enter(Stage::failed);
    }
    if (stage_ == Stage::writing && report_.empty()) {
        if (has_tails_) task_.begin([this] { hash_own_shard(); });
        return;
    }
    if (stage_ == Stage::writing) {
        reports_.emplace(comm_, std::move(report_), Rank{0}, reports_tag);
        enter(Stage::reporting);
    }
    if (stage_ == Stage::reporting && is_root() && reports_done) {
        shard_reports_ = reports_->take();
        enter(Stage::committing);
        task_.begin([this] { commit(); });
    }
}

/// In the thread.
void GenerationCommitter::write_own_shard() {
    const double before = processor_seconds();
    {
        const Stopwatch stopwatch(cost_.write_seconds);
        shard_.shard = write_shard(generation_directory(options_.run, cursor_.next_step), comm_.rank(),
                                   comm_.size(), cursor_, snapshot_.slice().begin, snapshot_.weights(),
                                   snapshot_.adam_m(), snapshot_.adam_v(), [this] { pause(); });
    }
    cost_.processor_seconds += processor_seconds() - before;
    // As a rule they have come meanwhile.
    if (has_tails_) hash_own_shard();
}

/// In the thread. @pre the snapshot has its tails.
void GenerationCommitter::hash_own_shard() {
    const double before = processor_seconds();
    {
        const Stopwatch stopwatch(cost_.write_seconds);
        shard_.leaves = snapshot_.leaves([this] { pause(); });
        report_ = encode_report(shard_);
    }
    cost_.processor_seconds += processor_seconds() - before;
}

GenerationCommitter::Report GenerationCommitter::report() {
    progress();
    Report report{};
    if (stage_ == Stage::failed) report[failed] = 1;
    if (stage_ == Stage::committing && is_root() && !task_.busy() && !task_.failure()) {
        report[committed] = 1;
        std::memcpy(&report[digest_begin], manifest_.state_digest.bytes.data(), sizeof(Fingerprint));
    }
    return report;
}

void GenerationCommitter::advance(const Report& sum) {
    if (stage_ == Stage::idle) return;
    if (sum[failed] != 0) {
        give_up_together();
        agree_or_throw(comm_, failure_);
    } else if (sum[committed] != 0) {
        Fingerprint digest;
        std::memcpy(digest.bytes.data(), &sum[digest_begin], sizeof digest);
        finish(digest);
    } else {
        // The all-reduce has just moved on whatever was under way.
        const Stopwatch stopwatch(cost_.stall_seconds);
        go_on(Asking::allowed);
    }
}

void GenerationCommitter::drain() {
    complete(cost_.stall_seconds);
}

void GenerationCommitter::complete(double& waited_seconds) {
    if (stage_ == Stage::idle) return;
    const Clock::time_point begin = Clock::now();
    const auto check = [&] {
        if (failure_) throw Error(*failure_);
    };
    try {
        snapshot_.wait_for_tails();
        for (; stage_ == Stage::writing; go_on(Asking::allowed)) task_.wait();
        together(comm_, "writing shards", check);
        reports_->wait();
        go_on(Asking::allowed);
        task_.wait();
        go_on(Asking::allowed);
        together(comm_, "committing", check);
    } catch (const AgreedError&) {
        give_up_together();
        throw;
    } catch (...) {
        stage_ = Stage::idle;
        throw;
    }
    Fingerprint digest = manifest_.state_digest;
    comm_.broadcast(std::as_writable_bytes(std::span(digest.bytes)), Rank{0});
    waited_seconds += seconds_between(begin, Clock::now());
    finish(digest);
}

/// All ranks know that one has failed, and leave no message behind.
void GenerationCommitter::give_up_together() {
    stage_ = Stage::idle;
    snapshot_.wait_for_tails();
    // Where a shard failed, or is still being written for nobody.
    if (!reports_) reports_.emplace(comm_, std::vector<std::byte>(), Rank{0}, reports_tag);
    reports_->wait();
    reports_.reset();
}

/// All rows of the interval, in plan order.
LedgerSegment GenerationCommitter::cut_segment(std::vector<LedgerRow> rows) const {
    LedgerSegment segment;
    segment.step_begin = base_.step;
    segment.step_end = cursor_.next_step;
    segment.plan = cursor_.plan;
    segment.root_before = base_.ledger_root;
    segment.root_after = cursor_.ledger_root;
    segment.previous = base_.ledger_head;
    segment.rows = std::move(rows);
    std::sort(segment.rows.begin(), segment.rows.end(), [](const LedgerRow& a, const LedgerRow& b) {
        return std::tie(a.step, a.pack, a.rank) < std::tie(b.step, b.pack, b.rank);
    });
    return segment;
}

/// In rank 0's thread.
void GenerationCommitter::commit() {
    const double before = processor_seconds();
    manifest_ = Manifest();
    manifest_.step = cursor_.next_step;
    manifest_.cursor = cursor_;
    std::vector<StateLeaves> leaves;
    std::vector<LedgerRow> rows;
    for (const std::vector<std::byte>& bytes : std::exchange(shard_reports_, {})) {
        ShardReport report = decode_report(bytes);
        cost_.bytes += report.shard.file_bytes;
        manifest_.shards.push_back(std::move(report.shard));
        leaves.push_back(std::move(report.leaves));
        rows.insert(rows.end(), report.rows.begin(), report.rows.end());
    }
    manifest_.state_digest = state_digest_of_leaves(cursor_, leaves);
    manifest_.state_elements = snapshot_.state_elements();
    manifest_.parent_step = base_.parent;
    manifest_.ledger_head = base_.ledger_head;
    if (cursor_.next_step > base_.step) {
        manifest_.ledger_head = write_ledger_segment(options_.run / "ledger", cut_segment(std::move(rows)));
    }
    write_manifest(options_.run, manifest_);
    cost_.durable_seconds = seconds_between(began_, Clock::now());
    // The generation is committed, whatever happens now; old ones that cannot be removed will be later.
    try {
        prune_generations(options_.run, options_.retention);
    } catch (const std::exception& error) {
        log_root(LogLevel::warning, std::string("old generations stay for now: ") + error.what());
    }
    cost_.processor_seconds += processor_seconds() - before;
}

void GenerationCommitter::finish(const Fingerprint& state_digest) {
    stage_ = Stage::idle;
    // All of it has arrived; the senders take note.
    snapshot_.wait_for_tails();
    reports_->wait();
    reports_.reset();
    state_digest_ = state_digest;
    base_.step = cursor_.next_step;
    base_.parent = cursor_.next_step;
    base_.ledger_root = cursor_.ledger_root;
    // Only rank 0 ever reads the chain's head again; the others just agree on how far it reaches.
    if (!is_root()) return;
    base_.ledger_head = manifest_.ledger_head;
    if (on_committed) on_committed(cost_);
}

}  // namespace lockstep
