// The fingerprint tree of a plan: docs/formats/plan.md, section "Fingerprints".
// Any change here renames every plan: it needs new tags.

#include "plan/plan_chunk.h"

#include <algorithm>
#include <array>
#include <bit>

#include "io/base/contract.h"

namespace lockstep {

namespace {

/// Rows of each group: what of an offset column does not depend on what came before.
std::vector<std::uint64_t> group_sizes(std::span<const std::uint64_t> offsets) {
    std::vector<std::uint64_t> sizes(offsets.size() - 1);
    for (std::size_t i = 0; i < sizes.size(); ++i) sizes[i] = offsets[i + 1] - offsets[i];
    return sizes;
}

/// Elements made narrow at a time.
constexpr std::size_t narrow_block = 4096;

template <class Narrow, class T>
void add_narrowed(FingerprintBuilder& builder, std::span<const T> values) {
    if constexpr (sizeof(Narrow) == sizeof(T)) {
        builder.raw(std::as_bytes(values));
    } else {
        std::array<Narrow, narrow_block> narrow;
        while (!values.empty()) {
            const std::size_t count = std::min(narrow.size(), values.size());
            for (std::size_t i = 0; i < count; ++i) narrow[i] = static_cast<Narrow>(values[i]);
            builder.raw(std::as_bytes(std::span(narrow).first(count)));
            values = values.subspan(count);
        }
    }
}

/// Count, width and elements. The width is the least of 0, 1, 2, 4, 8 bytes that holds every element, so the
/// stored type does not matter, and hashing, which costs most of a plan's time, is of few bytes.
template <class T>
void add_column(FingerprintBuilder& builder, std::span<const T> values) {
    T bits = 0;
    for (const T value : values) bits = static_cast<T>(bits | value);
    const auto used = static_cast<std::size_t>(std::bit_width(bits) + 7) / 8;
    const std::size_t width = used == 0 ? 0 : std::bit_ceil(used);
    builder.add(std::uint64_t{values.size()}).add(std::uint64_t{width});
    if (width == 1) add_narrowed<std::uint8_t>(builder, values);
    if constexpr (sizeof(T) >= 2) {
        if (width == 2) add_narrowed<std::uint16_t>(builder, values);
    }
    if constexpr (sizeof(T) >= 4) {
        if (width == 4) add_narrowed<std::uint32_t>(builder, values);
    }
    if constexpr (sizeof(T) == 8) {
        if (width == 8) add_narrowed<std::uint64_t>(builder, values);
    }
}

/// A column that a plan may lack: a marker, and the rows if it is there.
template <class T>
void add_optional(FingerprintBuilder& builder, const std::optional<std::span<const T>>& column) {
    builder.add(std::uint64_t{column ? 1U : 0U});
    if (column) add_column(builder, *column);
}

void add_options(FingerprintBuilder& builder, const PlanOptions& options) {
    builder.add(static_cast<std::uint64_t>(options.mode))
        .add(std::uint64_t{options.token_budget})
        .add(std::uint64_t{options.packs_per_step})
        .add(options.epochs)
        .add(options.seed)
        .add(static_cast<std::uint64_t>(options.packing))
        .add(static_cast<std::uint64_t>(options.order))
        .add(static_cast<std::uint64_t>(options.long_policy))
        .add(std::uint64_t{options.balance ? 1U : 0U})
        .add(std::uint64_t{options.predictable ? 1U : 0U})
        .add(options.cost.token_cost)
        .add(options.cost.square_cost)
        .add_array(std::span(options.bucket_edges))
        .add(std::uint64_t{options.bucket_overflow_max})
        .add(std::uint64_t{options.segments_per_pack_max})
        .add(std::uint64_t{options.stages})
        .add(static_cast<std::uint64_t>(options.compat))
        .add(std::uint64_t{options.drop_last ? 1U : 0U});
}

/// As three columns: hashing field by field would cost more than all segments.
void add_dispositions(FingerprintBuilder& builder, const std::vector<Disposition>& dispositions) {
    std::vector<std::uint64_t> samples;
    std::vector<std::uint8_t> kinds;
    std::vector<std::uint64_t> lost;
    for (const Disposition& row : dispositions) {
        samples.push_back(row.sample);
        kinds.push_back(static_cast<std::uint8_t>(row.kind));
        lost.push_back(row.tokens_lost);
    }
    builder.add_array(std::span<const std::uint64_t>(samples))
        .add_array(std::span<const std::uint8_t>(kinds))
        .add_array(std::span<const std::uint64_t>(lost));
}

template <class T>
std::span<const T> rows(const std::vector<T>& column, std::uint64_t begin, std::uint64_t end) {
    return std::span(column).subspan(begin, end - begin);
}

template <class T>
std::optional<std::span<const T>> rows_if_any(const std::vector<T>& column, std::uint64_t begin,
                                              std::uint64_t end) {
    if (column.empty()) return std::nullopt;
    return rows(column, begin, end);
}

}  // namespace

PlanChunkColumns chunk_of(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end) {
    LOCKSTEP_EXPECTS(step_begin <= step_end && step_end <= plan.num_steps());
    const std::uint64_t pack_begin = plan.step_begin[step_begin];
    const std::uint64_t pack_end = plan.step_begin[step_end];
    const std::uint64_t segment_begin = plan.pack_begin[pack_begin];
    const std::uint64_t segment_end = plan.pack_begin[pack_end];
    PlanChunkColumns chunk;
    chunk.first_step = step_begin;
    chunk.first_pack = pack_begin;
    chunk.step_begin = rows(plan.step_begin, step_begin, step_end + 1);
    chunk.pack_begin = rows(plan.pack_begin, pack_begin, pack_end + 1);
    chunk.segment_sample = rows(plan.segment_sample, segment_begin, segment_end);
    chunk.segment_offset = rows(plan.segment_offset, segment_begin, segment_end);
    chunk.segment_tokens = rows(plan.segment_tokens, segment_begin, segment_end);
    chunk.pack_cost = rows(plan.pack_cost, pack_begin, pack_end);
    chunk.pack_targets = rows_if_any(plan.pack_targets, pack_begin, pack_end);
    chunk.pack_bucket = rows_if_any(plan.pack_bucket, pack_begin, pack_end);
    chunk.pack_pad_tokens = rows_if_any(plan.pack_pad_tokens, pack_begin, pack_end);
    return chunk;
}

PlanChunkColumns steps_of(const PlanChunkColumns& chunk, std::uint64_t step_begin, std::uint64_t step_end) {
    LOCKSTEP_EXPECTS(chunk.first_step <= step_begin && step_begin <= step_end &&
                     step_end <= chunk.first_step + chunk.num_steps());
    PlanChunkColumns steps;
    steps.first_step = step_begin;
    steps.step_begin = chunk.step_begin.subspan(step_begin - chunk.first_step, step_end - step_begin + 1);
    const std::uint64_t pack = steps.step_begin.front() - chunk.step_begin.front();
    const std::uint64_t packs = steps.step_begin.back() - steps.step_begin.front();
    steps.first_pack = chunk.first_pack + pack;
    steps.pack_begin = chunk.pack_begin.subspan(pack, packs + 1);
    const std::uint64_t segment = steps.pack_begin.front() - chunk.pack_begin.front();
    const std::uint64_t segments = steps.pack_begin.back() - steps.pack_begin.front();
    std::visit([&](auto samples) { steps.segment_sample = samples.subspan(segment, segments); },
               chunk.segment_sample);
    steps.segment_offset = chunk.segment_offset.subspan(segment, segments);
    steps.segment_tokens = chunk.segment_tokens.subspan(segment, segments);
    steps.pack_cost = chunk.pack_cost.subspan(pack, packs);
    const auto part = [&](const auto& column, auto& into) {
        if (column) into = column->subspan(pack, packs);
    };
    part(chunk.pack_targets, steps.pack_targets);
    part(chunk.pack_bucket, steps.pack_bucket);
    part(chunk.pack_pad_tokens, steps.pack_pad_tokens);
    return steps;
}

Fingerprint fingerprint_chunk(const PlanChunkColumns& chunk) {
    FingerprintBuilder builder("lockstep-plan-chunk-v2");
    builder.add(chunk.first_step).add(chunk.first_step + chunk.num_steps()).add(chunk.first_pack);
    add_column(builder, std::span<const std::uint64_t>(group_sizes(chunk.step_begin)));
    add_column(builder, std::span<const std::uint64_t>(group_sizes(chunk.pack_begin)));
    std::visit([&](auto samples) { add_column(builder, samples); }, chunk.segment_sample);
    add_column(builder, chunk.segment_offset);
    add_column(builder, chunk.segment_tokens);
    add_column(builder, chunk.pack_cost);
    add_optional(builder, chunk.pack_targets);
    add_optional(builder, chunk.pack_bucket);
    add_optional(builder, chunk.pack_pad_tokens);
    return builder.finish();
}

Fingerprint fingerprint_chunk(const BatchPlan& plan, std::uint64_t step_begin, std::uint64_t step_end) {
    return fingerprint_chunk(chunk_of(plan, step_begin, step_end));
}

Fingerprint fingerprint_settings(const BatchPlan& plan) {
    FingerprintBuilder builder("lockstep-plan-settings-v2");
    add_options(builder, plan.options);
    builder.add(std::uint64_t{plan.algorithms.size()});
    for (const std::string& algorithm : plan.algorithms) builder.add(algorithm);
    builder.add(std::uint64_t{plan.sources.size()});
    for (const PlanSource& source : plan.sources) {
        builder.add(source.lengths)
            .add(source.tokenizer)
            .add(source.tokenizer_hash)
            .add(source.corpus)
            .add(source.sample_base)
            .add(source.num_samples)
            .add(source.scores)
            .add(source.weight)
            .add(std::uint64_t{source.passes})
            .add(std::uint64_t{source.passes_max});
    }
    add_dispositions(builder, plan.dispositions);
    return builder.finish();
}

std::vector<std::uint64_t> chunk_bounds(std::span<const std::uint64_t> epoch_begin) {
    std::vector<std::uint64_t> bounds{0};
    for (std::size_t epoch = 0; epoch + 1 < epoch_begin.size(); ++epoch) {
        for (std::uint64_t begin = epoch_begin[epoch]; begin < epoch_begin[epoch + 1];) {
            begin = std::min(begin + plan_steps_per_chunk, epoch_begin[epoch + 1]);
            bounds.push_back(begin);
        }
    }
    return bounds;
}

std::size_t chunk_of_step(const PlanFingerprints& tree, std::uint64_t step) {
    LOCKSTEP_EXPECTS(step < tree.chunk_begin.back());
    const auto after = std::ranges::upper_bound(tree.chunk_begin, step);
    return static_cast<std::size_t>(after - tree.chunk_begin.begin()) - 1;
}

PlanFingerprints fingerprint_tree(const Fingerprint& settings, std::span<const std::uint64_t> epoch_begin,
                                  std::vector<Fingerprint> chunks, const std::optional<Fingerprint>& parent,
                                  std::uint64_t from_step) {
    PlanFingerprints tree;
    tree.steps_per_chunk = plan_steps_per_chunk;
    tree.settings = settings;
    tree.chunk_begin = chunk_bounds(epoch_begin);
    tree.chunks = std::move(chunks);
    LOCKSTEP_EXPECTS(tree.chunks.size() + 1 == tree.chunk_begin.size());
    const std::uint64_t num_epochs = epoch_begin.size() - 1;
    std::size_t chunk = 0;
    for (std::uint64_t epoch = 0; epoch < num_epochs; ++epoch) {
        const std::size_t first_chunk = chunk;
        while (tree.chunk_begin[chunk] < epoch_begin[epoch + 1]) ++chunk;
        FingerprintBuilder builder("lockstep-plan-epoch-v1");
        builder.add(epoch).add(epoch_begin[epoch]).add(epoch_begin[epoch + 1]);
        builder.add(std::uint64_t{chunk - first_chunk});
        for (std::size_t c = first_chunk; c < chunk; ++c) builder.add(tree.chunks[c]);
        tree.epochs.push_back(builder.finish());
    }
    FingerprintBuilder order("lockstep-plan-order-v1");
    order.add(tree.steps_per_chunk).add(num_epochs);
    for (const Fingerprint& epoch : tree.epochs) order.add(epoch);
    tree.order = order.finish();

    FingerprintBuilder root("lockstep-plan-v1");
    root.add(tree.settings).add(tree.order);
    root.add(std::uint64_t{parent ? 1U : 0U}).add(parent.value_or(Fingerprint{})).add(from_step);
    tree.plan = root.finish();
    return tree;
}

PlanFingerprints fingerprint_plan(const BatchPlan& plan) {
    const std::vector<std::uint64_t> bounds = chunk_bounds(plan.epoch_begin);
    std::vector<Fingerprint> chunks;
    chunks.reserve(bounds.size() - 1);
    for (std::size_t c = 0; c + 1 < bounds.size(); ++c) {
        chunks.push_back(fingerprint_chunk(plan, bounds[c], bounds[c + 1]));
    }
    return fingerprint_tree(fingerprint_settings(plan), plan.epoch_begin, std::move(chunks), plan.parent,
                            plan.from_step);
}

}  // namespace lockstep
