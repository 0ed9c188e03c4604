#include <algorithm>
#include <array>
#include <bit>
#include <functional>
#include <limits>
#include <map>
#include <queue>

#include "io/base/contract.h"
#include "plan/packing.h"

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

/// Segments of classes still to come, promised to the remainders that packs are left with.
class Promises {
  public:
    Promises(std::span<const std::uint32_t> class_tokens, std::span<const std::uint64_t> class_segments)
        : class_tokens_(class_tokens), free_(class_segments.begin(), class_segments.end()) {}

    /// One segment of just `tokens` tokens for each of `packs` packs. @return false, and nothing promised, if
    /// there are fewer.
    bool make(std::uint32_t tokens, std::uint64_t packs) {
        const auto found =
            std::lower_bound(class_tokens_.begin(), class_tokens_.end(), tokens, std::greater<>());
        if (found == class_tokens_.end() || *found != tokens) return packs == 0;
        std::uint64_t& segments = free_[static_cast<std::size_t>(found - class_tokens_.begin())];
        if (segments < packs) return false;
        segments -= packs;
        return true;
    }

  private:
    std::span<const std::uint32_t> class_tokens_;
    std::vector<std::uint64_t> free_;
};

/// The state of best-fit decreasing: open packs by the room they have left.
class OpenPacks {
  public:
    /// @param promises  for the thrifty rule; null without. Outlives this.
    OpenPacks(PackLimits limits, Promises* promises)
        : limits_(limits),
          segments_max_(limits.segments_max == 0 ? nothing : limits.segments_max),
          promises_(promises),
          open_(limits.tokens_max),
          closed_(limits.segments_max == 0 ? 0 : limits.tokens_max) {}

    /// Place `segments` segments of one class.
    void place(std::uint32_t length_class, std::uint32_t tokens, std::uint64_t segments) {
        release(tokens);
        while (segments > 0) {
            std::uint32_t room = limits_.tokens_max;
            PackGroup group{nothing, unlimited};
            open_.pop_at_least(tokens, room, group);
            const bool opened = group.fill != nothing;
            // An equal segment follows into the same pack while it fits: that pack is now the fullest with
            // room.
            const std::uint32_t fit = std::min(room / tokens, segments_max_ - segments_in(group.fill));
            if (!opened && leaves_scrap(room - fit * tokens, fit, segments / fit)) {
                const std::uint64_t held = segments / (fit - 1);
                if (held > 0) {
                    hold(room - (fit - 1) * tokens, {add_fill(nothing, length_class, fit - 1), held});
                    segments -= held * (fit - 1);
                    continue;
                }
            }
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
            if (left > 0 && opened) put(room, {group.fill, left});
        }
    }

    /// No class comes any more.
    void finish() { release(0); }

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
    /// Whether `packs` fresh packs with `fit` segments each had better hold one less: what they leave fits no
    /// other of this class, and there are not enough segments of just that length.
    bool leaves_scrap(std::uint32_t remainder, std::uint32_t fit, std::uint64_t packs) {
        return promises_ != nullptr && remainder > 0 && fit > 1 && fit < segments_max_ &&
               !promises_->make(remainder, packs);
    }

    void hold(std::uint32_t room, PackGroup group) { held_.push({hold_until(room), room, group}); }

    /// Back to the open packs with those that wait for segments of `tokens` tokens or more.
    void release(std::uint32_t tokens) {
        while (!held_.empty() && held_.top().until >= tokens) {
            put(held_.top().room, held_.top().group);
            held_.pop();
        }
    }

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

    /// Packs that wait until a segment leaves them a room that others are likely to fill.
    struct Held {
        std::uint32_t until;  ///< [tokens]
        std::uint32_t room;
        PackGroup group;
        /// Longest wait last; of equal ones the least room, then the group made first.
        friend bool operator<(const Held& a, const Held& b) {
            if (a.until != b.until) return a.until < b.until;
            return a.room != b.room ? a.room > b.room : a.group.fill > b.group.fill;
        }
    };
    /// Two thirds of the room: the last third is for one of the many short segments.
    static std::uint32_t hold_until(std::uint32_t room) {
        return static_cast<std::uint32_t>(std::uint64_t{room} * 2 / 3);
    }

    PackLimits limits_;
    std::uint32_t segments_max_;
    Promises* promises_;
    std::priority_queue<Held> held_;
    GroupsByRoom open_;    ///< With room for one more segment, if short enough.
    GroupsByRoom closed_;  ///< Holding as many segments as a pack may.
    std::vector<Fill> fills_;
};

PackShapes pack(std::span<const std::uint32_t> class_tokens, std::span<const std::uint64_t> class_segments,
                PackLimits limits, Promises* promises) {
    LOCKSTEP_EXPECTS(class_tokens.size() == class_segments.size());
    OpenPacks open(limits, promises);
    for (std::uint32_t c = 0; c < class_tokens.size(); ++c) {
        LOCKSTEP_EXPECTS(class_tokens[c] >= 1 && class_tokens[c] <= limits.tokens_max);
        open.place(c, class_tokens[c], class_segments[c]);
    }
    open.finish();
    return open.shapes();
}

}  // namespace

PackShapes best_fit_decreasing(std::span<const std::uint32_t> class_tokens,
                               std::span<const std::uint64_t> class_segments, PackLimits limits) {
    return pack(class_tokens, class_segments, limits, nullptr);
}

PackShapes thrifty_best_fit(std::span<const std::uint32_t> class_tokens,
                            std::span<const std::uint64_t> class_segments, PackLimits limits) {
    Promises promises(class_tokens, class_segments);
    return pack(class_tokens, class_segments, limits, &promises);
}

}  // namespace lockstep
