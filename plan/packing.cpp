#include "plan/packing.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <map>
#include <string>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "plan/pattern_packing.h"
#include "plan/sequential_packing.h"

namespace lockstep {

namespace {

constexpr std::uint32_t nothing = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// Content of a pack, as its previous content and `times` more segments of one class.
struct Fill {
    std::uint32_t previous;
    std::uint32_t length_class;
    std::uint32_t times;
    std::uint32_t segments;  ///< Of all its content.
};

/// Packs of equal content.
struct PackGroup {
    std::uint32_t fill;
    std::uint64_t packs;
};

/// The rooms in use, ordered: a set of integers in [0, 2^24) as a bitmap of four levels.
class RoomSet {
  public:
    explicit RoomSet(std::uint32_t room_max) {
        for (Level& level : levels_) {
            room_max = room_max / 64 + 1;
            level.assign(room_max, 0);
        }
    }
    void insert(std::uint32_t room) {
        for (Level& level : levels_) {
            level[room / 64] |= std::uint64_t{1} << (room % 64);
            room /= 64;
        }
    }
    void erase(std::uint32_t room) {
        for (Level& level : levels_) {
            level[room / 64] &= ~(std::uint64_t{1} << (room % 64));
            if (level[room / 64] != 0) return;
            room /= 64;
        }
    }
    /// Smallest member of at least `room`; `nothing` if there is none.
    std::uint32_t at_least(std::uint32_t room) const {
        std::size_t height = 0;
        for (; height < levels_.size(); ++height) {
            const Level& level = levels_[height];
            if (room / 64 >= level.size()) return nothing;
            const std::uint64_t here = level[room / 64] >> (room % 64);
            if (here != 0) {
                room += static_cast<std::uint32_t>(std::countr_zero(here));
                break;
            }
            room = room / 64 + 1;
        }
        if (height == levels_.size()) return nothing;
        while (height-- > 0) {
            room = room * 64 + static_cast<std::uint32_t>(std::countr_zero(levels_[height][room]));
        }
        return room;
    }

  private:
    using Level = std::vector<std::uint64_t>;
    std::array<Level, 4> levels_;
};

/// Stacks of pack groups by room: a flat table while the budget is of common size, a tree beyond.
class GroupsByRoom {
  public:
    explicit GroupsByRoom(std::uint32_t room_max)
        : flat_(room_max < flat_rooms_max), rooms_(flat_ ? room_max : 0) {
        if (flat_) top_.assign(std::size_t{room_max} + 1, nothing);
    }
    void push(std::uint32_t room, PackGroup group) {
        std::uint32_t& top = flat_ ? top_[room] : tree_.try_emplace(room, nothing).first->second;
        if (flat_ && top == nothing) rooms_.insert(room);
        std::uint32_t node = free_;
        if (node == nothing) {
            node = static_cast<std::uint32_t>(nodes_.size());
            nodes_.emplace_back();
        } else {
            free_ = nodes_[node].below;
        }
        nodes_[node] = {group, top};
        top = node;
    }
    /// Takes the last group of the least room that is at least `tokens`. @return false if there is none.
    bool pop_at_least(std::uint32_t tokens, std::uint32_t& room, PackGroup& group) {
        const auto in_tree = flat_ ? tree_.end() : tree_.lower_bound(tokens);
        if (flat_) {
            const std::uint32_t found = rooms_.at_least(tokens);
            if (found == nothing) return false;
            room = found;
        } else {
            if (in_tree == tree_.end()) return false;
            room = in_tree->first;
        }
        std::uint32_t& top = flat_ ? top_[room] : in_tree->second;
        const std::uint32_t node = top;
        group = nodes_[node].group;
        top = nodes_[node].below;
        nodes_[node].below = free_;
        free_ = node;
        if (top == nothing) {
            if (flat_) {
                rooms_.erase(room);
            } else {
                tree_.erase(in_tree);
            }
        }
        return true;
    }
    /// All groups, least room first, in the order they were pushed.
    std::vector<PackGroup> listed() const {
        std::vector<PackGroup> groups;
        const auto list = [&](std::uint32_t top) {
            const std::size_t begin = groups.size();
            for (; top != nothing; top = nodes_[top].below) groups.push_back(nodes_[top].group);
            std::reverse(groups.begin() + static_cast<std::ptrdiff_t>(begin), groups.end());
        };
        for (const std::uint32_t top : top_) list(top);
        for (const auto& [room, top] : tree_) list(top);
        return groups;
    }

  private:
    static constexpr std::uint32_t flat_rooms_max = 1U << 20U;
    struct Node {
        PackGroup group;
        std::uint32_t below;
    };
    bool flat_;
    RoomSet rooms_;
    std::vector<std::uint32_t> top_;
    std::map<std::uint32_t, std::uint32_t> tree_;
    std::vector<Node> nodes_;
    std::uint32_t free_ = nothing;
};

/// The state of best-fit decreasing: open packs by the room they have left.
class OpenPacks {
  public:
    explicit OpenPacks(PackLimits limits)
        : limits_(limits),
          segments_max_(limits.segments_max == 0 ? nothing : limits.segments_max),
          open_(limits.tokens_max),
          closed_(limits.segments_max == 0 ? 0 : limits.tokens_max) {}

    /// Place `segments` segments of one class.
    void place(std::uint32_t length_class, std::uint32_t tokens, std::uint64_t segments) {
        while (segments > 0) {
            std::uint32_t room = limits_.tokens_max;
            PackGroup group{nothing, unlimited};
            open_.pop_at_least(tokens, room, group);
            // An equal segment follows into the same pack while it fits: that pack is now the fullest with
            // room.
            const std::uint32_t fit = std::min(room / tokens, segments_max_ - segments_in(group.fill));
            const std::uint64_t filled = std::min(group.packs, segments / fit);
            if (filled > 0) put(room - fit * tokens, {add_fill(group.fill, length_class, fit), filled});
            segments -= filled * fit;
            std::uint64_t left = group.packs - filled;
            if (left > 0 && segments > 0) {  // Fewer than fit: the last of the class.
                const auto rest = static_cast<std::uint32_t>(segments);
                put(room - rest * tokens, {add_fill(group.fill, length_class, rest), 1});
                segments = 0;
                --left;
            }
            const bool opened = group.fill != nothing;
            if (left > 0 && opened) put(room, {group.fill, left});
        }
    }

    PackShapes shapes() const {
        PackShapes shapes;
        for (const GroupsByRoom* groups : {&closed_, &open_}) {
            for (const PackGroup& group : groups->listed()) {
                for (std::uint32_t f = group.fill; f != nothing; f = fills_[f].previous) {
                    shapes.item_class.insert(shapes.item_class.end(), fills_[f].times,
                                             fills_[f].length_class);
                }
                // Fills were walked from the last, the shortest, to the first.
                std::reverse(
                    shapes.item_class.begin() + static_cast<std::ptrdiff_t>(shapes.shape_begin.back()),
                    shapes.item_class.end());
                shapes.shape_begin.push_back(shapes.item_class.size());
                shapes.shape_packs.push_back(group.packs);
            }
        }
        return shapes;
    }

  private:
    std::uint32_t segments_in(std::uint32_t fill) const {
        return fill == nothing ? 0 : fills_[fill].segments;
    }

    void put(std::uint32_t room, PackGroup group) {
        (segments_in(group.fill) == segments_max_ ? closed_ : open_).push(room, group);
    }

    std::uint32_t add_fill(std::uint32_t previous, std::uint32_t length_class, std::uint32_t times) {
        fills_.push_back({previous, length_class, times, segments_in(previous) + times});
        return static_cast<std::uint32_t>(fills_.size() - 1);
    }

    PackLimits limits_;
    std::uint32_t segments_max_;
    GroupsByRoom open_;    ///< With room for one more segment, if short enough.
    GroupsByRoom closed_;  ///< Holding as many segments as a pack may.
    std::vector<Fill> fills_;
};

LengthClasses classify_by_counting(std::span<const std::uint32_t> segment_tokens, std::uint32_t longest) {
    std::vector<SegmentIndex> count(std::size_t{longest} + 1, 0);
    for (const std::uint32_t tokens : segment_tokens) ++count[tokens];
    LengthClasses classes;
    for (std::size_t tokens = count.size(); tokens-- > 0;) {
        if (count[tokens] == 0) continue;
        const SegmentIndex begin = classes.begin.back();
        classes.tokens.push_back(static_cast<std::uint32_t>(tokens));
        classes.begin.push_back(begin + count[tokens]);
        count[tokens] = begin;
    }
    classes.members.resize(segment_tokens.size());
    // The places written to are all over: they are asked for ahead.
    constexpr std::size_t ahead = 32;
    const std::size_t size = segment_tokens.size();
    for (std::size_t i = 0; i < size; ++i) {
        if (i + ahead < size) __builtin_prefetch(&classes.members[count[segment_tokens[i + ahead]]], 1);
        classes.members[count[segment_tokens[i]]++] = static_cast<SegmentIndex>(i);
    }
    return classes;
}

LengthClasses classify_by_sorting(std::span<const std::uint32_t> segment_tokens) {
    LengthClasses classes;
    classes.members.resize(segment_tokens.size());
    for (SegmentIndex i = 0; i < segment_tokens.size(); ++i) classes.members[i] = i;
    std::sort(classes.members.begin(), classes.members.end(), [&](SegmentIndex a, SegmentIndex b) {
        return segment_tokens[a] != segment_tokens[b] ? segment_tokens[a] > segment_tokens[b] : a < b;
    });
    for (SegmentIndex i = 0; i < segment_tokens.size(); ++i) {
        const std::uint32_t tokens = segment_tokens[classes.members[i]];
        if (classes.tokens.empty() || classes.tokens.back() != tokens) {
            classes.tokens.push_back(tokens);
            classes.begin.push_back(i);
        }
        ++classes.begin.back();
    }
    return classes;
}

}  // namespace

LengthClasses classify_lengths(std::span<const std::uint32_t> segment_tokens) {
    LOCKSTEP_EXPECTS(segment_tokens.size() <= std::numeric_limits<SegmentIndex>::max());
    if (segment_tokens.empty()) return {};
    const std::uint32_t longest = *std::max_element(segment_tokens.begin(), segment_tokens.end());
    if (longest <= std::max<std::uint64_t>(1U << 16U, 4 * std::uint64_t{segment_tokens.size()})) {
        return classify_by_counting(segment_tokens, longest);
    }
    return classify_by_sorting(segment_tokens);
}

std::vector<std::uint64_t> LengthClasses::sizes() const {
    std::vector<std::uint64_t> sizes(num_classes());
    for (std::size_t c = 0; c < sizes.size(); ++c) sizes[c] = begin[c + 1] - begin[c];
    return sizes;
}

std::uint64_t PackShapes::num_packs() const {
    std::uint64_t packs = 0;
    for (const std::uint64_t copies : shape_packs) packs += copies;
    return packs;
}

void PackShapes::append(const PackShapes& more) {
    const std::uint64_t base = item_class.size();
    item_class.insert(item_class.end(), more.item_class.begin(), more.item_class.end());
    for (std::size_t s = 0; s < more.num_shapes(); ++s) shape_begin.push_back(base + more.shape_begin[s + 1]);
    shape_packs.insert(shape_packs.end(), more.shape_packs.begin(), more.shape_packs.end());
}

PackShapes best_fit_decreasing(std::span<const std::uint32_t> class_tokens,
                               std::span<const std::uint64_t> class_segments, PackLimits limits) {
    LOCKSTEP_EXPECTS(class_tokens.size() == class_segments.size());
    OpenPacks open(limits);
    for (std::uint32_t c = 0; c < class_tokens.size(); ++c) {
        LOCKSTEP_EXPECTS(class_tokens[c] >= 1 && class_tokens[c] <= limits.tokens_max);
        open.place(c, class_tokens[c], class_segments[c]);
    }
    return open.shapes();
}

PackShapes pack_automatically(std::span<const std::uint32_t> class_tokens,
                              std::span<const std::uint64_t> class_segments, PackLimits limits) {
    PackShapes best = best_fit_decreasing(class_tokens, class_segments, limits);
    const std::uint64_t packs = best.num_packs();
    const std::uint64_t bound = packs_lower_bound(class_tokens, class_segments, limits);
    if ((packs - bound) * 200 <= bound) return best;  // A gap of 0.5 % or less.
    PackShapes patterns = pack_by_patterns(class_tokens, class_segments, limits);
    return patterns.num_packs() < packs ? patterns : best;
}

PackShapes pack_shapes(const LengthClasses& classes, std::span<const std::uint32_t> segment_tokens,
                       PackLimits limits, PackingPolicy policy) {
    const std::vector<std::uint64_t> sizes = classes.sizes();
    switch (policy) {
        case PackingPolicy::automatic:
            return pack_automatically(classes.tokens, sizes, limits);
        case PackingPolicy::best_fit_decreasing:
            return best_fit_decreasing(classes.tokens, sizes, limits);
        case PackingPolicy::patterns:
            return pack_by_patterns(classes.tokens, sizes, limits);
        case PackingPolicy::first_fit_decreasing:
            return shapes_of_layout(first_fit_decreasing(segment_tokens, limits), classes, segment_tokens);
        case PackingPolicy::first_fit:
            return shapes_of_layout(first_fit(segment_tokens, limits), classes, segment_tokens);
        case PackingPolicy::best_fit:
            return shapes_of_layout(best_fit(segment_tokens, limits), classes, segment_tokens);
        case PackingPolicy::in_order:
        case PackingPolicy::concatenate:
            break;
    }
    throw Error(ErrorCode::bug, "packing policy '" + std::string(name_of(policy)) + "' has no shapes");
}

std::uint64_t packs_lower_bound(std::span<const std::uint32_t> class_tokens,
                                std::span<const std::uint64_t> class_segments, PackLimits limits) {
    const std::uint64_t capacity = limits.tokens_max;
    const std::size_t num_classes = class_tokens.size();
    // Running sums over classes, longest first.
    std::vector<std::uint64_t> segments_before(num_classes + 1, 0);
    std::vector<std::uint64_t> tokens_before(num_classes + 1, 0);
    for (std::size_t c = 0; c < num_classes; ++c) {
        segments_before[c + 1] = segments_before[c] + class_segments[c];
        tokens_before[c + 1] = tokens_before[c] + class_segments[c] * class_tokens[c];
    }
    const auto classes_longer_than = [&](std::uint64_t tokens) {
        const auto end = std::partition_point(class_tokens.begin(), class_tokens.end(),
                                              [&](std::uint32_t length) { return length > tokens; });
        return static_cast<std::size_t>(end - class_tokens.begin());
    };
    const std::size_t over_half = classes_longer_than(capacity / 2);
    // A segment over half needs a pack of its own. Consider only segments of at least `least` tokens (classes
    // before `end`): they share none of the packs whose long segment leaves less room than that.
    const auto bound_at = [&](std::uint64_t least, std::size_t end) {
        const std::size_t alone = classes_longer_than(capacity - least);
        const std::uint64_t shared_packs = segments_before[over_half] - segments_before[alone];
        const std::uint64_t room =
            shared_packs * capacity - (tokens_before[over_half] - tokens_before[alone]);
        const std::uint64_t small = tokens_before[end] - tokens_before[over_half];
        const std::uint64_t more = small > room ? (small - room + capacity - 1) / capacity : 0;
        return segments_before[over_half] + more;
    };
    std::uint64_t bound = (tokens_before[num_classes] + capacity - 1) / capacity;
    bound = std::max(bound, segments_before[over_half]);
    if (limits.segments_max > 0) {
        bound =
            std::max(bound, (segments_before[num_classes] + limits.segments_max - 1) / limits.segments_max);
    }
    for (std::size_t c = over_half; c < num_classes; ++c) {
        bound = std::max(bound, bound_at(class_tokens[c], c + 1));
    }
    return bound;
}

}  // namespace lockstep
