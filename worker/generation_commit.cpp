#include "worker/generation_commit.h"

#include <time.h>

#include <algorithm>
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

// Words of a report.
constexpr std::size_t failed = 0, written = 1, committed = 2, digest_begin = 3;

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

/// Rank 0: all rows of the interval, in plan order, and the root they lead to.
LedgerSegment GenerationCommitter::cut_segment(const Cursor& cursor, std::span<const LedgerRow> rows) const {
    const std::vector<std::byte> mine = encode_rows(rows);
    const auto all = comm_.gather(mine, Rank{0});
    LedgerSegment segment;
    if (comm_.rank().value != 0) return segment;
    segment.step_begin = base_.step;
    segment.step_end = cursor.next_step;
    segment.plan = cursor.plan;
    segment.root_before = base_.ledger_root;
    segment.previous = base_.ledger_head;
    for (const auto& bytes : all) decode_rows(bytes, segment.rows);
    std::sort(segment.rows.begin(), segment.rows.end(), [](const LedgerRow& a, const LedgerRow& b) {
        return std::tie(a.step, a.pack, a.rank) < std::tie(b.step, b.pack, b.rank);
    });
    segment.root_after = segment.root_before;
    auto begin = segment.rows.begin();
    for (std::uint64_t step = segment.step_begin; step < segment.step_end; ++step) {
        const auto end =
            std::find_if(begin, segment.rows.end(), [&](const LedgerRow& row) { return row.step != step; });
        segment.root_after = advance_ledger_root(segment.root_after, step, {begin, end});
        begin = end;
    }
    return segment;
}

void GenerationCommitter::begin(Cursor& cursor, std::span<const LedgerRow> rows) {
    const Clock::time_point begin = Clock::now();
    // This generation is the one that waits; the one before does not count it again.
    double waited = 0;
    complete(waited);
    began_ = Clock::now();
    cost_ = {};
    cost_.step = cursor.next_step;
    cost_.waited_seconds = waited;

    segment_ = cut_segment(cursor, rows);
    if (comm_.rank().value == 0) cursor.ledger_root = segment_.root_after;
    comm_.broadcast(std::as_writable_bytes(std::span(cursor.ledger_root.bytes)), Rank{0});
    cursor_ = cursor;
    {
        const Stopwatch stopwatch(cost_.copy_seconds);
        snapshot_.take();
    }
    stage_ = Stage::writing;
    task_.begin([this] { write_own_shard(); });
    cost_.stall_seconds = seconds_between(begin, Clock::now());
    if (options_.snapshot == SnapshotMode::borrow) drain();
}

/// In the thread.
void GenerationCommitter::write_own_shard() {
    const double before = processor_seconds();
    {
        const Stopwatch stopwatch(cost_.write_seconds);
        const auto may_go_on = [this] { pause(); };
        shard_.shard = write_shard(generation_directory(options_.run, cursor_.next_step), comm_.rank(),
                                   comm_.size(), cursor_, snapshot_.slice().begin, snapshot_.weights(),
                                   snapshot_.adam_m(), snapshot_.adam_v(), may_go_on);
        shard_.leaves = snapshot_.leaves(may_go_on);
    }
    cost_.processor_seconds += processor_seconds() - before;
}

GenerationCommitter::Report GenerationCommitter::report() const {
    Report report{};
    if (stage_ == Stage::idle || task_.busy()) return report;
    if (task_.failure()) {
        report[failed] = 1;
    } else if (stage_ == Stage::writing) {
        report[written] = 1;
    } else if (comm_.rank().value == 0) {
        report[committed] = 1;
        std::memcpy(&report[digest_begin], manifest_.state_digest.bytes.data(), sizeof(Fingerprint));
    }
    return report;
}

void GenerationCommitter::advance(const Report& sum) {
    if (stage_ == Stage::idle) return;
    const Clock::time_point begin = Clock::now();
    if (sum[failed] != 0) {
        stage_ = Stage::idle;
        // A thread still at work has not failed yet; the ranks agree on those that have.
        agree_or_throw(comm_, task_.busy() ? std::nullopt : task_.failure());
    }
    if (stage_ == Stage::writing && sum[written] == comm_.size().value) {
        collect();
        cost_.stall_seconds += seconds_between(begin, Clock::now());
    } else if (stage_ == Stage::committing && sum[committed] != 0) {
        Fingerprint digest;
        std::memcpy(digest.bytes.data(), &sum[digest_begin], sizeof digest);
        finish(digest);
    }
}

void GenerationCommitter::drain() {
    complete(cost_.stall_seconds);
}

void GenerationCommitter::complete(double& waited_seconds) {
    // Whatever throws from here on has ended it.
    const Stage stage = std::exchange(stage_, Stage::idle);
    if (stage == Stage::idle) return;
    const Clock::time_point begin = Clock::now();
    const auto finish_work = [&] {
        task_.wait();
        if (const auto failure = task_.failure()) throw Error(*failure);
    };
    if (stage == Stage::writing) {
        together(comm_, "writing shards", finish_work);
        collect();
        stage_ = Stage::idle;
    }
    together(comm_, "committing", finish_work);
    Fingerprint digest = manifest_.state_digest;
    comm_.broadcast(std::as_writable_bytes(std::span(digest.bytes)), Rank{0});
    waited_seconds += seconds_between(begin, Clock::now());
    finish(digest);
}

/// Every rank's shard is durable: rank 0 gets their names and goes on to the manifest.
void GenerationCommitter::collect() {
    const auto all = comm_.gather(encode_report(shard_), Rank{0});
    stage_ = Stage::committing;
    if (comm_.rank().value != 0) return;
    reports_.clear();
    for (const auto& bytes : all) reports_.push_back(decode_report(bytes));
    task_.begin([this] { commit(); });
}

/// In rank 0's thread.
void GenerationCommitter::commit() {
    const double before = processor_seconds();
    manifest_ = Manifest();
    manifest_.step = cursor_.next_step;
    manifest_.cursor = cursor_;
    std::vector<StateLeaves> leaves;
    for (ShardReport& report : reports_) {
        cost_.bytes += report.shard.file_bytes;
        manifest_.shards.push_back(std::move(report.shard));
        leaves.push_back(std::move(report.leaves));
    }
    manifest_.state_digest = state_digest_of_leaves(cursor_, leaves);
    manifest_.state_elements = snapshot_.state_elements();
    manifest_.parent_step = base_.parent;
    manifest_.ledger_head = base_.ledger_head;
    if (segment_.step_end > segment_.step_begin) {
        manifest_.ledger_head = write_ledger_segment(options_.run / "ledger", segment_);
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
    state_digest_ = state_digest;
    base_.step = cursor_.next_step;
    base_.parent = cursor_.next_step;
    base_.ledger_root = cursor_.ledger_root;
    // Only rank 0 ever reads the chain's head again; the others just agree on how far it reaches.
    if (comm_.rank().value != 0) return;
    base_.ledger_head = manifest_.ledger_head;
    if (on_committed) on_committed(cost_);
}

}  // namespace lockstep
