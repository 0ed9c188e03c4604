#include "plan/staged_packs.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "io/base/contract.h"
#include "plan/sequential_packing.h"

namespace lockstep {

namespace {

PackLimits limits_of(const PlanOptions& options) {
    return {options.token_budget, options.segments_per_pack_max};
}

/// Lists are short and of any length: copied in a block that most fit, so that no processor guesses where
/// each ends. Both sides hold list_block numbers more than `size`.
constexpr std::size_t list_block = 16;
void copy_list(const std::uint32_t* from, std::size_t size, std::uint32_t* to) {
    std::memcpy(to, from, list_block * sizeof(std::uint32_t));
    if (size > list_block) std::copy(from + list_block, from + size, to + list_block);
}

/// Packs come in random order: what they hold is asked for so many packs ahead.
constexpr std::size_t prefetch_lists = 16;

/// Packs of one shape have their lengths in so many different orders in an epoch.
constexpr std::uint64_t orders_per_shape = 4;

bool packs_neighbours(const PlanOptions& options) {
    return options.order != PackOrder::short_to_long &&
           (options.packing == PackingPolicy::in_order || options.packing == PackingPolicy::concatenate);
}

/// Shortest first, a new pack when the next segment does not fit; neighbours of equal content are one shape.
template <class Index>
PackShapes pack_short_to_long(const LengthClasses<Index>& classes, PackLimits limits) {
    PackShapes shapes;
    std::vector<std::uint32_t> pack;
    std::uint32_t room = limits.tokens_max;
    const auto close = [&] {
        const std::size_t last = shapes.num_shapes();
        if (last > 0 && std::ranges::equal(shapes.shape(last - 1), pack)) {
            ++shapes.shape_packs.back();
        } else {
            shapes.item_class.insert(shapes.item_class.end(), pack.begin(), pack.end());
            shapes.shape_begin.push_back(shapes.item_class.size());
            shapes.shape_packs.push_back(1);
        }
        pack.clear();
        room = limits.tokens_max;
    };
    for (std::size_t c = classes.num_classes(); c-- > 0;) {
        for (Index i = classes.begin[c]; i < classes.begin[c + 1]; ++i) {
            const bool full = limits.segments_max > 0 && pack.size() == limits.segments_max;
            if (classes.tokens[c] > room || full) close();
            pack.push_back(static_cast<std::uint32_t>(c));
            room -= classes.tokens[c];
        }
    }
    if (!pack.empty()) close();
    return shapes;
}

}  // namespace

EpochDraws::EpochDraws(std::uint64_t seed, std::uint64_t epoch)
    : identities(seed, "identities", epoch), segments(seed, "segment-order", epoch), packs(seed, epoch) {}

template <class Index>
Stage<Index>::Stage(const PlanOptions& options, const SegmentTable& table, std::vector<Index> members)
    : options_(options), table_(table) {
    std::vector<std::uint32_t> lengths(members.size());
    for (std::size_t i = 0; i < members.size(); ++i) lengths[i] = table.tokens[members[i]];
    pack(options, lengths);
    // From places in the stage to segments of the table.
    for (Index& member : classes_.members) member = members[member];
    for (Index& segment : layout_.segments) segment = members[segment];
    learn_costs();
}

template <class Index>
Stage<Index>::Stage(const PlanOptions& options, const SegmentTable& table)
    : options_(options), table_(table) {
    pack(options, table.tokens);
    learn_costs();
}

template <class Index>
void Stage<Index>::pack(const PlanOptions& options, std::span<const std::uint32_t> segment_tokens) {
    if (packs_neighbours(options)) {
        layout_ = pack_in_order<Index>(segment_tokens, limits_of(options));
        num_packs_ = layout_.num_packs();
        return;
    }
    classes_ = classify_lengths<Index>(segment_tokens);
    class_end_.assign(classes_.begin.begin() + 1, classes_.begin.end());
    shapes_ = options.order == PackOrder::short_to_long
                  ? pack_short_to_long(classes_, limits_of(options))
                  : pack_shapes(classes_, segment_tokens, limits_of(options), options.packing);
    num_packs_ = shapes_.num_packs();
}

template <class Index>
void Stage<Index>::learn_costs() {
    pack_cost_.clear();  // Packs made of shapes have theirs with their lists.
    if (!options_.balance) return;
    pack_cost_.reserve(layout_.num_packs());
    for (std::size_t p = 0; p < layout_.num_packs(); ++p) {
        PackWork work;
        for (const Index segment : layout_.pack(p)) work.add(table_.tokens[segment]);
        pack_cost_.push_back(work.cost(options_.cost));
    }
}

template <class Index>
std::vector<Index> Stage<Index>::give_back(std::uint64_t keep) {
    std::vector<Index> given;
    if (keep >= num_packs_) return given;
    if (layout_.num_packs() > 0) {
        const Index end = layout_.pack_begin[keep];
        given.assign(layout_.segments.begin() + static_cast<std::ptrdiff_t>(end), layout_.segments.end());
        layout_.segments.resize(end);
        layout_.pack_begin.resize(keep + 1);
    } else {
        std::vector<std::uint64_t> tokens(shapes_.num_shapes(), 0);
        for (std::size_t s = 0; s < tokens.size(); ++s) {
            for (const std::uint32_t c : shapes_.shape(s)) tokens[s] += classes_.tokens[c];
        }
        std::vector<Index> emptiest(tokens.size());
        std::iota(emptiest.begin(), emptiest.end(), Index{0});
        std::ranges::sort(emptiest, [&](Index a, Index b) {
            return tokens[a] != tokens[b] ? tokens[a] < tokens[b] : a > b;
        });
        std::uint64_t excess = num_packs_ - keep;
        for (const Index s : emptiest) {
            const std::uint64_t packs = std::min(excess, shapes_.shape_packs[s]);
            for (const std::uint32_t c : shapes_.shape(s)) {
                for (std::uint64_t i = 0; i < packs; ++i) given.push_back(classes_.members[--class_end_[c]]);
            }
            shapes_.shape_packs[s] -= packs;
            excess -= packs;
            if (excess == 0) break;
        }
    }
    num_packs_ = keep;
    learn_costs();
    return given;
}

template <class Index>
void Stage<Index>::begin_epoch(EpochOrder<Index>& order, EpochDraws& draws, bool last) {
    pack_kind_.resize(num_packs_);
    if (layout_.num_packs() > 0) {
        std::iota(pack_kind_.begin(), pack_kind_.end(), Index{0});
        order_packs(std::span(pack_kind_), pack_cost_, options_, draws.packs);
    } else {
        shuffle_identities(draws, last);
        make_lists(draws);
        order_packs(std::span(pack_kind_), list_cost_, options_, draws.packs);
    }
    // Resized, not reserved: of a mixture's many blocks each would reserve anew.
    const std::size_t first_pack = order.num_packs();
    Index end = order.pack_begin.back();
    order.pack_begin.resize(first_pack + num_packs_ + 1);
    for (std::size_t p = 0; p < num_packs_; ++p) {
        if (p + prefetch_lists < num_packs_) prefetch_list(p + prefetch_lists);
        end += static_cast<Index>(segments_of_pack(p));
        order.pack_begin[first_pack + p + 1] = end;
    }
    for (std::size_t step = first_pack; step < order.num_packs();) {
        step = std::min<std::size_t>(step + options_.packs_per_step, order.num_packs());
        order.step_begin.push_back(static_cast<Index>(step));
    }
}

template <class Index>
std::uint64_t Stage<Index>::segments_of_pack(std::size_t pack) const {
    const Index kind = pack_kind_[pack];
    return layout_.num_packs() > 0 ? layout_.pack(kind).size() : lists_[kind].size;
}

template <class Index>
void Stage<Index>::append_to(EpochOrder<Index>& order, EpochDraws& draws) {
    begin_epoch(order, draws, true);
    const std::size_t begin = order.segments.size();
    order.segments.resize(order.pack_begin.back());
    draw(0, num_packs_, {std::span(order.segments).subspan(begin), {}, {}});
}

template <class Index>
void Stage<Index>::shuffle_identities(EpochDraws& draws, bool last) {
    // Segments of equal length are interchangeable, so every epoch gives them out anew.
    if (last) {
        shuffled_ = std::move(classes_.members);
    } else {
        shuffled_ = classes_.members;
    }
    for (std::size_t c = 0; c < classes_.num_classes(); ++c) {
        shuffle_values(std::span(shuffled_).subspan(classes_.begin[c], class_end_[c] - classes_.begin[c]),
                       draws.identities);
    }
    next_.assign(classes_.begin.begin(), classes_.begin.end() - 1);
    drawn_ = 0;
}

template <class Index>
void Stage<Index>::make_lists(EpochDraws& draws) {
    // Longest first would be a curriculum inside the pack.
    const bool ascending = options_.order == PackOrder::short_to_long;
    const auto lists_of = [&](std::size_t shape) {
        return std::min(shapes_.shape_packs[shape], ascending ? 1 : orders_per_shape);
    };
    std::uint64_t num_lists = 0, num_classes = list_block;
    for (std::size_t s = 0; s < shapes_.num_shapes(); ++s) {
        num_lists += lists_of(s);
        num_classes += lists_of(s) * shapes_.shape(s).size();
    }
    lists_.clear();
    lists_.reserve(num_lists);
    list_classes_.clear();
    list_classes_.reserve(num_classes);
    list_cost_.clear();
    auto next_pack = pack_kind_.begin();
    for (std::size_t s = 0; s < shapes_.num_shapes(); ++s) {
        const auto shape = shapes_.shape(s);
        const auto size = static_cast<std::uint32_t>(shape.size());
        PackWork work;
        for (const std::uint32_t c : shape) work.add(classes_.tokens[c]);
        const std::uint64_t orders = lists_of(s);
        const std::size_t first = lists_.size();
        for (std::uint64_t o = 0; o < orders; ++o) {
            lists_.push_back({static_cast<Index>(list_classes_.size()), size, work});
            list_classes_.insert(list_classes_.end(), shape.begin(), shape.end());
            if (!ascending) shuffle_values(std::span(list_classes_).last(size), draws.segments);
        }
        if (options_.balance) list_cost_.insert(list_cost_.end(), orders, work.cost(options_.cost));
        std::size_t list = first;
        for (std::uint64_t copy = 0; copy < shapes_.shape_packs[s]; ++copy) {
            *next_pack++ = static_cast<Index>(list);
            if (++list == first + orders) list = first;
        }
    }
    LOCKSTEP_ENSURES(next_pack == pack_kind_.end());
    list_classes_.resize(list_classes_.size() + list_block);
}

template <class Index>
void Stage<Index>::go_to(std::size_t pack) {
    if (pack < drawn_) {
        next_.assign(classes_.begin.begin(), classes_.begin.end() - 1);
        drawn_ = 0;
    }
    for (; drawn_ < pack; ++drawn_) {
        if (drawn_ + 2 * prefetch_lists < num_packs_) prefetch_list(drawn_ + 2 * prefetch_lists);
        if (drawn_ + prefetch_lists < num_packs_) prefetch_classes(drawn_ + prefetch_lists);
        const ClassList& list = lists_[pack_kind_[drawn_]];
        for (const std::uint32_t c : std::span(list_classes_).subspan(list.begin, list.size)) ++next_[c];
    }
}

template <class Index>
void Stage<Index>::draw(std::size_t begin, std::size_t end, const PackContents<Index>& contents) {
    if (layout_.num_packs() > 0) return draw_from_layout(begin, end, contents);
    go_to(begin);
    constexpr std::size_t packs_at_once = 256;  // Whose classes are in the cache when they are looked up.
    for (std::size_t segment = 0; drawn_ < end;) {
        // First the classes of some packs, then a segment for each: two plain loops in place of a nested one,
        // whose inner count no processor guesses.
        std::size_t num_drawn = 0;
        for (const std::size_t block_end = std::min(drawn_ + packs_at_once, end); drawn_ < block_end;
             ++drawn_) {
            if (drawn_ + 2 * prefetch_lists < end) prefetch_list(drawn_ + 2 * prefetch_lists);
            if (drawn_ + prefetch_lists < end) prefetch_classes(drawn_ + prefetch_lists);
            const ClassList& list = lists_[pack_kind_[drawn_]];
            const std::size_t room = num_drawn + list.size + list_block;
            if (classes_drawn_.size() < room) classes_drawn_.resize(2 * room);
            copy_list(list_classes_.data() + list.begin, list.size, classes_drawn_.data() + num_drawn);
            num_drawn += list.size;
            if (!contents.work.empty()) contents.work[drawn_ - begin] = list.work;
        }
        const auto drawn = std::span<const std::uint32_t>(classes_drawn_).first(num_drawn);
        const auto segments = contents.segments.subspan(segment, num_drawn);
        for (std::size_t i = 0; i < num_drawn; ++i) {
            constexpr std::size_t ahead = 32;
            if (i + ahead < num_drawn) __builtin_prefetch(&shuffled_[next_[drawn[i + ahead]]]);
            segments[i] = shuffled_[next_[drawn[i]]++];
        }
        if (!contents.tokens.empty()) {
            const auto tokens = contents.tokens.subspan(segment, num_drawn);
            for (std::size_t i = 0; i < num_drawn; ++i) tokens[i] = classes_.tokens[drawn[i]];
        }
        segment += num_drawn;
    }
}

template <class Index>
void Stage<Index>::prefetch_list(std::size_t pack) const {
    if (!lists_.empty()) __builtin_prefetch(&lists_[pack_kind_[pack]]);
}

template <class Index>
void Stage<Index>::prefetch_classes(std::size_t pack) const {
    __builtin_prefetch(list_classes_.data() + lists_[pack_kind_[pack]].begin);
}

template <class Index>
void Stage<Index>::draw_from_layout(std::size_t begin, std::size_t end,
                                    const PackContents<Index>& contents) const {
    std::size_t i = 0;
    for (std::size_t p = begin; p < end; ++p) {
        PackWork work;
        for (const Index segment : layout_.pack(pack_kind_[p])) {
            const std::uint32_t tokens = table_.tokens[segment];
            work.add(tokens);
            contents.segments[i] = segment;
            if (!contents.tokens.empty()) contents.tokens[i] = tokens;
            ++i;
        }
        if (!contents.work.empty()) contents.work[p - begin] = work;
    }
}

template class Stage<NarrowIndex>;
template class Stage<WideIndex>;

}  // namespace lockstep
