// plan/lazarus/packing.h
//
// Lazarus' stand-alone packer: the same packs, in near-linear time, and the rows it
// lays out. Its plans never use it (they are of buckets); who compares packings or
// reads packed batches of Lazarus does.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "plan/packing.h"

namespace lockstep {

enum class LazarusPackingMode : std::uint8_t {
    first_fit = 0,  ///< Input order, first pack with room.
    best_fit = 1,   ///< Input order, the pack left with least room; ties to the earliest.
    greedy = 2,     ///< Stable by length, longest first, then first fit.
};

struct LazarusPacking {
    LazarusPackingMode mode = LazarusPackingMode::first_fit;
    std::uint32_t max_length = 2048;               ///< Of a pack [tokens].
    bool add_separator = false;                    ///< Reserves a place between two segments of a pack.
    std::optional<std::uint32_t> separator_token;  ///< Without one the place is reserved and stays empty.
};

struct LazarusPacks {
    PackLayout<> layout;               ///< Segments in the order of their placing.
    std::vector<NarrowIndex> skipped;  ///< Longer than a pack, in input order. Lazarus drops them silently.
};

/// First fit by a tree of the most room, best fit by heaps of packs with equal room: O(n log n).
LazarusPacks pack_as_lazarus(std::span<const std::uint32_t> segment_tokens, const LazarusPacking& packing);

/// A sequence to lay out. `loss_mask` as long as `token_ids`.
struct LazarusSequence {
    std::vector<std::uint32_t> token_ids;
    std::vector<std::uint8_t> loss_mask;
};

/// One pack as Lazarus lays it out, padded to max_length. A separator belongs to the segment after it;
/// padding has loss mask 0 and carries the last segment's number.
struct LazarusRow {
    std::vector<std::uint32_t> token_ids;
    std::vector<std::uint8_t> loss_mask;
    std::vector<std::uint32_t> segment_ids;
    std::uint32_t tokens = 0;       ///< Without padding, with separators.
    std::uint32_t loss_tokens = 0;  ///< Places whose mask is 1.
};

/// @throws Error{invalid_argument} if a mask has another length than its tokens, or the pack does not fit.
LazarusRow lay_out_as_lazarus(std::span<const NarrowIndex> pack, std::span<const LazarusSequence> sequences,
                              const LazarusPacking& packing, std::uint32_t pad_token);

}  // namespace lockstep
