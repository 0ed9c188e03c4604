#include "worker/generation_commit.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "io/base/error.h"
#include "io/base/log.h"
#include "io/comm/agreement.h"

namespace lockstep {

namespace {

/// Fixed-size records between identical binaries.
template <class T>
void append_record(std::vector<std::byte>& bytes, const T& value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
}

template <class T>
T take_record(std::span<const std::byte>& bytes) {
    if (bytes.size() < sizeof(T)) throw Error(ErrorCode::bug, "a rank sent a shorter record than agreed");
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    bytes = bytes.subspan(sizeof(T));
    return value;
}

std::vector<std::byte> encode(const std::vector<LedgerRow>& rows) {
    std::vector<std::byte> bytes;
    for (const LedgerRow& row : rows) {
        append_record(bytes, row.step);
        append_record(bytes, row.pack);
        append_record(bytes, row.tokens);
        append_record(bytes, row.targets);
        append_record(bytes, row.token_digest.low);
        append_record(bytes, row.token_digest.high);
        append_record(bytes, row.loss);
        append_record(bytes, row.event);
        append_record(bytes, row.rank);
        append_record(bytes, row.seconds);
    }
    return bytes;
}

void decode(std::span<const std::byte> bytes, std::vector<LedgerRow>& rows) {
    while (!bytes.empty()) {
        LedgerRow row;
        row.step = take_record<std::uint64_t>(bytes);
        row.pack = take_record<std::uint64_t>(bytes);
        row.tokens = take_record<std::uint32_t>(bytes);
        row.targets = take_record<std::uint32_t>(bytes);
        row.token_digest.low = take_record<std::uint64_t>(bytes);
        row.token_digest.high = take_record<std::uint64_t>(bytes);
        row.loss = take_record<double>(bytes);
        row.event = take_record<PackEvent>(bytes);
        row.rank = take_record<std::uint32_t>(bytes);
        row.seconds = take_record<float>(bytes);
        rows.push_back(row);
    }
}

struct ShardReport {
    std::uint64_t slice_begin, slice_end, file_bytes;
    char digest_hex[64];
};

/// Rank 0: all rows of the interval, in plan order, and the root they lead to.
LedgerSegment make_segment(Communicator& comm, const Cursor& cursor, const CommitBase& base,
                           const std::vector<LedgerRow>& rows) {
    const std::vector<std::byte> mine = encode(rows);
    const auto all = comm.gather(mine, Rank{0});
    LedgerSegment segment;
    if (comm.rank().value != 0) return segment;
    segment.step_begin = base.step;
    segment.step_end = cursor.next_step;
    segment.plan = cursor.plan;
    segment.root_before = base.ledger_root;
    segment.previous = base.ledger_head;
    for (const auto& bytes : all) decode(bytes, segment.rows);
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

std::vector<ShardName> gather_shards(Communicator& comm, const ShardName& mine) {
    ShardReport report{mine.slice_begin, mine.slice_end, mine.file_bytes, {}};
    std::memcpy(report.digest_hex, mine.digest_hex.data(),
                std::min(mine.digest_hex.size(), sizeof(report.digest_hex)));
    const auto all = comm.gather(std::as_bytes(std::span(&report, 1)), Rank{0});
    std::vector<ShardName> shards;
    for (std::size_t r = 0; r < all.size(); ++r) {
        std::span<const std::byte> bytes = all[r];
        const auto theirs = take_record<ShardReport>(bytes);
        shards.push_back(
            {shard_file_name(Rank{static_cast<int>(r)}, comm.size()), theirs.slice_begin, theirs.slice_end,
             theirs.file_bytes,
             std::string(theirs.digest_hex, strnlen(theirs.digest_hex, sizeof(theirs.digest_hex)))});
    }
    return shards;
}

}  // namespace

CommittedGeneration commit_generation(Communicator& comm, const std::filesystem::path& run,
                                      ShardedState& state, std::uint64_t state_elements, Cursor& cursor,
                                      const CommitBase& base, std::vector<LedgerRow> rows, std::size_t keep) {
    const bool root_rank = comm.rank().value == 0;
    const LedgerSegment segment = make_segment(comm, cursor, base, rows);
    if (root_rank) cursor.ledger_root = segment.root_after;
    comm.broadcast(std::as_writable_bytes(std::span(cursor.ledger_root.bytes)), Rank{0});
    const Fingerprint digest = state.digest(cursor);

    const std::filesystem::path generation = generation_directory(run, cursor.next_step);
    ShardName shard;
    together(comm, "writing shards", [&] {
        shard = write_shard(generation, comm.rank(), comm.size(), cursor, state.slice().begin,
                            state.slice_weights(), state.adam_m(), state.adam_v());
    });
    const std::vector<ShardName> shards = gather_shards(comm, shard);

    CommittedGeneration committed;
    committed.state_digest = digest;
    together(comm, "committing", [&] {
        if (!root_rank) return;
        Manifest manifest;
        manifest.step = cursor.next_step;
        manifest.cursor = cursor;
        manifest.state_digest = digest;
        manifest.state_elements = state_elements;
        manifest.shards = shards;
        manifest.parent_step = base.parent;
        manifest.ledger_head = base.ledger_head;
        if (segment.step_end > segment.step_begin) {
            manifest.ledger_head = write_ledger_segment(run / "ledger", segment);
        }
        write_manifest(run, manifest);
        committed.next_base.ledger_head = manifest.ledger_head;
        // The generation is committed; old ones that cannot be removed now will be removed later.
        try {
            prune_generations(run, keep);
        } catch (const Error& error) {
            log_root(LogLevel::warning, std::string("old generations stay for now: ") + error.what());
        }
    });
    // Only rank 0 ever reads the chain's head again; the others just agree on how far it reaches.
    committed.next_base.step = cursor.next_step;
    committed.next_base.parent = cursor.next_step;
    committed.next_base.ledger_root = cursor.ledger_root;
    return committed;
}

}  // namespace lockstep
