#include "plan/plan_builder.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "plan/bucketing.h"
#include "plan/dispositions.h"
#include "plan/mixture.h"

namespace lockstep {

namespace {

std::string_view algorithm_of_packing(const PlanOptions& options) {
    if (options.mode == PlanMode::bucket) return "packing=buckets/1";
    if (options.order == PackOrder::short_to_long) return "packing=short-to-long/1";
    switch (options.packing) {
        case PackingPolicy::in_order:
            return "packing=in-order/1";
        case PackingPolicy::best_fit_decreasing:
            return "packing=histogram-best-fit-decreasing/1";
        case PackingPolicy::automatic:
            return "packing=auto-best-fit-decreasing-thrifty-or-patterns/2";
        case PackingPolicy::patterns:
            return "packing=column-generation-patterns/1";
        case PackingPolicy::first_fit:
            return "packing=first-fit/1";
        case PackingPolicy::best_fit:
            return "packing=best-fit/1";
        case PackingPolicy::first_fit_decreasing:
            return "packing=first-fit-decreasing/1";
        case PackingPolicy::concatenate:
            return "packing=concat-and-chunk/1";
    }
    throw Error(ErrorCode::bug, "a packing policy without a name");
}

std::string_view algorithm_of_order(PackOrder order) {
    switch (order) {
        case PackOrder::shuffle:
            return "order=fisher-yates-philox4x32/2";
        case PackOrder::in_order:
            return "order=in-order/1";
        case PackOrder::short_to_long:
            return "order=short-to-long/1";
        case PackOrder::length_stages:
            return "order=length-stages/1";
        case PackOrder::score_stages:
            return "order=score-stages/1";
        case PackOrder::buckets_interleaved:
            return "order=buckets-interleaved/1";
    }
    throw Error(ErrorCode::bug, "an order without a name");
}

std::vector<std::string> algorithms_of(const PlanOptions& options, bool mixture) {
    std::vector<std::string> names = {"segments=overlap-split/1", "targets=loss-spans/1"};
    names.emplace_back(algorithm_of_packing(options));
    names.emplace_back(algorithm_of_order(options.order));
    names.emplace_back(options.balance ? "balance=cost-windows-16/1" : "balance=none/1");
    if (mixture) names.emplace_back("mixture=quota-blocks-16/1");
    return names;
}

std::vector<PlanSource> number_sources(std::span<const SourceLengths> sources) {
    std::vector<PlanSource> table;
    std::uint64_t sample_base = 0;
    for (const SourceLengths& source : sources) {
        PlanSource& row = table.emplace_back(source.source);
        row.sample_base = sample_base;
        row.num_samples = source.sample_tokens.size();
        sample_base += row.num_samples;
    }
    return table;
}

/// Scores decide the order, so they must be there and comparable.
std::vector<double> scores_of_segments(std::span<const SourceLengths> sources, const SegmentTable& table) {
    std::vector<double> sample_score;
    for (const SourceLengths& source : sources) {
        if (source.sample_score.size() != source.sample_tokens.size()) {
            throw Error(ErrorCode::invalid_argument,
                        "source '" + source.source.name +
                            "' has no scores, and the order is by score; ingest it with --score-field, add a "
                            "score to "
                            "every line of its lengths file, or choose another --order");
        }
        for (std::size_t i = 0; i < source.sample_score.size(); ++i) {
            if (!std::isfinite(source.sample_score[i])) {
                throw Error(ErrorCode::corrupt_data, "source '" + source.source.name + "': sample " +
                                                         std::to_string(i) +
                                                         " has a score that is no number");
            }
            sample_score.push_back(source.sample_score[i]);
        }
    }
    std::vector<double> scores(table.size());
    for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = sample_score[table.sample_of(i)];
    return scores;
}

void check_mixture(const PlanOptions& options) {
    if (options.mode == PlanMode::pack && options.stages == 0 && options.order != PackOrder::short_to_long &&
        options.packing != PackingPolicy::concatenate) {
        return;
    }
    throw Error(
        ErrorCode::invalid_argument,
        "a mixture mixes the whole run: it goes with pack mode and --order shuffle or in-order, and not "
        "with concat-and-chunk");
}

std::vector<NarrowIndex>& drawn_segments(PlanChunk& chunk, const EpochOrder<NarrowIndex>&) {
    return chunk.narrow_segment;
}
std::vector<WideIndex>& drawn_segments(PlanChunk& chunk, const EpochOrder<WideIndex>&) {
    return chunk.wide_segment;
}

}  // namespace

PlanChunkColumns PlanChunk::columns() const {
    PlanChunkColumns view;
    view.first_step = first_step;
    view.first_pack = first_pack;
    view.step_begin = step_begin;
    view.pack_begin = pack_begin;
    if (wide_sample.empty()) {
        view.segment_sample = std::span<const std::uint32_t>(narrow_sample);
    } else {
        view.segment_sample = std::span<const std::uint64_t>(wide_sample);
    }
    view.segment_offset = segment_offset;
    view.segment_tokens = segment_tokens;
    view.pack_cost = pack_cost;
    if (!pack_targets.empty()) view.pack_targets = pack_targets;
    if (!pack_bucket.empty()) view.pack_bucket = pack_bucket;
    if (!pack_pad_tokens.empty()) view.pack_pad_tokens = pack_pad_tokens;
    return view;
}

PlanBuilder::PlanBuilder(const PlanOptions& options, std::span<const SourceLengths> sources,
                         NumberWidth width) {
    check_options(options);
    frame_.options = effective_options(options);
    frame_.sources = number_sources(sources);
    const bool mixture = is_mixture(frame_.sources);
    if (mixture) check_mixture(frame_.options);
    frame_.algorithms = algorithms_of(frame_.options, mixture);
    for (const SourceLengths& source : sources) count_targets_ = count_targets_ && !source.lengths_only;
    narrow_samples_ = samples_are_narrow(frame_.sources);
    if (frame_.options.order != PackOrder::score_stages) {
        for (PlanSource& source : frame_.sources) source.scores = Fingerprint();
    }

    Fates fates = decide_fates(frame_.options, sources);
    if (fates.segments.size() == 0) {
        throw Error(ErrorCode::invalid_argument,
                    "there is nothing to plan: none of the " + std::to_string(fates.dispositions.size()) +
                        " samples has a token to train; check the input and the policy for long samples");
    }
    frame_.dispositions = std::move(fates.dispositions);
    fates_segments_ = std::move(fates.segments);
    if (frame_.options.order == PackOrder::score_stages) {
        segment_score_ = scores_of_segments(sources, fates_segments_);
    }
    std::vector<MixtureSource> mixed;
    std::uint64_t segments_max = fates_segments_.size();
    if (mixture) {
        mixed = mixture_sources(frame_.sources, fates_segments_, frame_.options.epochs);
        segments_max = mixture_epoch_segments_max(mixed, frame_.options.epochs);
    }
    if (width == NumberWidth::wide || !is_narrow(segments_max)) epochs_.emplace<Epochs<WideIndex>>();
    std::visit(
        [&]<class Index>(Epochs<Index>& epochs) {
            epochs.sequence = mixture ? make_mixture_epochs<Index>(frame_.options, mixed, fates_segments_)
                                      : make_epochs<Index>(frame_.options, fates_segments_, segment_score_);
        },
        epochs_);
    count_epochs();
}

void PlanBuilder::count_epochs() {
    for (std::uint64_t epoch = 0; epoch < frame_.options.epochs; ++epoch) {
        const EpochCounts counts =
            std::visit([&](const auto& epochs) { return epochs.sequence->counts(epoch); }, epochs_);
        if (counts.steps == 0) {
            throw Error(ErrorCode::invalid_argument,
                        "epoch " + std::to_string(epoch) +
                            " of the mixture gets no sample: its quotas are too small; plan fewer epochs");
        }
        total_.segments += counts.segments;
        total_.packs += counts.packs;
        total_.steps += counts.steps;
        frame_.epoch_begin.push_back(total_.steps);
        if (total_.segments > std::uint64_t{1} << 48U) {
            throw Error(ErrorCode::invalid_argument,
                        std::to_string(frame_.options.epochs) + " epochs of " +
                            std::to_string(counts.segments) +
                            " segments are over the 2^48 a plan may hold; plan fewer epochs");
        }
    }
}

PlanBuilder::~PlanBuilder() = default;

void PlanBuilder::begin_epoch(std::uint64_t epoch) {
    LOCKSTEP_EXPECTS(epoch == next_epoch_);
    epoch_first_step_ = frame_.epoch_begin[epoch];
    std::visit(
        [&](auto& epochs) {
            epoch_first_pack_ += epochs.order.num_packs();
            epochs.sequence->begin_epoch(epoch, epochs.order);
            LOCKSTEP_ENSURES(epochs.order.num_steps() == frame_.epoch_begin[epoch + 1] - epoch_first_step_);
        },
        epochs_);
    next_epoch_ = epoch + 1;
}

std::vector<std::uint32_t> PlanBuilder::arrival_tokens() {
    std::vector<std::uint32_t> times(fates_segments_.size(), 0);
    std::vector<std::uint32_t> lengths;
    PlanChunk chunk;
    for (std::uint64_t c = 0; c < num_chunks(); ++c) {
        draw_chunk(c, chunk);
        for (const NarrowIndex segment : chunk.narrow_segment) ++times[segment];
        for (const WideIndex segment : chunk.wide_segment) ++times[segment];
    }
    std::visit([&](const auto& epochs) { lengths.reserve(epochs.order.pack_begin.back()); }, epochs_);
    for (std::size_t i = 0; i < times.size(); ++i) {
        lengths.insert(lengths.end(), times[i], fates_segments_.tokens[i]);
    }
    return lengths;
}

std::uint64_t PlanBuilder::num_chunks() const {
    const std::uint64_t steps =
        std::visit([](const auto& epochs) { return epochs.order.num_steps(); }, epochs_);
    return (steps + plan_steps_per_chunk - 1) / plan_steps_per_chunk;
}

void PlanBuilder::draw_chunk(std::uint64_t index, PlanChunk& chunk) {
    std::visit(
        [&](auto& epochs) {
            const auto& order = epochs.order;
            const std::uint64_t step_begin = index * plan_steps_per_chunk;
            const std::uint64_t step_end =
                std::min<std::uint64_t>(step_begin + plan_steps_per_chunk, order.num_steps());
            const std::uint64_t pack_begin = order.step_begin[step_begin];
            const std::uint64_t pack_end = order.step_begin[step_end];
            const std::uint64_t num_segments = order.pack_begin[pack_end] - order.pack_begin[pack_begin];
            chunk.first_step = epoch_first_step_ + step_begin;
            chunk.first_pack = epoch_first_pack_ + pack_begin;
            chunk.step_begin.resize(step_end - step_begin + 1);
            chunk.pack_begin.resize(pack_end - pack_begin + 1);
            auto& segments = drawn_segments(chunk, order);
            segments.resize(num_segments);
            chunk.segment_tokens.resize(num_segments);
            chunk.pack_work.resize(pack_end - pack_begin);
            epochs.sequence->draw(order, pack_begin, pack_end,
                                  {segments, chunk.segment_tokens, chunk.pack_work});
        },
        epochs_);
}

void PlanBuilder::fill_chunk(PlanChunk& chunk) const {
    std::visit(
        [&](const auto& epochs) { fill_from(epochs.order, drawn_segments(chunk, epochs.order), chunk); },
        epochs_);
}

template <class Index>
void PlanBuilder::fill_from(const EpochOrder<Index>& order, std::vector<Index>& drawn,
                            PlanChunk& chunk) const {
    LOCKSTEP_EXPECTS(drawn.size() == chunk.segment_tokens.size());
    LOCKSTEP_EXPECTS(chunk.first_step >= epoch_first_step_);
    const SegmentTable& table = fates_segments_;
    const std::uint64_t pack_begin = chunk.first_pack - epoch_first_pack_;
    const auto offsets = [](auto& out, const auto& in, std::uint64_t begin) {
        for (std::uint64_t i = 0; i < out.size(); ++i) out[i] = in[begin + i] - in[begin];
    };
    offsets(chunk.step_begin, order.step_begin, chunk.first_step - epoch_first_step_);
    offsets(chunk.pack_begin, order.pack_begin, pack_begin);

    // Column by column: each is a plain gather, many of whose cache misses overlap.
    const std::span<const Index> segments = drawn;
    const std::size_t n = segments.size();
    chunk.segment_offset.assign(n, 0);
    if (!table.offset.empty()) {
        for (std::size_t i = 0; i < n; ++i) chunk.segment_offset[i] = table.offset[segments[i]];
    }
    const std::size_t num_packs = chunk.pack_work.size();
    chunk.pack_cost.resize(num_packs);
    chunk.pack_targets.resize(count_targets_ ? num_packs : 0);
    chunk.pack_bucket.clear();
    chunk.pack_pad_tokens.clear();
    for (std::size_t pack = 0; pack < num_packs; ++pack) {
        const PackWork& work = chunk.pack_work[pack];
        chunk.pack_cost[pack] = work.cost(frame_.options.cost);
        if (!count_targets_) continue;
        const std::uint64_t begin = chunk.pack_begin[pack];
        const std::uint64_t end = chunk.pack_begin[pack + 1];
        std::uint64_t targets = work.tokens - (end - begin);
        if (!table.targets.empty()) {
            targets = 0;
            for (std::uint64_t i = begin; i < end; ++i) targets += table.targets[segments[i]];
        }
        chunk.pack_targets[pack] = static_cast<std::uint32_t>(targets);
    }
    if (frame_.options.mode == PlanMode::bucket) {
        const LengthBuckets buckets(frame_.options.bucket_edges, frame_.options.bucket_overflow_max);
        const auto bucket_of_packs = std::span(order.pack_bucket).subspan(pack_begin, num_packs);
        chunk.pack_bucket.assign(bucket_of_packs.begin(), bucket_of_packs.end());
        chunk.pack_pad_tokens.resize(num_packs);
        for (std::size_t p = 0; p < num_packs; ++p) {
            std::uint64_t padded =
                (chunk.pack_begin[p + 1] - chunk.pack_begin[p]) * buckets.upper(chunk.pack_bucket[p]);
            for (std::uint64_t i = chunk.pack_begin[p]; i < chunk.pack_begin[p + 1]; ++i) {
                padded -= chunk.segment_tokens[i];
            }
            chunk.pack_pad_tokens[p] = static_cast<std::uint32_t>(padded);
        }
    }

    chunk.wide_sample.resize(narrow_samples_ ? 0 : n);
    if constexpr (std::is_same_v<Index, NarrowIndex>) {
        // Numbers of segments are those of samples: no copy, and the old column serves the next draw.
        if (narrow_samples_ && table.sample.empty()) return chunk.narrow_sample.swap(drawn);
    }
    chunk.narrow_sample.resize(narrow_samples_ ? n : 0);
    if (narrow_samples_) {
        for (std::size_t i = 0; i < n; ++i)
            chunk.narrow_sample[i] = static_cast<std::uint32_t>(table.sample_of(segments[i]));
    } else {
        for (std::size_t i = 0; i < n; ++i) chunk.wide_sample[i] = table.sample_of(segments[i]);
    }
}

}  // namespace lockstep
