#include "plan/staged_packs.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "io/base/contract.h"
#include "plan/sequential_packing.h"

namespace lockstep {

namespace {

PackLimits limits_of(const PlanOptions& options) {
    return {options.token_budget, options.segments_per_pack_max};
}

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
void Stage<Index>::append_to(EpochOrder<Index>& order, EpochDraws& draws, bool last) {
    const std::size_t first_pack = order.num_packs();
    if (layout_.num_packs() > 0) {
        append_layout(order, draws);
    } else {
        append_shapes(order, draws, last);
    }
    LOCKSTEP_ENSURES(order.num_packs() == first_pack + num_packs_);
    for (std::size_t end = first_pack; end < order.num_packs();) {
        end = std::min<std::size_t>(end + options_.packs_per_step, order.num_packs());
        order.step_begin.push_back(static_cast<Index>(end));
    }
}

template <class Index>
void Stage<Index>::append_layout(EpochOrder<Index>& order, EpochDraws& draws) {
    std::vector<Index> packs(num_packs_);
    std::iota(packs.begin(), packs.end(), Index{0});
    order_packs(std::span(packs), pack_cost_, options_, draws.packs);
    for (const Index pack : packs) {
        const auto segments = layout_.pack(pack);
        order.segments.insert(order.segments.end(), segments.begin(), segments.end());
        order.pack_begin.push_back(static_cast<Index>(order.segments.size()));
    }
}

template <class Index>
void Stage<Index>::append_shapes(EpochOrder<Index>& order, EpochDraws& draws, bool last) {
    shuffle_identities(draws, last);
    // Resized, not reserved: of a mixture's many blocks each would reserve anew.
    const std::size_t first_pack = order.num_packs();
    order.pack_begin.resize(first_pack + num_packs_ + 1);
    order.pack_list.resize(first_pack + num_packs_);
    const std::span<Index> pack_end = std::span(order.pack_begin).last(num_packs_);
    const std::span<Index> pack_list = std::span(order.pack_list).last(num_packs_);
    const std::size_t first_list = order.lists.size();
    const std::size_t first_class = order.list_tokens.size() - list_block;
    const std::uint64_t num_segments = append_lists(order, draws, pack_list);
    order_packs(pack_list, list_cost_, options_, draws.packs);

    const std::size_t begin = order.segments.size();
    order.segments.resize(begin + num_segments + list_block);
    const LengthList<Index>* const lists = order.lists.data() + first_list;
    const std::uint32_t* const list_classes = order.list_tokens.data();
    Index* out = order.segments.data() + begin;
    constexpr std::size_t packs_at_once = 256;  // Whose classes are in the cache when they are looked up.
    for (std::size_t block = 0; block < num_packs_; block += packs_at_once) {
        // First the classes of some packs, then a segment for each: two plain loops in place of a nested one,
        // whose inner count no processor guesses.
        Index* const classes = out;
        const std::size_t block_end = std::min<std::size_t>(block + packs_at_once, num_packs_);
        for (std::size_t p = block; p < block_end; ++p) {
            // Packs come in random order: their rows are asked for ahead.
            constexpr std::size_t ahead = 16;
            if (p + 2 * ahead < num_packs_) __builtin_prefetch(&lists[pack_list[p + 2 * ahead]]);
            if (p + ahead < num_packs_) __builtin_prefetch(list_classes + lists[pack_list[p + ahead]].begin);
            const LengthList<Index>& list = lists[pack_list[p]];
            out = copy_list(list_classes + list.begin, list.size, out);
            pack_end[p] = static_cast<Index>(out - order.segments.data());
            pack_list[p] += static_cast<Index>(first_list);
        }
        const std::span<Index> places(classes, out);
        for (std::size_t i = 0; i < places.size(); ++i) {
            constexpr std::size_t ahead = 32;
            if (i + ahead < places.size()) __builtin_prefetch(&shuffled_[next_[places[i + ahead]]]);
            places[i] = shuffled_[next_[places[i]]++];
        }
    }
    order.segments.resize(begin + num_segments);
    const auto classes = std::span(order.list_tokens).subspan(first_class);
    for (std::uint32_t& c : classes.first(classes.size() - list_block)) c = classes_.tokens[c];
}

template <class Index>
void Stage<Index>::shuffle_identities(EpochDraws& draws, bool last) {
    // Segments of equal length are interchangeable, so every epoch gives them out anew.
    if (last) {
        shuffled_ = std::move(classes_.members);
    } else {
        shuffled_ = classes_.members;
    }
    next_.assign(classes_.begin.begin(), classes_.begin.end() - 1);
    for (std::size_t c = 0; c < classes_.num_classes(); ++c) {
        shuffle_values(std::span(shuffled_).subspan(classes_.begin[c], class_end_[c] - classes_.begin[c]),
                       draws.identities);
    }
}

template <class Index>
std::uint64_t Stage<Index>::append_lists(EpochOrder<Index>& order, EpochDraws& draws,
                                         std::span<Index> pack_list) {
    list_cost_.clear();
    order.list_tokens.resize(order.list_tokens.size() - list_block);
    const std::size_t first_list = order.lists.size();
    // Longest first would be a curriculum inside the pack.
    const bool ascending = options_.order == PackOrder::short_to_long;
    const auto lists_of = [&](std::size_t shape) {
        return std::min(shapes_.shape_packs[shape], ascending ? 1 : orders_per_shape);
    };
    if (first_list == 0) {  // Of a mixture's many blocks each would reserve anew.
        std::uint64_t lists = 0, tokens = list_block;
        for (std::size_t s = 0; s < shapes_.num_shapes(); ++s) {
            lists += lists_of(s);
            tokens += lists_of(s) * shapes_.shape(s).size();
        }
        order.lists.reserve(lists);
        order.list_tokens.reserve(tokens);
    }
    std::uint64_t num_segments = 0;
    auto next_pack = pack_list.begin();
    for (std::size_t s = 0; s < shapes_.num_shapes(); ++s) {
        const auto shape = shapes_.shape(s);
        const auto size = static_cast<std::uint32_t>(shape.size());
        const std::uint64_t packs = shapes_.shape_packs[s];
        num_segments += packs * size;
        PackWork work;
        for (const std::uint32_t c : shape) work.add(classes_.tokens[c]);
        const std::uint64_t orders = lists_of(s);
        const std::size_t first = order.lists.size() - first_list;
        for (std::uint64_t o = 0; o < orders; ++o) {
            order.lists.push_back({static_cast<Index>(order.list_tokens.size()), size, work});
            order.list_tokens.insert(order.list_tokens.end(), shape.begin(), shape.end());
            if (!ascending) shuffle_values(std::span(order.list_tokens).last(size), draws.segments);
        }
        if (options_.balance) list_cost_.insert(list_cost_.end(), orders, work.cost(options_.cost));
        std::size_t list = first;
        for (std::uint64_t copy = 0; copy < packs; ++copy) {
            *next_pack++ = static_cast<Index>(list);
            if (++list == first + orders) list = first;
        }
    }
    LOCKSTEP_ENSURES(next_pack == pack_list.end());
    order.list_tokens.resize(order.list_tokens.size() + list_block);
    return num_segments;
}

template class Stage<NarrowIndex>;
template class Stage<WideIndex>;

}  // namespace lockstep
