#include "io/tokenizer/merge_table.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "io/base/error.h"

namespace lockstep {

namespace {
/// Up to here a scan for the least rank is faster than a heap.
constexpr std::size_t short_symbols_max = 64;
constexpr std::uint32_t nowhere = 0xFFFFFFFFU;
}  // namespace

MergeTable::MergeTable(const std::vector<MergeRule>& rules) {
    std::size_t capacity = 2;
    for (shift_ = 63; capacity < 2 * rules.size() + 2; --shift_) capacity *= 2;
    slots_.assign(capacity, {empty, {}});
    mask_ = capacity - 1;
    for (const MergeRule& rule : rules) {
        const std::uint64_t key = key_of(rule.left, rule.right);
        std::size_t at = slot_of(key);
        while (slots_[at].key != empty && slots_[at].key != key) at = (at + 1) & mask_;
        slots_[at] = {key, {rule.rank, rule.result}};
        num_ranks_ = std::max(num_ranks_, rule.rank + 1);
    }
}

void MergeTable::merge(std::vector<std::uint32_t>& symbols, Scratch& scratch) const {
    if (symbols.size() < 2) return;
    if (symbols.size() <= short_symbols_max) {
        merge_short<Begins::unknown>(symbols, scratch);
    } else {
        merge_long<Begins::unknown>(symbols, scratch);
    }
}

void MergeTable::merge_with_begins(std::vector<std::uint32_t>& symbols, Scratch& scratch) const {
    scratch.begins.resize(symbols.size());
    std::iota(scratch.begins.begin(), scratch.begins.end(), 0U);
    if (symbols.size() < 2) return;
    if (symbols.size() <= short_symbols_max) {
        merge_short<Begins::kept>(symbols, scratch);
    } else {
        merge_long<Begins::kept>(symbols, scratch);
    }
    scratch.begins.resize(symbols.size());
}

template <MergeTable::Begins begins>
void MergeTable::merge_short(std::vector<std::uint32_t>& symbols, Scratch& scratch) const {
    scratch.ranks.resize(short_symbols_max);
    scratch.results.resize(short_symbols_max);
    std::uint32_t* const ids = symbols.data();
    std::uint32_t* const ranks = scratch.ranks.data();
    std::uint32_t* const results = scratch.results.data();
    std::size_t num_pairs = symbols.size() - 1;
    const auto look_up = [&](std::size_t at) {
        const Found found = find(ids[at], ids[at + 1]);
        ranks[at] = found.rank;
        results[at] = found.result;
    };
    for (std::size_t i = 0; i < num_pairs; ++i) look_up(i);
    while (num_pairs > 0) {
        std::size_t best = 0;
        for (std::size_t i = 1; i < num_pairs; ++i) {
            if (ranks[i] < ranks[best]) best = i;
        }
        if (ranks[best] == no_rank) break;
        ids[best] = results[best];
        --num_pairs;
        for (std::size_t i = best + 1; i <= num_pairs; ++i) ids[i] = ids[i + 1];
        if constexpr (begins == Begins::kept) {
            for (std::size_t i = best + 1; i <= num_pairs; ++i) scratch.begins[i] = scratch.begins[i + 1];
        }
        for (std::size_t i = best; i < num_pairs; ++i) {
            ranks[i] = ranks[i + 1];
            results[i] = results[i + 1];
        }
        if (best > 0) look_up(best - 1);
        if (best < num_pairs) look_up(best);
    }
    symbols.resize(num_pairs + 1);
}

template <MergeTable::Begins begins>
void MergeTable::merge_long(std::vector<std::uint32_t>& symbols, Scratch& scratch) const {
    if (symbols.size() >= nowhere)
        throw Error(ErrorCode::invalid_argument, "one word of 2^32 bytes or more cannot be tokenized");
    const auto count = static_cast<std::uint32_t>(symbols.size());
    auto& links = scratch.links;
    MergeQueue& queue = scratch.queue;
    links.resize(count);
    queue.begin(num_ranks_);
    for (std::uint32_t i = 0; i < count; ++i)
        links[i] = {symbols[i], i == 0 ? nowhere : i - 1, i + 1 == count ? nowhere : i + 1};
    const auto add = [&](std::uint32_t at) {
        const std::uint32_t next = links[at].next;
        const Found found = find(links[at].id, links[next].id);
        if (found.rank != no_rank) queue.add(found.rank, {at, links[at].id, links[next].id});
    };
    for (std::uint32_t i = 0; i + 1 < count; ++i) add(i);
    for (MergeCandidate best; queue.take(best);) {
        auto& left = links[best.at];
        // Either neighbour may have been merged since; a swallowed symbol has no next and no id.
        if (left.next == nowhere || left.id != best.left || links[left.next].id != best.right) continue;
        const std::uint32_t gone = left.next;
        left.id = find(best.left, best.right).result;
        left.next = links[gone].next;
        links[gone] = {nowhere, nowhere, nowhere};
        if (left.next != nowhere) links[left.next].previous = best.at;
        if (left.previous != nowhere) add(left.previous);
        if (left.next != nowhere) add(best.at);
    }
    std::size_t out = 0;
    for (std::uint32_t at = 0; at != nowhere; at = links[at].next) {
        // The left one of a merged pair keeps its place.
        if constexpr (begins == Begins::kept) scratch.begins[out] = at;
        symbols[out++] = links[at].id;
    }
    symbols.resize(out);
}

}  // namespace lockstep
