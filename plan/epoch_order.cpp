#include "plan/epoch_order.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "plan/bucketing.h"
#include "plan/staged_packs.h"

namespace lockstep {

namespace {

std::uint64_t steps_of(std::uint64_t packs, std::uint32_t packs_per_step) {
    return (packs + packs_per_step - 1) / packs_per_step;
}

/// Cut segments, given in the stages' order, into stages of about equal tokens. Segments that `may_part` does
/// not separate stay together.
template <class Index, class MayPart>
std::vector<std::vector<Index>> cut_into_stages(const std::vector<Index>& ordered,
                                                std::span<const std::uint32_t> tokens,
                                                std::uint32_t num_stages, MayPart may_part) {
    std::uint64_t total = 0;
    for (const std::uint32_t length : tokens) total += length;
    std::vector<std::vector<Index>> stages;
    std::uint64_t before = 0;
    std::uint64_t stage = 0;  // Of equal tokens, counted from 0; some may be empty.
    for (std::size_t i = 0; i < ordered.size(); ++i) {
        __extension__ using u128 = unsigned __int128;
        const auto due = static_cast<std::uint64_t>(static_cast<u128>(before) * num_stages / total);
        if (i == 0 || (due > stage && may_part(ordered[i - 1], ordered[i]))) {
            stages.emplace_back();
            stage = due;
        }
        stages.back().push_back(ordered[i]);
        before += tokens[ordered[i]];
    }
    // Within a stage segments arrive as they did.
    for (auto& members : stages) std::ranges::sort(members);
    return stages;
}

template <class Index>
std::vector<std::vector<Index>> stages_of(const PlanOptions& options, const SegmentTable& table,
                                          std::span<const double> score) {
    std::vector<Index> ordered(table.size());
    std::iota(ordered.begin(), ordered.end(), Index{0});
    if (options.order == PackOrder::length_stages) {
        std::ranges::stable_sort(ordered,
                                 [&](Index a, Index b) { return table.tokens[a] < table.tokens[b]; });
        return cut_into_stages(ordered, table.tokens, options.stages,
                               [&](Index a, Index b) { return table.tokens[a] != table.tokens[b]; });
    }
    std::ranges::stable_sort(ordered, [&](Index a, Index b) { return score[a] < score[b]; });
    return cut_into_stages(ordered, table.tokens, options.stages,
                           [&](Index a, Index b) { return score[a] != score[b]; });
}

template <class Index>
class StagedEpochs final : public EpochSequence<Index> {
  public:
    StagedEpochs(const PlanOptions& options, const SegmentTable& table, std::span<const double> score)
        : options_(options) {
        if (options.stages == 0) {
            stages_.emplace_back(options_, table);
        } else {
            for (auto& members : stages_of<Index>(options, table, score)) {
                stages_.emplace_back(options_, table, std::move(members));
            }
        }
        counts_.segments = table.size();
        for (const Stage<Index>& stage : stages_) {
            counts_.packs += stage.num_packs();
            counts_.steps += steps_of(stage.num_packs(), options.packs_per_step);
            stage_begin_.push_back(counts_.packs);
        }
    }
    EpochCounts counts(std::uint64_t) const override { return counts_; }
    void begin_epoch(std::uint64_t epoch, EpochOrder<Index>& order) override {
        order.clear();
        EpochDraws draws(options_.seed, epoch);
        const bool last = epoch + 1 == options_.epochs;
        for (Stage<Index>& stage : stages_) stage.begin_epoch(order, draws, last);
    }
    void draw(const EpochOrder<Index>& order, std::size_t begin, std::size_t end,
              const PackContents<Index>& contents) override {
        const auto after = std::ranges::upper_bound(stage_begin_, begin);
        auto stage = static_cast<std::size_t>(after - stage_begin_.begin()) - 1;
        for (std::size_t from = begin; from < end; ++stage) {
            const std::size_t to = std::min<std::size_t>(end, stage_begin_[stage + 1]);
            const Index first_segment = order.pack_begin[begin];
            stages_[stage].draw(
                from - stage_begin_[stage], to - stage_begin_[stage],
                contents.part(from - begin, to - begin, order.pack_begin[from] - first_segment,
                              order.pack_begin[to] - first_segment));
            from = to;
        }
    }

  private:
    const PlanOptions options_;
    std::vector<Stage<Index>> stages_;
    std::vector<std::uint64_t> stage_begin_{0};  ///< (stages + 1) in packs.
    EpochCounts counts_;
};

/// Packs of one bucket each. Shuffled or interleaved, each bucket lasts as long as the epoch.
template <class Index>
class BucketEpochs final : public EpochSequence<Index> {
  public:
    BucketEpochs(const PlanOptions& options, const SegmentTable& table)
        : options_(options), table_(table), members_(sort_into_buckets<Index>(table.tokens, options)) {
        const BucketedPacks<Index> packs = pack_buckets(members_, options_, 0);
        counts_ = {table.size(), packs.layout.num_packs(),
                   steps_of(packs.layout.num_packs(), options.packs_per_step)};
    }
    EpochCounts counts(std::uint64_t) const override { return counts_; }
    void begin_epoch(std::uint64_t epoch, EpochOrder<Index>& order) override {
        order.clear();
        const BucketedPacks<Index> packs = pack_buckets(members_, options_, epoch);
        for (const Index pack : order_of(packs, epoch)) {
            const auto segments = packs.layout.pack(pack);
            order.segments.insert(order.segments.end(), segments.begin(), segments.end());
            order.pack_begin.push_back(static_cast<Index>(order.segments.size()));
            order.pack_bucket.push_back(packs.pack_bucket[pack]);
            if (order.num_packs() - order.step_begin.back() == options_.packs_per_step) {
                order.step_begin.push_back(static_cast<Index>(order.num_packs()));
            }
        }
        if (order.step_begin.back() != order.num_packs()) {
            order.step_begin.push_back(static_cast<Index>(order.num_packs()));
        }
    }
    void draw(const EpochOrder<Index>& order, std::size_t begin, std::size_t end,
              const PackContents<Index>& contents) override {
        copy_contents(order, table_, begin, end, contents);
    }

  private:
    std::vector<Index> order_of(const BucketedPacks<Index>& packs, std::uint64_t epoch) const {
        const PackLayout<Index>& layout = packs.layout;
        if (options_.order == PackOrder::buckets_interleaved) {
            return interleave_buckets<Index>(packs.pack_bucket, options_, epoch);
        }
        PackDraws draws(options_.seed, epoch);
        std::vector<Index> order(layout.num_packs());
        std::iota(order.begin(), order.end(), Index{0});
        order_packs(std::span(order), costs_of(layout), options_, draws);
        if (options_.order == PackOrder::in_order) {
            // Bucket after bucket would be short to long: order by first segment.
            std::ranges::sort(order, {}, [&](Index pack) { return layout.pack(pack).front(); });
        }
        return order;
    }

    std::vector<std::uint64_t> costs_of(const PackLayout<Index>& layout) const {
        std::vector<std::uint64_t> costs(layout.num_packs());
        for (std::size_t p = 0; p < costs.size(); ++p) {
            PackWork work;
            for (const Index segment : layout.pack(p)) work.add(table_.tokens[segment]);
            costs[p] = work.cost(options_.cost);
        }
        return costs;
    }

    const PlanOptions options_;
    const SegmentTable& table_;
    BucketMembers<Index> members_;
    EpochCounts counts_;
};

}  // namespace

template <class Index>
void EpochOrder<Index>::clear() {
    pack_begin.assign(1, 0);
    step_begin.assign(1, 0);
    pack_bucket.clear();
    segments.clear();
}

template <class Index>
PackContents<Index> PackContents<Index>::part(std::size_t pack_begin, std::size_t pack_end,
                                              std::size_t segment_begin, std::size_t segment_end) const {
    const std::size_t num_segments = segment_end - segment_begin;
    PackContents part;
    part.segments = segments.subspan(segment_begin, num_segments);
    if (!tokens.empty()) part.tokens = tokens.subspan(segment_begin, num_segments);
    if (!work.empty()) part.work = work.subspan(pack_begin, pack_end - pack_begin);
    return part;
}

template <class Index>
void EpochSequence<Index>::make(std::uint64_t epoch, EpochOrder<Index>& order) {
    begin_epoch(epoch, order);
    if (!order.segments.empty()) return;
    constexpr std::size_t packs_at_once = 4096;
    order.segments.resize(order.pack_begin.back());
    for (std::size_t from = 0; from < order.num_packs();) {
        const std::size_t to = std::min(from + packs_at_once, order.num_packs());
        const Index first = order.pack_begin[from];
        draw(order, from, to,
             {std::span(order.segments).subspan(first, order.pack_begin[to] - first), {}, {}});
        from = to;
    }
}

template <class Index>
void copy_contents(const EpochOrder<Index>& order, const SegmentTable& table, std::size_t begin,
                   std::size_t end, const PackContents<Index>& contents) {
    const Index first = order.pack_begin[begin];
    std::ranges::copy(std::span(order.segments).subspan(first, order.pack_begin[end] - first),
                      contents.segments.begin());
    for (std::size_t i = 0; i < contents.tokens.size(); ++i)
        contents.tokens[i] = table.tokens[contents.segments[i]];
    for (std::size_t p = 0; p < contents.work.size(); ++p) {
        contents.work[p] = {};
        for (const Index segment : order.pack(begin + p)) contents.work[p].add(table.tokens[segment]);
    }
}

template <class Index>
std::unique_ptr<EpochSequence<Index>> make_epochs(const PlanOptions& options, const SegmentTable& table,
                                                  std::span<const double> segment_score) {
    if (options.mode == PlanMode::bucket) return std::make_unique<BucketEpochs<Index>>(options, table);
    return std::make_unique<StagedEpochs<Index>>(options, table, segment_score);
}

template struct EpochOrder<NarrowIndex>;
template struct EpochOrder<WideIndex>;
template struct PackContents<NarrowIndex>;
template struct PackContents<WideIndex>;
template class EpochSequence<NarrowIndex>;
template class EpochSequence<WideIndex>;
template void copy_contents(const EpochOrder<NarrowIndex>&, const SegmentTable&, std::size_t, std::size_t,
                            const PackContents<NarrowIndex>&);
template void copy_contents(const EpochOrder<WideIndex>&, const SegmentTable&, std::size_t, std::size_t,
                            const PackContents<WideIndex>&);
template std::unique_ptr<EpochSequence<NarrowIndex>> make_epochs(const PlanOptions&, const SegmentTable&,
                                                                 std::span<const double>);
template std::unique_ptr<EpochSequence<WideIndex>> make_epochs(const PlanOptions&, const SegmentTable&,
                                                               std::span<const double>);

}  // namespace lockstep
