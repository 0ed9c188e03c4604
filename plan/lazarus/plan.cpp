#include "plan/lazarus/plan.h"

#include <algorithm>
#include <utility>

#include "io/base/error.h"
#include "plan/balance.h"
#include "plan/bucketing.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorCode::invalid_argument, "Lazarus mode: " + what);
}

[[noreturn]] void fail(std::uint64_t epoch, std::size_t bucket, const std::string& what) {
    throw Error(ErrorCode::corrupt_data, "plan: epoch " + std::to_string(epoch) + ", bucket " +
                                             std::to_string(bucket) + ": " + what +
                                             "; build it again or take an intact copy");
}

/// Samples of every bucket that are planned, from their lengths.
std::vector<std::uint64_t> samples_by_bucket(std::span<const SourceLengths> sources,
                                             const LazarusBuckets& buckets) {
    std::vector<std::uint64_t> samples(buckets.size(), 0);
    for (const SourceLengths& source : sources) {
        for (const std::uint32_t tokens : source.sample_tokens) {
            if (tokens > 0 && tokens <= buckets.overflow_max) ++samples[buckets.index_of(tokens)];
        }
    }
    return samples;
}

}  // namespace

void check_lazarus_options(const PlanOptions& options) {
    const auto named = [](const char* option, std::string_view value) {
        return std::string(option) + " is " + std::string(value);
    };
    if (options.mode != PlanMode::bucket) {
        refuse("its plans are of length buckets; add --mode bucket (" +
               named("--mode", name_of(options.mode)) + ")");
    }
    if (options.order != PackOrder::shuffle && options.order != PackOrder::buckets_interleaved &&
        options.order != PackOrder::short_to_long) {
        refuse(named("--order", name_of(options.order)) + "; it knows buckets-interleaved and short-to-long");
    }
    if (options.long_policy != LongPolicy::automatic && options.long_policy != LongPolicy::drop) {
        refuse(named("--long", name_of(options.long_policy)) +
               "; it drops samples over --bucket-overflow-max");
    }
    if (options.segments_per_pack_max != 0) {
        refuse("a cap of " + std::to_string(options.segments_per_pack_max) +
               " segments a pack; its batches are capped by the padded budget alone");
    }
}

PlanOptions effective_lazarus_options(const PlanOptions& options) {
    PlanOptions effective = options;
    if (effective.predictable) {
        effective.order = PackOrder::short_to_long;
        effective.drop_last = true;
    }
    if (effective.order == PackOrder::shuffle) effective.order = PackOrder::buckets_interleaved;
    effective.packing = PackingPolicy::in_order;
    effective.balance = false;
    effective.stages = 0;
    effective.long_policy = LongPolicy::drop;
    return effective;
}

LazarusSampling lazarus_sampling_of(const PlanOptions& options) {
    LazarusSampling sampling;
    sampling.buckets.edges.assign(options.bucket_edges.begin(), options.bucket_edges.end());
    sampling.buckets.overflow_max = options.bucket_overflow_max;
    sampling.token_budget = options.token_budget;
    sampling.seed = options.seed;
    sampling.drop_last = options.drop_last;
    sampling.interleave = options.order != PackOrder::short_to_long;
    return sampling;
}

BatchPlan assemble_lazarus_plan(const PlanOptions& options, std::vector<std::string> algorithms,
                                std::span<const SourceLengths> sources, Fates fates,
                                const std::function<LazarusEpoch(std::uint64_t epoch)>& epoch_at) {
    BatchPlan plan;
    plan.options = options;
    plan.algorithms = std::move(algorithms);
    std::uint64_t sample_base = 0;
    bool count_targets = true;
    for (const SourceLengths& source : sources) {
        PlanSource& row = plan.sources.emplace_back(source.source);
        row.sample_base = sample_base;
        row.num_samples = source.sample_tokens.size();
        sample_base += row.num_samples;
        count_targets = count_targets && !source.lengths_only;
    }
    plan.dispositions = std::move(fates.dispositions);
    const SegmentTable& table = fates.segments;
    const LengthBuckets buckets(options.bucket_edges, options.bucket_overflow_max);
    for (std::uint64_t e = 0; e < options.epochs; ++e) {
        const LazarusEpoch epoch = epoch_at(e);
        if (epoch.num_batches() == 0) {
            refuse("epoch " + std::to_string(e) + " is empty: drop_last leaves out all " +
                   std::to_string(table.size()) +
                   " samples, no bucket fills a batch; lower -b or keep tails");
        }
        for (std::uint64_t b = 0; b < epoch.num_batches(); ++b) {
            PackWork work;
            std::uint32_t targets = 0;
            for (const std::uint32_t segment : epoch.batch(b)) {
                plan.segment_sample.push_back(table.sample_of(segment));
                plan.segment_offset.push_back(table.offset_of(segment));
                plan.segment_tokens.push_back(table.tokens[segment]);
                work.add(table.tokens[segment]);
                targets += table.targets_of(segment);
            }
            plan.pack_begin.push_back(plan.num_segments());
            plan.pack_cost.push_back(work.cost(options.cost));
            if (count_targets) plan.pack_targets.push_back(targets);
            plan.pack_bucket.push_back(epoch.batch_bucket[b]);
            const std::uint64_t padded = epoch.batch(b).size() * buckets.upper(epoch.batch_bucket[b]);
            plan.pack_pad_tokens.push_back(static_cast<std::uint32_t>(padded - work.tokens));
            if (plan.num_packs() - plan.step_begin.back() == options.packs_per_step)
                plan.step_begin.push_back(plan.num_packs());
        }
        if (plan.num_packs() > plan.step_begin.back()) plan.step_begin.push_back(plan.num_packs());
        plan.epoch_begin.push_back(plan.num_steps());
    }
    plan.fingerprints = fingerprint_plan(plan);
    return plan;
}

BatchPlan build_lazarus_plan(const PlanOptions& options, std::span<const SourceLengths> sources) {
    check_options(options);
    const PlanOptions effective = effective_options(options);
    std::uint64_t num_samples = 0;
    for (const SourceLengths& source : sources) {
        num_samples += source.sample_tokens.size();
        if (source.source.weight != 0 || source.source.passes != 0 || source.source.passes_max != 0) {
            refuse("source '" + source.source.name + "' has a weight or passes; it knows no mixtures");
        }
    }
    if (!is_narrow(num_samples)) {
        refuse(std::to_string(num_samples) +
               " samples; its plans hold fewer than 2^32, divide the corpus or leave out --compat");
    }
    Fates fates = decide_fates(effective, sources);
    if (fates.segments.size() == 0) {
        throw Error(ErrorCode::invalid_argument,
                    "there is nothing to plan: none of the " + std::to_string(fates.dispositions.size()) +
                        " samples has a token to train; check the input and --bucket-overflow-max");
    }
    if (effective.epochs > (std::uint64_t{1} << 48U) / fates.segments.size()) {
        throw Error(ErrorCode::invalid_argument,
                    std::to_string(effective.epochs) + " epochs of " + std::to_string(fates.segments.size()) +
                        " segments are over the 2^48 a plan may hold; plan fewer epochs");
    }
    const std::vector<std::uint64_t> lengths(fates.segments.tokens.begin(), fates.segments.tokens.end());
    const LazarusSampler sampler(lazarus_sampling_of(effective), lengths);
    return assemble_lazarus_plan(effective,
                                 {"segments=overlap-split/1", "targets=loss-spans/1",
                                  "packing=lazarus-buckets/1", "order=mt19937-cpython/1", "balance=none/1"},
                                 sources, std::move(fates),
                                 [&](std::uint64_t epoch) { return sampler.epoch(epoch); });
}

std::uint64_t lazarus_left_out_max(const PlanOptions& options) {
    if (options.compat != PlanCompat::lazarus || !options.drop_last) return 0;
    const LazarusSampling sampling = lazarus_sampling_of(options);
    std::uint64_t samples = 0;
    for (std::uint16_t bucket = 0; bucket < sampling.buckets.size(); ++bucket)
        samples += sampling.capacity(bucket) - 1;
    return samples;
}

LazarusTails::LazarusTails(const BatchPlan& head)
    : head_(head),
      // A revision may leave out packs of its parent.
      applies_(head.options.compat == PlanCompat::lazarus && !head.parent),
      sampling_(lazarus_sampling_of(head.options)) {}

void LazarusTails::add(const PlanChunkColumns& chunk) {
    if (!applies_) return;
    if (chunk.first_step == head_.epoch_begin[epoch_]) begin_epoch();
    for (std::uint64_t p = 0; p < chunk.num_packs(); ++p) {
        const std::uint16_t bucket = (*chunk.pack_bucket)[p];
        const std::uint64_t capacity = sampling_.capacity(bucket);
        const std::uint64_t segments = chunk.pack_begin[p + 1] - chunk.pack_begin[p];
        if (ended_[bucket] || segments > capacity || (segments < capacity && sampling_.drop_last)) {
            fail(epoch_, bucket,
                 "pack " + std::to_string(chunk.first_pack + p) + " has " + std::to_string(segments) +
                     " of " + std::to_string(capacity) + " samples" +
                     (ended_[bucket] ? " and follows the bucket's last, short one" : ""));
        }
        ended_[bucket] = segments < capacity;
        ++packs_[bucket];
    }
    if (chunk.first_step + chunk.num_steps() == head_.epoch_begin[epoch_ + 1]) end_epoch();
}

void LazarusTails::begin_epoch() {
    ended_.assign(sampling_.buckets.size(), false);
    packs_.assign(sampling_.buckets.size(), 0);
}

void LazarusTails::end_epoch() {
    if (epoch_ == 0) first_packs_ = packs_;
    for (std::size_t b = 0; b < packs_.size(); ++b) {
        if (packs_[b] == first_packs_[b]) continue;
        fail(epoch_, b,
             "expected " + std::to_string(first_packs_[b]) + " packs as in the first epoch, found " +
                 std::to_string(packs_[b]));
    }
    ++epoch_;
}

void LazarusTails::finish(std::span<const SourceLengths> sources) const {
    if (!applies_ || sources.empty()) return;
    const std::vector<std::uint64_t> samples = samples_by_bucket(sources, sampling_.buckets);
    for (std::uint16_t b = 0; b < samples.size(); ++b) {
        const std::uint64_t capacity = sampling_.capacity(b);
        const std::uint64_t expected = (samples[b] + (sampling_.drop_last ? 0 : capacity - 1)) / capacity;
        if (first_packs_[b] != expected) {
            fail(0, b,
                 "expected " + std::to_string(expected) + " packs of its " + std::to_string(samples[b]) +
                     " samples, found " + std::to_string(first_packs_[b]));
        }
    }
}

std::uint64_t lazarus_packs_over_budget(const PlanOptions& options, const PlanChunkColumns& chunk) {
    if (options.compat != PlanCompat::lazarus) return 0;
    std::uint64_t packs = 0;
    for (std::uint64_t p = 0; p < chunk.num_packs(); ++p) {
        std::uint64_t padded = (*chunk.pack_pad_tokens)[p];
        for (std::uint64_t s = chunk.pack_begin[p]; s < chunk.pack_begin[p + 1]; ++s)
            padded += chunk.segment_tokens[s - chunk.pack_begin.front()];
        if (padded > options.token_budget) ++packs;
    }
    return packs;
}

std::uint64_t lazarus_left_out(const BatchPlan& head, std::uint64_t num_segments) {
    // A revision has fewer segments for another reason.
    if (head.options.compat != PlanCompat::lazarus || !head.options.drop_last || head.parent) return 0;
    std::uint64_t planned = 0;
    for (const PlanSource& source : head.sources) planned += source.num_samples;
    for (const Disposition& row : head.dispositions) {
        if (row.kind == DispositionKind::dropped || row.kind == DispositionKind::empty) --planned;
    }
    return planned * head.num_epochs() - num_segments;
}

}  // namespace lockstep
