#include "plan/lazarus/packing.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <queue>
#include <string>

#include "io/base/error.h"

namespace lockstep {

namespace {

/// Room of every pack; finds the first with enough.
class FirstRoom {
  public:
    explicit FirstRoom(std::size_t packs_max)
        : leaves_(std::bit_ceil(std::max<std::size_t>(1, packs_max))), most_(2 * leaves_, -1) {}

    /// @return the first pack with at least `tokens` room, or -1. An unopened pack has none.
    std::int64_t find(std::uint32_t tokens) const {
        if (most_[1] < std::int64_t{tokens}) return -1;
        std::size_t node = 1;
        while (node < leaves_) {
            node *= 2;
            if (most_[node] < std::int64_t{tokens}) ++node;
        }
        return static_cast<std::int64_t>(node - leaves_);
    }
    std::uint32_t room(std::size_t pack) const { return static_cast<std::uint32_t>(most_[leaves_ + pack]); }
    void set(std::size_t pack, std::uint32_t room) {
        std::size_t node = leaves_ + pack;
        most_[node] = room;
        while (node > 1) {
            node /= 2;
            most_[node] = std::max(most_[2 * node], most_[2 * node + 1]);
        }
    }

  private:
    std::size_t leaves_;
    std::vector<std::int64_t> most_;  ///< (2 · leaves) most room below a node; -1: no pack yet.
};

/// Packs by their room; finds the one with the least that is enough, the earliest of equals.
class BestRoom {
  public:
    struct Found {
        std::size_t pack;
        std::uint32_t room;
    };

    std::optional<Found> take(std::uint32_t tokens) {
        const auto found = packs_by_room_.lower_bound(tokens);
        if (found == packs_by_room_.end()) return std::nullopt;
        const Found best{found->second.top(), found->first};
        found->second.pop();
        if (found->second.empty()) packs_by_room_.erase(found);
        return best;
    }
    void put(std::size_t pack, std::uint32_t room) { packs_by_room_[room].push(pack); }

  private:
    using EarliestFirst =
        std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<std::size_t>>;
    std::map<std::uint32_t, EarliestFirst> packs_by_room_;
};

/// Pack of each of `order`'s segments. A segment joining others needs `separator` places more.
std::vector<std::size_t> place_first_fit(std::span<const NarrowIndex> order,
                                         std::span<const std::uint32_t> tokens, std::uint32_t max_length,
                                         std::uint32_t separator) {
    FirstRoom rooms(order.size());
    std::vector<std::size_t> pack_of;
    std::size_t packs = 0;
    for (const NarrowIndex segment : order) {
        const std::uint32_t needed = tokens[segment] + separator;
        const std::int64_t found = rooms.find(needed);
        const std::size_t pack = found < 0 ? packs++ : static_cast<std::size_t>(found);
        rooms.set(pack, found < 0 ? max_length - tokens[segment] : rooms.room(pack) - needed);
        pack_of.push_back(pack);
    }
    return pack_of;
}

std::vector<std::size_t> place_best_fit(std::span<const NarrowIndex> order,
                                        std::span<const std::uint32_t> tokens, std::uint32_t max_length,
                                        std::uint32_t separator) {
    BestRoom rooms;
    std::vector<std::size_t> pack_of;
    std::size_t packs = 0;
    for (const NarrowIndex segment : order) {
        const std::uint32_t needed = tokens[segment] + separator;
        if (const auto found = rooms.take(needed)) {
            rooms.put(found->pack, found->room - needed);
            pack_of.push_back(found->pack);
        } else {
            rooms.put(packs, max_length - tokens[segment]);
            pack_of.push_back(packs++);
        }
    }
    return pack_of;
}

PackLayout<> layout_of(std::span<const NarrowIndex> order, std::span<const std::size_t> pack_of) {
    PackLayout<> layout;
    std::vector<NarrowIndex> size;
    for (const std::size_t pack : pack_of) {
        if (pack == size.size()) size.push_back(0);
        ++size[pack];
    }
    for (const NarrowIndex segments : size) layout.pack_begin.push_back(layout.pack_begin.back() + segments);
    std::vector<NarrowIndex> next(layout.pack_begin.begin(), layout.pack_begin.end() - 1);
    layout.segments.resize(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) layout.segments[next[pack_of[i]]++] = order[i];
    return layout;
}

}  // namespace

LazarusPacks pack_as_lazarus(std::span<const std::uint32_t> segment_tokens, const LazarusPacking& packing) {
    if (packing.max_length < 1 || packing.max_length > 0x7FFFFFFFU) {
        throw Error(ErrorCode::invalid_argument, "max_length is " + std::to_string(packing.max_length) +
                                                     "; expected 1 to 2147483647 tokens");
    }
    LazarusPacks packs;
    std::vector<NarrowIndex> order;
    for (NarrowIndex segment = 0; segment < segment_tokens.size(); ++segment) {
        (segment_tokens[segment] > packing.max_length ? packs.skipped : order).push_back(segment);
    }
    if (packing.mode == LazarusPackingMode::greedy) {
        std::stable_sort(order.begin(), order.end(),
                         [&](NarrowIndex a, NarrowIndex b) { return segment_tokens[a] > segment_tokens[b]; });
    }
    const std::uint32_t separator = packing.add_separator ? 1 : 0;
    const auto place = packing.mode == LazarusPackingMode::best_fit ? place_best_fit : place_first_fit;
    packs.layout = layout_of(order, place(order, segment_tokens, packing.max_length, separator));
    return packs;
}

LazarusRow lay_out_as_lazarus(std::span<const NarrowIndex> pack, std::span<const LazarusSequence> sequences,
                              const LazarusPacking& packing, std::uint32_t pad_token) {
    LazarusRow row;
    const auto put = [&](std::uint32_t token, std::uint8_t mask, std::uint32_t segment) {
        row.token_ids.push_back(token);
        row.loss_mask.push_back(mask);
        row.segment_ids.push_back(segment);
        row.loss_tokens += mask;
    };
    std::uint32_t segment = 0;
    for (; segment < pack.size(); ++segment) {
        const LazarusSequence& sequence = sequences[pack[segment]];
        if (sequence.token_ids.size() != sequence.loss_mask.size()) {
            throw Error(ErrorCode::invalid_argument,
                        "sequence " + std::to_string(pack[segment]) + " has " +
                            std::to_string(sequence.token_ids.size()) + " tokens and a loss mask of " +
                            std::to_string(sequence.loss_mask.size()) + "; both must be as long");
        }
        if (segment > 0 && packing.add_separator && packing.separator_token)
            put(*packing.separator_token, 0, segment);
        for (std::size_t i = 0; i < sequence.token_ids.size(); ++i) {
            put(sequence.token_ids[i], sequence.loss_mask[i], segment);
        }
    }
    if (row.token_ids.size() > packing.max_length) {
        throw Error(ErrorCode::invalid_argument, "the pack has " + std::to_string(row.token_ids.size()) +
                                                     " tokens, over its limit of " +
                                                     std::to_string(packing.max_length));
    }
    row.tokens = static_cast<std::uint32_t>(row.token_ids.size());
    while (row.token_ids.size() < packing.max_length) put(pad_token, 0, segment > 0 ? segment - 1 : 0);
    return row;
}

}  // namespace lockstep
