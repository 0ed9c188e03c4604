#include "plan/lazarus/sampler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "io/base/contract.h"
#include "io/base/error.h"
#include "plan/lazarus/random.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse(const std::string& what) {
    throw Error(ErrorCode::invalid_argument, what);
}

}  // namespace

void LazarusBuckets::check() const {
    for (std::size_t i = 1; i < edges.size(); ++i) {
        if (edges[i] <= edges[i - 1]) {
            refuse("bucket edges must ascend; found " + std::to_string(edges[i]) + " after " +
                   std::to_string(edges[i - 1]));
        }
    }
    if (overflow_max <= 0 || (!edges.empty() && overflow_max <= edges.back())) {
        refuse("overflow_max is " + std::to_string(overflow_max) + "; expected more than " +
               std::to_string(edges.empty() ? 0 : std::max<std::int64_t>(0, edges.back())));
    }
    if (min_length < 1) refuse("min_length is " + std::to_string(min_length) + "; expected at least 1");
    if (edges.size() >= 65535) refuse("there are " + std::to_string(edges.size()) + " edges; at most 65534");
}

std::uint16_t LazarusBuckets::index_of(std::uint64_t length) const {
    const auto edge = std::lower_bound(edges.begin(), edges.end(), static_cast<std::int64_t>(length));
    return static_cast<std::uint16_t>(edge - edges.begin());
}

bool LazarusBuckets::skips(std::uint64_t length) const {
    return length < static_cast<std::uint64_t>(min_length) ||
           length > static_cast<std::uint64_t>(overflow_max);
}

std::int64_t LazarusBuckets::pad_to(std::uint16_t bucket) const {
    return bucket < edges.size() ? edges[bucket] : overflow_max;
}

std::pair<std::int64_t, std::int64_t> LazarusBuckets::range(std::uint16_t bucket) const {
    return {bucket == 0 ? min_length : edges[bucket - 1U] + 1, pad_to(bucket)};
}

LazarusBuckets LazarusBuckets::of_max_length(std::int64_t max_length, std::int64_t buckets) {
    if (buckets < 2) refuse("the number of buckets is " + std::to_string(buckets) + "; expected at least 2");
    LazarusBuckets result;
    result.edges.clear();
    for (std::int64_t i = 1; i < buckets; ++i) result.edges.push_back(i * (max_length / buckets));
    result.overflow_max = max_length;
    result.check();
    return result;
}

std::uint64_t LazarusSampling::capacity(std::uint16_t bucket) const {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(1, token_budget / buckets.pad_to(bucket)));
}

double LazarusMetrics::padding_waste() const {
    if (padded_tokens == 0) return 0;
    return static_cast<double>(padded_tokens - total_tokens) / static_cast<double>(padded_tokens);
}

LazarusSampler::LazarusSampler(LazarusSampling sampling, std::span<const std::uint64_t> lengths)
    : sampling_(std::move(sampling)) {
    LOCKSTEP_EXPECTS(lengths.size() < (std::uint64_t{1} << 32U));
    sampling_.buckets.check();
    std::vector<std::size_t> place(sampling_.buckets.size(), 0);  // 1 + where in buckets_; 0: not used yet.
    for (std::uint32_t sample = 0; sample < lengths.size(); ++sample) {
        if (sampling_.buckets.skips(lengths[sample])) {
            skipped_.push_back(sample);
            continue;
        }
        const std::uint16_t number = sampling_.buckets.index_of(lengths[sample]);
        if (place[number] == 0) {
            buckets_.push_back({number, {}, 0});
            place[number] = buckets_.size();
        }
        Bucket& bucket = buckets_[place[number] - 1];
        bucket.samples.push_back(sample);
        bucket.tokens += lengths[sample];
    }
}

LazarusEpoch LazarusSampler::epoch(std::uint64_t number) const {
    LazarusRandom random(sampling_.seed, number);
    struct Run {
        std::uint16_t bucket;
        std::vector<std::uint32_t> samples;
        std::uint64_t capacity;
        std::uint64_t batches;
        std::uint64_t next;
    };
    std::vector<Run> runs;
    std::uint64_t num_samples = 0;
    for (const Bucket& bucket : buckets_) {
        const std::uint64_t capacity = sampling_.capacity(bucket.number);
        const std::uint64_t batches = bucket.batches(capacity, sampling_.drop_last);
        Run run{bucket.number, bucket.samples, capacity, batches, 0};
        random.shuffle(std::span(run.samples));
        num_samples += std::min<std::uint64_t>(run.samples.size(), capacity * batches);
        if (batches > 0) runs.push_back(std::move(run));
    }

    LazarusEpoch epoch;
    epoch.samples.reserve(num_samples);
    const auto emit = [&](Run& run) {
        const std::uint64_t begin = run.next++ * run.capacity;
        const std::uint64_t end = std::min<std::uint64_t>(begin + run.capacity, run.samples.size());
        epoch.samples.insert(epoch.samples.end(), run.samples.begin() + static_cast<std::ptrdiff_t>(begin),
                             run.samples.begin() + static_cast<std::ptrdiff_t>(end));
        epoch.batch_begin.push_back(epoch.samples.size());
        epoch.batch_bucket.push_back(run.bucket);
    };
    if (!sampling_.interleave) {
        std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.bucket < b.bucket; });
        for (Run& run : runs) {
            while (run.next < run.batches) emit(run);
        }
        return epoch;
    }
    // A bucket found empty leaves after the round: it still takes part in that round's shuffle.
    std::vector<std::size_t> active(runs.size());
    for (std::size_t i = 0; i < active.size(); ++i) active[i] = i;
    while (!active.empty()) {
        random.shuffle(std::span(active));
        std::vector<std::size_t> still_active;
        for (const std::size_t i : active) {
            if (runs[i].next == runs[i].batches) continue;
            emit(runs[i]);
            still_active.push_back(i);
        }
        active = std::move(still_active);
    }
    return epoch;
}

LazarusMetrics LazarusSampler::metrics() const {
    LazarusMetrics metrics;
    metrics.skipped_samples = skipped_.size();
    for (const Bucket& bucket : buckets_) {
        const std::uint64_t capacity = sampling_.capacity(bucket.number);
        const std::uint64_t batches = bucket.batches(capacity, sampling_.drop_last);
        metrics.total_samples += bucket.samples.size();
        metrics.total_tokens += bucket.tokens;
        metrics.padded_tokens +=
            bucket.samples.size() * static_cast<std::uint64_t>(sampling_.buckets.pad_to(bucket.number));
        metrics.total_batches += batches;
        if (batches == 0) continue;
        metrics.bucket_batches[bucket.number] = batches;
        metrics.bucket_samples[bucket.number] =
            std::min<std::uint64_t>(bucket.samples.size(), capacity * batches);
    }
    return metrics;
}

std::vector<std::uint64_t> lazarus_shard(std::uint64_t num_microbatches, std::uint64_t rank,
                                         std::uint64_t world_size) {
    if (rank >= world_size) {
        refuse("rank is " + std::to_string(rank) + "; a world of " + std::to_string(world_size) +
               " has ranks 0 to one less");
    }
    std::vector<std::uint64_t> microbatches;
    for (std::uint64_t i = rank; i < num_microbatches; i += world_size) microbatches.push_back(i);
    return microbatches;
}

}  // namespace lockstep
