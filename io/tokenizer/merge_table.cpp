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
/// Of a window, to be merged again in the next. More than what a power of two leaves over of a run of equal
/// symbols.
constexpr int symbols_left_over = 16;
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
    std::size_t window = scratch.window_symbols;
    while (!merge_by_windows<begins>(symbols, window, scratch)) window *= 4;
    symbols.swap(scratch.merged);
}

/// Two parts of a word merge as they do alone if no merge ever reaches over the border between them: what
/// comes next is always the least rank and, of these, the leftmost, so each part goes on from its own least,
/// and in which order two parts take turns depends on these two alone. Hence the first merge over a border
/// would happen just so if the two symbols beside it were all there is; and symbols of which no two
/// neighbours, alone, merge any further are the result.
/// @return false if two parts did not meet; `merged` is then of no use.
template <MergeTable::Begins begins>
bool MergeTable::merge_by_windows(std::span<const std::uint32_t> symbols, std::size_t window,
                                  Scratch& scratch) const {
    const auto& places = scratch.places;
    std::vector<std::uint32_t>& merged = scratch.merged;
    merged.clear();
    merged.reserve(symbols.size());
    std::size_t left_begin = 0;     // Of the last symbol in `merged`,
    Scratch::Place expected{0, 0};  // and what came after it in its own window.
    for (std::size_t begin = 0;;) {
        const std::size_t end = begin + std::min(window, symbols.size() - begin);
        merge_places(symbols.subspan(begin, end - begin), scratch);
        const auto count = static_cast<std::uint32_t>(end - begin);
        if (begin > 0 && (places[0].id != expected.id || places[0].size != expected.size)) {
            // Of neighbours in one window it is known.
            const std::size_t right_end = begin + places[0].size;
            if (!stay_apart(symbols.subspan(left_begin, right_end - left_begin), begin - left_begin, scratch))
                return false;
            merge_places(symbols.subspan(begin, end - begin), scratch);
        }
        // The last symbols of a window lack what follows them: they are merged again in the next.
        std::uint32_t cut = count;
        if (end < symbols.size()) {
            for (int i = 0; i < symbols_left_over && cut > 0; ++i) cut -= places[cut - 1].size;
            if (cut == 0) return false;
            expected = places[cut];
        }
        for (std::uint32_t at = 0; at < cut; at += places[at].size) {
            // The left one of a merged pair keeps its place.
            left_begin = begin + at;
            if constexpr (begins == Begins::kept)
                scratch.begins[merged.size()] = static_cast<std::uint32_t>(left_begin);
            merged.push_back(places[at].id);
        }
        if (end == symbols.size()) return true;
        begin += cut;
    }
}

/// Whether two symbols are left of `symbols`, and meet at `border`.
bool MergeTable::stay_apart(std::span<const std::uint32_t> symbols, std::size_t border,
                            Scratch& scratch) const {
    merge_places(symbols, scratch);
    const std::uint32_t left = scratch.places[0].size;
    return left == border && left + scratch.places[left].size == symbols.size();
}

/// Merges all of `symbols` at once; what is left stands in scratch.places.
void MergeTable::merge_places(std::span<const std::uint32_t> symbols, Scratch& scratch) const {
    const auto count = static_cast<std::uint32_t>(symbols.size());
    auto& places = scratch.places;
    MergeQueue& queue = scratch.queue;
    places.resize(count);
    queue.begin(num_ranks_);
    for (std::uint32_t i = 0; i < count; ++i) places[i] = {symbols[i], 1};
    const auto find_at = [&](std::uint32_t at, std::uint32_t next) {
        return find(places[at].id, places[next].id);
    };
    const auto add = [&](std::uint32_t at, std::uint32_t next) {
        const Found found = find_at(at, next);
        if (found.rank != no_rank) queue.add(found.rank, at);
    };
    for (std::uint32_t i = 0; i + 1 < count; ++i) add(i, i + 1);
    for (MergeQueue::Taken best; queue.take(best);) {
        // Either neighbour may have been merged since; a swallowed symbol has no id.
        const std::uint32_t at = best.place;
        if (places[at].id == nowhere) continue;
        const std::uint32_t gone = at + places[at].size;
        if (gone == count) continue;
        const Found found = find_at(at, gone);
        if (found.rank != best.rank) continue;
        const std::uint32_t next = gone + places[gone].size;
        places[gone].id = nowhere;
        places[at] = {found.result, next - at};
        places[next - 1].size = next - at;
        if (at > 0) add(at - places[at - 1].size, at);
        if (next < count) add(at, next);
    }
}

}  // namespace lockstep
