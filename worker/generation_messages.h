// worker/generation_messages.h
//
// What ranks tell rank 0 about a generation, as bytes between identical binaries.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "io/run/checkpoint.h"
#include "io/run/ledger.h"
#include "worker/state_snapshot.h"

namespace lockstep {

/// One rank's part of a generation, written and hashed.
struct ShardReport {
    ShardName shard;
    StateLeaves leaves;
    std::vector<LedgerRow> rows;  ///< Its packs of the interval.
};
std::vector<std::byte> encode_report(const ShardReport& report);
/// @throws Error{bug}.
ShardReport decode_report(std::span<const std::byte> bytes);

}  // namespace lockstep
