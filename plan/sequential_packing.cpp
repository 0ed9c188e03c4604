#include "plan/sequential_packing.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "io/base/contract.h"

namespace lockstep {

namespace {

std::uint32_t segments_max_of(PackLimits limits) {
    return limits.segments_max == 0 ? std::numeric_limits<std::uint32_t>::max() : limits.segments_max;
}

/// Packs opened one after another: finds the first with enough room. A tournament tree over rooms; a pack
/// that may hold no more segments has no room.
template <class Index>
class FirstWithRoom {
  public:
    explicit FirstWithRoom(std::uint32_t tokens_max) : tokens_max_(tokens_max) {}

    /// First pack with room for `tokens`, opened if there is none.
    Index find(std::uint32_t tokens) {
        if (leaves_ == 0 || room_[1] < tokens) return open();
        std::size_t node = 1;
        while (node < leaves_) node = 2 * node + (room_[2 * node] >= tokens ? 0 : 1);
        const auto pack = static_cast<Index>(node - leaves_);
        return pack < packs_ ? pack : open();
    }
    void set_room(Index pack, std::uint32_t room) {
        std::size_t node = leaves_ + pack;
        room_[node] = room;
        for (node /= 2; node > 0; node /= 2) room_[node] = std::max(room_[2 * node], room_[2 * node + 1]);
    }
    std::uint32_t room(Index pack) const { return room_[leaves_ + pack]; }

  private:
    Index open() {
        if (packs_ == leaves_) grow();
        set_room(packs_, tokens_max_);
        return packs_++;
    }
    void grow() {
        const std::vector<std::uint32_t> old(room_.begin() + static_cast<std::ptrdiff_t>(leaves_),
                                             room_.end());
        leaves_ = std::max<std::size_t>(2 * leaves_, 64);
        room_.assign(2 * leaves_, 0);
        std::copy(old.begin(), old.end(), room_.begin() + static_cast<std::ptrdiff_t>(leaves_));
        for (std::size_t node = leaves_ - 1; node > 0; --node) {
            room_[node] = std::max(room_[2 * node], room_[2 * node + 1]);
        }
    }

    std::uint32_t tokens_max_;
    Index packs_ = 0;
    std::size_t leaves_ = 0;
    std::vector<std::uint32_t> room_;  ///< (2 · leaves) node n covers 2n and 2n + 1; unopened packs have 0.
};

/// Segments grouped by the pack they were given, in the order they were given.
template <class Index>
PackLayout<Index> layout_of(const std::vector<Index>& pack_of_given, std::span<const Index> given,
                            std::size_t num_packs) {
    PackLayout<Index> layout;
    layout.pack_begin.assign(num_packs + 1, 0);
    for (const Index pack : pack_of_given) ++layout.pack_begin[pack + 1];
    for (std::size_t p = 0; p < num_packs; ++p) layout.pack_begin[p + 1] += layout.pack_begin[p];
    std::vector<Index> next(layout.pack_begin.begin(), layout.pack_begin.end() - 1);
    layout.segments.resize(given.size());
    for (std::size_t i = 0; i < given.size(); ++i) layout.segments[next[pack_of_given[i]]++] = given[i];
    return layout;
}

template <class Index>
PackLayout<Index> first_fit_of(std::span<const Index> given, std::span<const std::uint32_t> segment_tokens,
                               PackLimits limits) {
    const std::uint32_t segments_max = segments_max_of(limits);
    FirstWithRoom<Index> packs(limits.tokens_max);
    std::vector<Index> pack_of(given.size());
    std::vector<std::uint32_t> segments;
    for (std::size_t i = 0; i < given.size(); ++i) {
        const std::uint32_t tokens = segment_tokens[given[i]];
        const Index pack = packs.find(tokens);
        if (pack == segments.size()) segments.push_back(0);
        const bool closed = ++segments[pack] == segments_max;
        packs.set_room(pack, closed ? 0 : packs.room(pack) - tokens);
        pack_of[i] = pack;
    }
    return layout_of(pack_of, given, segments.size());
}

template <class Index>
std::vector<Index> all_of(std::size_t num_segments) {
    std::vector<Index> all(num_segments);
    for (Index i = 0; i < num_segments; ++i) all[i] = i;
    return all;
}

}  // namespace

template <class Index>
PackLayout<Index> pack_in_order(std::span<const std::uint32_t> segment_tokens, PackLimits limits) {
    const std::uint32_t segments_max = segments_max_of(limits);
    PackLayout<Index> layout;
    layout.segments = all_of<Index>(segment_tokens.size());
    std::uint32_t room = limits.tokens_max;
    for (Index i = 0; i < segment_tokens.size(); ++i) {
        if (segment_tokens[i] > room || i - layout.pack_begin.back() == segments_max) {
            layout.pack_begin.push_back(i);
            room = limits.tokens_max;
        }
        room -= segment_tokens[i];
    }
    if (!segment_tokens.empty()) layout.pack_begin.push_back(static_cast<Index>(segment_tokens.size()));
    return layout;
}

template <class Index>
PackLayout<Index> first_fit(std::span<const std::uint32_t> segment_tokens, PackLimits limits) {
    const std::vector<Index> given = all_of<Index>(segment_tokens.size());
    return first_fit_of(std::span(given), segment_tokens, limits);
}

template <class Index>
PackLayout<Index> first_fit_decreasing(std::span<const std::uint32_t> segment_tokens, PackLimits limits) {
    // Members of the classes: longest first, equal lengths ascending.
    const LengthClasses<Index> classes = classify_lengths<Index>(segment_tokens);
    return first_fit_of(std::span(classes.members), segment_tokens, limits);
}

template <class Index>
PackLayout<Index> best_fit(std::span<const std::uint32_t> segment_tokens, PackLimits limits) {
    const std::uint32_t segments_max = segments_max_of(limits);
    std::set<std::pair<std::uint32_t, Index>> open;  // (room, pack)
    std::vector<Index> pack_of(segment_tokens.size());
    std::vector<std::uint32_t> segments;
    for (std::size_t i = 0; i < pack_of.size(); ++i) {
        const auto fullest = open.lower_bound({segment_tokens[i], Index{0}});
        std::uint32_t room = limits.tokens_max;
        auto pack = static_cast<Index>(segments.size());
        if (fullest == open.end()) {
            segments.push_back(0);
        } else {
            room = fullest->first;
            pack = fullest->second;
            open.erase(fullest);
        }
        if (++segments[pack] < segments_max) open.insert({room - segment_tokens[i], pack});
        pack_of[i] = pack;
    }
    const std::vector<Index> given = all_of<Index>(pack_of.size());
    return layout_of(pack_of, std::span(given), segments.size());
}

template <class Index>
PackShapes shapes_of_layout(const PackLayout<Index>& layout, const LengthClasses<Index>& classes,
                            std::span<const std::uint32_t> segment_tokens) {
    PackShapes shapes;
    shapes.item_class.reserve(layout.segments.size());
    shapes.shape_begin.reserve(layout.num_packs() + 1);
    for (std::size_t p = 0; p < layout.num_packs(); ++p) {
        for (const Index segment : layout.pack(p)) {
            const auto found = std::lower_bound(classes.tokens.begin(), classes.tokens.end(),
                                                segment_tokens[segment], std::greater<>());
            LOCKSTEP_EXPECTS(found != classes.tokens.end() && *found == segment_tokens[segment]);
            shapes.item_class.push_back(static_cast<std::uint32_t>(found - classes.tokens.begin()));
        }
        shapes.shape_begin.push_back(shapes.item_class.size());
    }
    shapes.shape_packs.assign(layout.num_packs(), 1);
    return shapes;
}

#define LOCKSTEP_INSTANTIATE(Index)                                                              \
    template PackLayout<Index> pack_in_order(std::span<const std::uint32_t>, PackLimits);        \
    template PackLayout<Index> first_fit(std::span<const std::uint32_t>, PackLimits);            \
    template PackLayout<Index> first_fit_decreasing(std::span<const std::uint32_t>, PackLimits); \
    template PackLayout<Index> best_fit(std::span<const std::uint32_t>, PackLimits);             \
    template PackShapes shapes_of_layout(const PackLayout<Index>&, const LengthClasses<Index>&,  \
                                         std::span<const std::uint32_t>);
LOCKSTEP_INSTANTIATE(NarrowIndex)
LOCKSTEP_INSTANTIATE(WideIndex)
#undef LOCKSTEP_INSTANTIATE

}  // namespace lockstep
