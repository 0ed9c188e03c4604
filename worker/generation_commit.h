// worker/generation_commit.h
//
// The commit protocol of a generation (DESIGN §7), collectively: rows to rank 0,
// ledger root to all, shards by everyone, then ledger segment and manifest by
// rank 0, which commits.

#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "io/checkpoint.h"
#include "io/comm/communicator.h"
#include "io/ledger.h"
#include "worker/sharded_state.h"

namespace lockstep {

/// What a commit builds on. Only rank 0 needs `ledger_head`.
struct CommitBase {
    std::uint64_t step = 0;               ///< Steps covered by the generation before; 0: none.
    std::optional<std::uint64_t> parent;  ///< Its number, if there is one.
    std::optional<LedgerSegmentName> ledger_head;
    Fingerprint ledger_root = empty_ledger_root();
};

struct CommittedGeneration {
    Fingerprint state_digest;
    CommitBase next_base;
};

/// Collective. `cursor` holds everything but the ledger root, which is filled in.
/// @param rows   this rank's packs of steps [base.step, cursor.next_step), in any order.
/// @param keep   committed generations to keep, ≥ 2.
/// @throws Error{io_failure} on every rank if any rank could not write; nothing committed is lost then.
CommittedGeneration commit_generation(Communicator& comm, const std::filesystem::path& run,
                                      ShardedState& state, std::uint64_t state_elements, Cursor& cursor,
                                      const CommitBase& base, std::vector<LedgerRow> rows, std::size_t keep);

}  // namespace lockstep
