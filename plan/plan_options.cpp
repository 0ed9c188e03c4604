#include "plan/plan_options.h"

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <utility>

#include "io/base/error.h"
#include "plan/lazarus/plan.h"

namespace lockstep {

namespace {

template <class Enum>
using NameTable = std::span<const std::pair<Enum, std::string_view>>;

constexpr std::array<std::pair<PlanMode, std::string_view>, 2> plan_modes{
    {{PlanMode::pack, "pack"}, {PlanMode::bucket, "bucket"}}};
constexpr std::array<std::pair<PackingPolicy, std::string_view>, 8> packing_policies{
    {{PackingPolicy::automatic, "auto"},
     {PackingPolicy::best_fit_decreasing, "best-fit-decreasing"},
     {PackingPolicy::patterns, "patterns"},
     {PackingPolicy::first_fit_decreasing, "first-fit-decreasing"},
     {PackingPolicy::best_fit, "best-fit"},
     {PackingPolicy::first_fit, "first-fit"},
     {PackingPolicy::in_order, "in-order"},
     {PackingPolicy::concatenate, "concat-and-chunk"}}};
constexpr std::array<std::pair<PackOrder, std::string_view>, 6> pack_orders{
    {{PackOrder::shuffle, "shuffle"},
     {PackOrder::in_order, "in-order"},
     {PackOrder::short_to_long, "short-to-long"},
     {PackOrder::length_stages, "length-stages"},
     {PackOrder::score_stages, "score-stages"},
     {PackOrder::buckets_interleaved, "buckets-interleaved"}}};
constexpr std::array<std::pair<PlanCompat, std::string_view>, 2> plan_compats{
    {{PlanCompat::none, "none"}, {PlanCompat::lazarus, "lazarus"}}};
constexpr std::array<std::pair<LongPolicy, std::string_view>, 5> long_policies{
    {{LongPolicy::automatic, "auto"},
     {LongPolicy::split, "split"},
     {LongPolicy::truncate, "truncate"},
     {LongPolicy::drop, "drop"},
     {LongPolicy::error, "error"}}};

template <class Enum>
std::string_view find_name(NameTable<Enum> table, Enum value) {
    for (const auto& [known, name] : table) {
        if (known == value) return name;
    }
    return {};
}

template <class Enum>
Enum parse_name(NameTable<Enum> table, std::string_view what, std::string_view text) {
    std::string names;
    for (const auto& [value, name] : table) {
        if (name == text) return value;
        names += names.empty() ? "" : ", ";
        names += name;
    }
    throw Error(ErrorCode::invalid_argument,
                "unknown " + std::string(what) + " '" + std::string(text) + "'; choose one of " + names);
}

[[noreturn]] void refuse(const std::string& option, std::uint64_t value, const std::string& range) {
    throw Error(ErrorCode::invalid_argument, option + " is " + std::to_string(value) + "; expected " + range);
}

void check_cost(const CostModel& cost, std::uint32_t token_budget) {
    __extension__ using u128 = unsigned __int128;
    const u128 tokens = token_budget;
    const u128 limit = static_cast<u128>(std::numeric_limits<std::int64_t>::max());
    if (cost.token_cost == 0 && cost.square_cost == 0) {
        throw Error(ErrorCode::invalid_argument,
                    "the cost model is 0,0; give one of the two a positive integer");
    }
    // Each product is below 2^126, so neither it nor the sum wraps.
    if (cost.token_cost * tokens + cost.square_cost * (tokens * tokens) > limit) {
        throw Error(ErrorCode::invalid_argument,
                    "the cost model " + std::to_string(cost.token_cost) + "," +
                        std::to_string(cost.square_cost) + " gives a full pack of " +
                        std::to_string(token_budget) +
                        " tokens a cost over 2^63 - 1; only ratios matter, scale both down");
    }
}

void check_buckets(const PlanOptions& options) {
    std::uint32_t previous = 0;
    for (const std::uint32_t edge : options.bucket_edges) {
        if (edge <= previous) {
            throw Error(ErrorCode::invalid_argument, "bucket edges must ascend from at least 1; found " +
                                                         std::to_string(edge) + " after " +
                                                         std::to_string(previous));
        }
        previous = edge;
    }
    if (options.bucket_edges.size() >= std::numeric_limits<std::uint16_t>::max()) {
        refuse("the number of bucket edges", options.bucket_edges.size(), "at most 65534");
    }
    if (options.bucket_overflow_max <= previous) {
        refuse("the overflow bucket's limit", options.bucket_overflow_max,
               "more than the last bucket edge, " + std::to_string(previous));
    }
    if (options.bucket_overflow_max > 0x7FFFFFFFU) {
        refuse("the overflow bucket's limit", options.bucket_overflow_max, "less than 2^31 tokens");
    }
}

bool is_staged(PackOrder order) {
    return order == PackOrder::length_stages || order == PackOrder::score_stages;
}

void check_order(const PlanOptions& options) {
    if (is_staged(options.order) && (options.stages < 1 || options.stages > 65536)) {
        refuse("the number of stages", options.stages, "1 to 65536");
    }
    if (options.mode == PlanMode::pack && options.order == PackOrder::buckets_interleaved) {
        throw Error(ErrorCode::invalid_argument,
                    "order buckets-interleaved needs length buckets; give --mode bucket, or another --order");
    }
    if (options.mode == PlanMode::bucket && is_staged(options.order)) {
        throw Error(ErrorCode::invalid_argument,
                    "staged orders are of pack mode; buckets have --order short-to-long");
    }
}

}  // namespace

std::string_view name_of(PlanMode mode) {
    return find_name<PlanMode>(plan_modes, mode);
}
std::string_view name_of(PackingPolicy policy) {
    return find_name<PackingPolicy>(packing_policies, policy);
}
std::string_view name_of(PackOrder order) {
    return find_name<PackOrder>(pack_orders, order);
}
std::string_view name_of(LongPolicy policy) {
    return find_name<LongPolicy>(long_policies, policy);
}
std::string_view name_of(PlanCompat compat) {
    return find_name<PlanCompat>(plan_compats, compat);
}

PlanMode parse_plan_mode(std::string_view text) {
    return parse_name<PlanMode>(plan_modes, "mode", text);
}
PackingPolicy parse_packing_policy(std::string_view text) {
    return parse_name<PackingPolicy>(packing_policies, "packing policy", text);
}
PackOrder parse_pack_order(std::string_view text) {
    return parse_name<PackOrder>(pack_orders, "order", text);
}
LongPolicy parse_long_policy(std::string_view text) {
    return parse_name<LongPolicy>(long_policies, "policy for long samples", text);
}
PlanCompat parse_plan_compat(std::string_view text) {
    return parse_name<PlanCompat>(plan_compats, "system to be compatible with", text);
}

void check_options(const PlanOptions& options) {
    if (name_of(options.mode).empty()) refuse("the mode", static_cast<std::uint64_t>(options.mode), "0 or 1");
    if (name_of(options.packing).empty()) {
        refuse("the packing policy", static_cast<std::uint64_t>(options.packing), "0 to 7");
    }
    if (name_of(options.order).empty())
        refuse("the order", static_cast<std::uint64_t>(options.order), "0 to 5");
    if (name_of(options.compat).empty())
        refuse("the compatibility", static_cast<std::uint64_t>(options.compat), "0 or 1");
    if (name_of(options.long_policy).empty()) {
        refuse("the policy for long samples", static_cast<std::uint64_t>(options.long_policy), "0 to 4");
    }
    if (options.token_budget < 1 || options.token_budget > 0x7FFFFFFFU) {
        refuse("the token budget", options.token_budget, "1 to 2147483647 tokens");
    }
    if (options.packs_per_step < 1) refuse("packs per step", options.packs_per_step, "at least 1");
    if (options.epochs < 1 || options.epochs > epochs_max) {
        refuse("the number of epochs", options.epochs, "1 to " + std::to_string(epochs_max));
    }
    // A pack of one sample may be over the budget in Lazarus mode.
    const bool lazarus = options.compat == PlanCompat::lazarus;
    check_cost(options.cost,
               lazarus ? std::max(options.token_budget, options.bucket_overflow_max) : options.token_budget);
    check_order(options);
    if (options.mode == PlanMode::bucket) check_buckets(options);
    if (lazarus) check_lazarus_options(options);
    if (options.drop_last && !lazarus) {
        throw Error(ErrorCode::invalid_argument,
                    "drop_last leaves samples out and is of Lazarus mode alone; add --compat lazarus");
    }
}

PlanOptions effective_options(const PlanOptions& options) {
    if (options.compat == PlanCompat::lazarus) return effective_lazarus_options(options);
    PlanOptions effective = options;
    if (effective.predictable) {
        effective.order = PackOrder::in_order;
        effective.seed = predictable_seed;
    }
    if (effective.order == PackOrder::in_order) {
        // Laid end to end, samples are in order too.
        if (effective.packing != PackingPolicy::concatenate) effective.packing = PackingPolicy::in_order;
        effective.balance = false;
    }
    if (effective.order == PackOrder::short_to_long) {
        effective.packing = PackingPolicy::in_order;
        effective.balance = false;
    }
    if (effective.order == PackOrder::buckets_interleaved) effective.balance = false;
    if (!is_staged(effective.order)) effective.stages = 0;
    if (effective.mode == PlanMode::bucket) {
        effective.packing = PackingPolicy::in_order;
    } else {
        effective.bucket_edges.clear();
        effective.bucket_overflow_max = 0;
    }
    return effective;
}

std::uint32_t segment_tokens_max(const PlanOptions& options) {
    if (options.mode == PlanMode::pack) return options.token_budget;
    if (options.compat == PlanCompat::lazarus) return options.bucket_overflow_max;
    return std::min(options.token_budget, options.bucket_overflow_max);
}

}  // namespace lockstep
