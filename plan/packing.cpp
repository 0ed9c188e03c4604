#include "plan/packing.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>

#include "io/base/contract.h"
#include "io/base/error.h"

namespace lockstep {

namespace {

constexpr std::uint32_t no_fill = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

/// Content of a pack, as its previous content and `times` more segments of one class.
struct Fill {
    std::uint32_t previous;
    std::uint32_t length_class;
    std::uint32_t times;
};

/// Packs of equal content.
struct PackGroup {
    std::uint32_t fill;
    std::uint64_t packs;
};

/// The state of best-fit decreasing: open packs by the room they have left.
class OpenPacks {
  public:
    explicit OpenPacks(std::uint32_t pack_tokens_max) : pack_tokens_max_(pack_tokens_max) {}

    /// Place `segments` segments of one class.
    void place(std::uint32_t length_class, std::uint32_t tokens, std::uint64_t segments) {
        while (segments > 0) {
            std::uint32_t room = pack_tokens_max_;
            const PackGroup group = take_fullest_with_room(tokens, room);
            // An equal segment follows into the same pack while it fits: that pack is now the fullest with
            // room.
            const std::uint32_t fit = room / tokens;
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
            const bool opened = group.fill != no_fill;
            if (left > 0 && opened) put(room, {group.fill, left});
        }
    }

    PackShapes shapes() const {
        PackShapes shapes;
        for (const auto& [room, groups] : by_room_) {
            for (const PackGroup& group : groups) {
                for (std::uint32_t f = group.fill; f != no_fill; f = fills_[f].previous) {
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
    /// Removes the group from its room; a new, unlimited one of full room if none fits.
    PackGroup take_fullest_with_room(std::uint32_t tokens, std::uint32_t& room) {
        const auto found = by_room_.lower_bound(tokens);
        if (found == by_room_.end()) return {no_fill, unlimited};
        room = found->first;
        const PackGroup group = found->second.back();
        found->second.pop_back();
        if (found->second.empty()) by_room_.erase(found);
        return group;
    }

    void put(std::uint32_t room, PackGroup group) { by_room_[room].push_back(group); }

    std::uint32_t add_fill(std::uint32_t previous, std::uint32_t length_class, std::uint32_t times) {
        fills_.push_back({previous, length_class, times});
        return static_cast<std::uint32_t>(fills_.size() - 1);
    }

    std::uint32_t pack_tokens_max_;
    std::map<std::uint32_t, std::vector<PackGroup>> by_room_;
    std::vector<Fill> fills_;
};

void check_segments(std::span<const std::uint32_t> segment_tokens, std::uint32_t pack_tokens_max) {
    if (pack_tokens_max < 1 || pack_tokens_max > 0x7FFFFFFFU) {
        throw Error(ErrorCode::invalid_argument, "the token budget is " + std::to_string(pack_tokens_max) +
                                                     "; expected 1 to 2147483647 tokens");
    }
    for (std::size_t i = 0; i < segment_tokens.size(); ++i) {
        if (segment_tokens[i] < 1 || segment_tokens[i] > pack_tokens_max) {
            throw Error(ErrorCode::invalid_argument,
                        "segment " + std::to_string(i) + " has " + std::to_string(segment_tokens[i]) +
                            " tokens; expected 1 to " + std::to_string(pack_tokens_max) +
                            ", the token budget");
        }
    }
}

PackLayout pack_in_order(std::span<const std::uint32_t> segment_tokens, std::uint32_t pack_tokens_max) {
    PackLayout layout;
    layout.segments.reserve(segment_tokens.size());
    std::uint32_t room = pack_tokens_max;
    for (SegmentIndex i = 0; i < segment_tokens.size(); ++i) {
        if (segment_tokens[i] > room) {
            layout.pack_begin.push_back(i);
            room = pack_tokens_max;
        }
        layout.segments.push_back(i);
        room -= segment_tokens[i];
    }
    if (!segment_tokens.empty())
        layout.pack_begin.push_back(static_cast<SegmentIndex>(segment_tokens.size()));
    return layout;
}

PackLayout pack_best_fit(std::span<const std::uint32_t> segment_tokens, std::uint32_t pack_tokens_max) {
    const LengthClasses classes = classify_lengths(segment_tokens);
    const PackShapes shapes = best_fit_decreasing(classes.tokens, classes.sizes(), pack_tokens_max);
    std::vector<SegmentIndex> next(classes.begin.begin(), classes.begin.end() - 1);
    PackLayout layout;
    layout.segments.reserve(segment_tokens.size());
    for (std::size_t s = 0; s < shapes.num_shapes(); ++s) {
        for (std::uint64_t copy = 0; copy < shapes.shape_packs[s]; ++copy) {
            for (const std::uint32_t c : shapes.shape(s))
                layout.segments.push_back(classes.members[next[c]++]);
            layout.pack_begin.push_back(static_cast<SegmentIndex>(layout.segments.size()));
        }
    }
    LOCKSTEP_ENSURES(layout.segments.size() == segment_tokens.size());
    return layout;
}

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
    for (SegmentIndex i = 0; i < segment_tokens.size(); ++i) classes.members[count[segment_tokens[i]]++] = i;
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

PackShapes best_fit_decreasing(std::span<const std::uint32_t> class_tokens,
                               std::span<const std::uint64_t> class_segments, std::uint32_t pack_tokens_max) {
    LOCKSTEP_EXPECTS(class_tokens.size() == class_segments.size());
    OpenPacks open(pack_tokens_max);
    for (std::uint32_t c = 0; c < class_tokens.size(); ++c) {
        LOCKSTEP_EXPECTS(class_tokens[c] >= 1 && class_tokens[c] <= pack_tokens_max);
        open.place(c, class_tokens[c], class_segments[c]);
    }
    return open.shapes();
}

PackLayout pack_segments(std::span<const std::uint32_t> segment_tokens, std::uint32_t pack_tokens_max,
                         PackingPolicy policy) {
    check_segments(segment_tokens, pack_tokens_max);
    switch (policy) {
        case PackingPolicy::in_order:
            return pack_in_order(segment_tokens, pack_tokens_max);
        case PackingPolicy::best_fit_decreasing:
        case PackingPolicy::automatic:
            return pack_best_fit(segment_tokens, pack_tokens_max);
        default:
            break;
    }
    throw Error(
        ErrorCode::invalid_argument,
        "unknown packing policy " + std::to_string(static_cast<unsigned>(policy)) + "; expected 0 to 7");
}

std::vector<std::int32_t> cu_seqlens(const PackLayout& layout, std::size_t pack,
                                     std::span<const std::uint32_t> segment_tokens) {
    LOCKSTEP_EXPECTS(pack < layout.num_packs());
    std::vector<std::int32_t> bounds{0};
    for (const SegmentIndex segment : layout.pack(pack)) {
        bounds.push_back(bounds.back() + static_cast<std::int32_t>(segment_tokens[segment]));
    }
    return bounds;
}

std::uint64_t packs_lower_bound(std::span<const std::uint32_t> class_tokens,
                                std::span<const std::uint64_t> class_segments,
                                std::uint32_t pack_tokens_max) {
    const std::uint64_t capacity = pack_tokens_max;
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
    for (std::size_t c = over_half; c < num_classes; ++c) {
        bound = std::max(bound, bound_at(class_tokens[c], c + 1));
    }
    return bound;
}

}  // namespace lockstep
