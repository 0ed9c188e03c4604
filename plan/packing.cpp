#include "plan/packing.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "plan/pattern_packing.h"
#include "plan/sequential_packing.h"

namespace lockstep {

namespace {

/// How many segments there are of each length, up to the longest; empty if that is over the limit.
template <class Index>
std::vector<Index> segments_of_each_length(std::span<const std::uint32_t> segment_tokens,
                                           std::uint64_t limit) {
    constexpr std::size_t block = 4096;  // Looked at twice while it is in the cache.
    std::vector<Index> count(1, 0);
    std::uint32_t longest = 0;
    for (std::size_t begin = 0; begin < segment_tokens.size(); begin += block) {
        const auto lengths = segment_tokens.subspan(begin, std::min(block, segment_tokens.size() - begin));
        std::uint32_t longer = 0;  // A comparison is a third of a maximum's work.
        for (const std::uint32_t tokens : lengths) longer += tokens > longest ? 1U : 0U;
        if (longer != 0) {
            longest = std::ranges::max(lengths);
            if (longest > limit) return {};
            count.resize(std::size_t{longest} + 1, 0);
        }
        for (const std::uint32_t tokens : lengths) ++count[tokens];
    }
    return count;
}

template <class Index>
LengthClasses<Index> classify_by_counting(std::span<const std::uint32_t> segment_tokens,
                                          std::vector<Index> count) {
    LengthClasses<Index> classes;
    for (std::size_t tokens = count.size(); tokens-- > 0;) {
        if (count[tokens] == 0) continue;
        const Index begin = classes.begin.back();
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
        classes.members[count[segment_tokens[i]]++] = static_cast<Index>(i);
    }
    return classes;
}

template <class Index>
LengthClasses<Index> classify_by_sorting(std::span<const std::uint32_t> segment_tokens) {
    LengthClasses<Index> classes;
    classes.members.resize(segment_tokens.size());
    for (Index i = 0; i < segment_tokens.size(); ++i) classes.members[i] = i;
    std::sort(classes.members.begin(), classes.members.end(), [&](Index a, Index b) {
        return segment_tokens[a] != segment_tokens[b] ? segment_tokens[a] > segment_tokens[b] : a < b;
    });
    for (Index i = 0; i < segment_tokens.size(); ++i) {
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

template <class Index>
LengthClasses<Index> classify_lengths(std::span<const std::uint32_t> segment_tokens) {
    LOCKSTEP_EXPECTS(segment_tokens.size() <= std::numeric_limits<Index>::max());
    if (segment_tokens.empty()) return {};
    const std::uint64_t counted_max = std::max<std::uint64_t>(1U << 16U, 4 * segment_tokens.size());
    std::vector<Index> count = segments_of_each_length<Index>(segment_tokens, counted_max);
    return count.empty() ? classify_by_sorting<Index>(segment_tokens)
                         : classify_by_counting<Index>(segment_tokens, std::move(count));
}

template <class Index>
std::vector<std::uint64_t> LengthClasses<Index>::sizes() const {
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

PackShapes pack_automatically(std::span<const std::uint32_t> class_tokens,
                              std::span<const std::uint64_t> class_segments, PackLimits limits) {
    PackShapes best = best_fit_decreasing(class_tokens, class_segments, limits);
    std::uint64_t packs = best.num_packs();
    const std::uint64_t bound = packs_lower_bound(class_tokens, class_segments, limits);
    const auto keep_if_fewer = [&](PackShapes other) {
        if (other.num_packs() >= packs) return;
        packs = other.num_packs();
        best = std::move(other);
    };
    if (packs - bound > 1) keep_if_fewer(thrifty_best_fit(class_tokens, class_segments, limits));
    if ((packs - bound) * 200 > bound) keep_if_fewer(pack_by_patterns(class_tokens, class_segments, limits));
    return best;
}

template <class Index>
PackShapes pack_shapes(const LengthClasses<Index>& classes, std::span<const std::uint32_t> segment_tokens,
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
            return shapes_of_layout(first_fit_decreasing<Index>(segment_tokens, limits), classes,
                                    segment_tokens);
        case PackingPolicy::first_fit:
            return shapes_of_layout(first_fit<Index>(segment_tokens, limits), classes, segment_tokens);
        case PackingPolicy::best_fit:
            return shapes_of_layout(best_fit<Index>(segment_tokens, limits), classes, segment_tokens);
        case PackingPolicy::in_order:
        case PackingPolicy::concatenate:
            break;
    }
    throw Error(ErrorCode::bug, "packing policy '" + std::string(name_of(policy)) + "' has no shapes");
}

template struct LengthClasses<NarrowIndex>;
template struct LengthClasses<WideIndex>;
template LengthClasses<NarrowIndex> classify_lengths(std::span<const std::uint32_t>);
template LengthClasses<WideIndex> classify_lengths(std::span<const std::uint32_t>);
template PackShapes pack_shapes(const LengthClasses<NarrowIndex>&, std::span<const std::uint32_t>, PackLimits,
                                PackingPolicy);
template PackShapes pack_shapes(const LengthClasses<WideIndex>&, std::span<const std::uint32_t>, PackLimits,
                                PackingPolicy);

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
