// io/run/token_digest.h
//
// What the ledger says of a pack's content: a digest over the buffers the kernels
// read, so that the proof speaks of what was computed, not of what was meant.

#pragma once

#include <cstdint>
#include <span>

#include "io/base/digest.h"

namespace lockstep {

/// XXH3-128 over T, S (u64 each), then token ids (T), positions (T), targets (T; −1: none), cu_seqlens (S +
/// 1), little-endian.
Digest token_digest(std::span<const std::uint32_t> token_ids, std::span<const std::uint32_t> position_ids,
                    std::span<const std::int32_t> targets, std::span<const std::int32_t> cu_seqlens);

}  // namespace lockstep
