// plan/plan_options.h
//
// Everything a user may decide about a plan. What takes effect is part of the plan
// fingerprint (settings), because all of it changes what is trained when.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep {

// Stored in plans: append new values, never renumber or reuse one.
enum class PlanMode : std::uint8_t { pack = 0, bucket = 1 };
enum class PackingPolicy : std::uint8_t {
    in_order = 0,             ///< Samples as they come; a new pack when the next does not fit.
    best_fit_decreasing = 1,  ///< By length classes (packing.h).
    automatic = 2,            ///< Best-fit decreasing, or what needs fewer packs (pack_automatically).
    patterns = 3,             ///< Cutting-stock patterns (pattern_packing.h).
    first_fit = 4,            ///< Samples as they come, each into the first pack with room.
    best_fit = 5,             ///< Samples as they come, each into the fullest pack with room.
    first_fit_decreasing = 6,
    concatenate = 7,  ///< Concat-and-chunk: samples end to end, cut wherever a pack is full.
};
enum class PackOrder : std::uint8_t {
    shuffle = 0,
    in_order = 1,
    short_to_long = 2,        ///< Packs of ascending lengths.
    length_stages = 3,        ///< `stages` stages of equal tokens by ascending length; shuffled within.
    score_stages = 4,         ///< The same by ascending sample score.
    buckets_interleaved = 5,  ///< Bucket mode: packs of every bucket spread evenly over the epoch.
};
/// Another system's plans, reproduced bit for bit.
enum class PlanCompat : std::uint8_t { none = 0, lazarus = 1 };
enum class LongPolicy : std::uint8_t {
    automatic = 0,  ///< `error` for a source with loss spans, `split` without.
    split = 1,
    truncate = 2,
    drop = 3,
    error = 4,
};

/// Integer cost of a pack: token_cost · tokens + square_cost · Σ segment tokens². Scaled integers; only
/// ratios matter.
struct CostModel {
    std::uint64_t token_cost = 4096;
    std::uint64_t square_cost = 1;
    friend bool operator==(const CostModel&, const CostModel&) = default;
};

struct PlanOptions {
    PlanMode mode = PlanMode::pack;
    std::uint32_t token_budget = 4096;  ///< Most tokens a pack may hold [1, 2^31).
    std::uint32_t packs_per_step = 8;   ///< ≥ 1; the last step of an epoch may hold fewer.
    std::uint64_t epochs = 1;           ///< ≥ 1.
    std::uint64_t seed = 42;
    PackingPolicy packing = PackingPolicy::automatic;
    std::uint32_t segments_per_pack_max = 0;  ///< 0: as many as fit.
    PackOrder order = PackOrder::shuffle;
    std::uint32_t stages = 4;  ///< Staged orders: number of stages [1, 65536].
    LongPolicy long_policy = LongPolicy::automatic;
    bool balance = true;  ///< Order packs inside windows of steps by cost, so that ranks finish together.
    bool predictable = false;  ///< Fixed seed, in-order packing and order, no balancing.
    CostModel cost;
    PlanCompat compat = PlanCompat::none;
    bool drop_last = false;  ///< Lazarus plans: a bucket's last, short batch is left out.
    // Bucket mode (Lazarus' rules).
    std::vector<std::uint32_t> bucket_edges = {128, 256, 512, 1024};  ///< Ascending, upper edge inclusive.
    std::uint32_t bucket_overflow_max = 2048;  ///< > last edge; longer samples are "long".
    friend bool operator==(const PlanOptions&, const PlanOptions&) = default;
};

/// Canonical names, for metadata.json and the command line; parse throws Error{invalid_argument} with the
/// known names.
std::string_view name_of(PlanMode mode);
std::string_view name_of(PackingPolicy policy);
std::string_view name_of(PackOrder order);
std::string_view name_of(LongPolicy policy);
std::string_view name_of(PlanCompat compat);
PlanMode parse_plan_mode(std::string_view text);
PackingPolicy parse_packing_policy(std::string_view text);
PackOrder parse_pack_order(std::string_view text);
LongPolicy parse_long_policy(std::string_view text);
PlanCompat parse_plan_compat(std::string_view text);

/// @throws Error{invalid_argument} naming the option, its value and its range.
void check_options(const PlanOptions& options);

/// Seed recorded by `predictable` plans, whose order draws nothing.
inline constexpr std::uint64_t predictable_seed = 42;
/// A plan's head, its fingerprints among it, has rows for every epoch.
inline constexpr std::uint64_t epochs_max = std::uint64_t{1} << 20U;

/// The options as they take effect and are stored: `predictable` sets order in order and the seed above;
/// order in order implies packing in order and no balancing, short to long no balancing; pack mode clears the
/// bucket options (edges empty, overflow 0); bucket mode forms its own packs and records packing in order;
/// `stages` is 0 in orders without any. Lazarus mode: effective_lazarus_options (lazarus_plan.h). Idempotent.
PlanOptions effective_options(const PlanOptions& options);

/// Longest segment a pack may hold: the budget, in bucket mode no more than the overflow bucket, in Lazarus
/// mode the overflow bucket whatever the budget [tokens].
std::uint32_t segment_tokens_max(const PlanOptions& options);

}  // namespace lockstep
