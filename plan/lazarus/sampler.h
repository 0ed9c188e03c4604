// plan/lazarus/sampler.h
//
// Lazarus' length buckets and its batch sampler, batch for batch: the reference that
// Lazarus mode (lazarus_plan.h) builds its plans from. Works on the numbers of
// samples; ids never influence the order.
//
// Its name in plans is "packing=lazarus-buckets/1".

#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace lockstep {

/// Bucket i holds lengths in (edges[i − 1], edges[i]], the last one all beyond the last edge. As permissive
/// as Lazarus' own: edges may be zero or negative, and then hold nothing.
struct LazarusBuckets {
    std::vector<std::int64_t> edges = {128, 256, 512, 1024};
    std::int64_t overflow_max = 2048;  ///< What the last bucket pads to; longer samples are skipped.
    std::int64_t min_length = 1;       ///< Shorter samples are skipped.

    /// @throws Error{invalid_argument} unless edges ascend strictly, overflow_max is positive and above the
    /// last one, and min_length is at least 1.
    void check() const;

    std::uint16_t size() const { return static_cast<std::uint16_t>(edges.size() + 1); }
    /// Also of lengths that are skipped.
    std::uint16_t index_of(std::uint64_t length) const;
    bool skips(std::uint64_t length) const;
    std::int64_t pad_to(std::uint16_t bucket) const;
    /// Lowest and highest length, inclusive.
    std::pair<std::int64_t, std::int64_t> range(std::uint16_t bucket) const;

    /// `buckets` of equal width ⌊max_length / buckets⌋, the last one up to max_length.
    /// @throws Error{invalid_argument} for fewer than two.
    static LazarusBuckets of_max_length(std::int64_t max_length, std::int64_t buckets);
};

struct LazarusSampling {
    LazarusBuckets buckets;
    std::int64_t token_budget = 4096;  ///< Padded; a bucket that pads to more gives batches of one.
    std::uint64_t seed = 42;           ///< Epoch e is drawn from seed + e.
    bool drop_last = false;            ///< Leaves out a bucket's last batch if it is not full.
    bool interleave = true;            ///< Else bucket after bucket, short to long.

    /// Samples a full batch of the bucket holds.
    std::uint64_t capacity(std::uint16_t bucket) const;
};

/// One epoch: batch b holds samples[batch_begin[b] .. batch_begin[b + 1]) of one bucket.
struct LazarusEpoch {
    std::vector<std::uint32_t> samples;         ///< Numbers in the sampler's input.
    std::vector<std::uint64_t> batch_begin{0};  ///< (batches + 1)
    std::vector<std::uint16_t> batch_bucket;    ///< (batches)

    std::uint64_t num_batches() const { return batch_bucket.size(); }
    std::span<const std::uint32_t> batch(std::uint64_t b) const {
        return std::span(samples).subspan(batch_begin[b], batch_begin[b + 1] - batch_begin[b]);
    }
    friend bool operator==(const LazarusEpoch&, const LazarusEpoch&) = default;
};

/// What Lazarus' compute_metrics says: one pass without shuffling. Tokens and samples include what drop_last
/// leaves out; batches do not.
struct LazarusMetrics {
    std::uint64_t total_tokens = 0, padded_tokens = 0, total_samples = 0, skipped_samples = 0,
                  total_batches = 0;
    std::map<std::uint16_t, std::uint64_t> bucket_samples, bucket_batches;  ///< Buckets with batches.

    double padding_waste() const;  ///< (padded − total) / padded; 0 without samples.
    double efficiency() const { return 1.0 - padding_waste(); }
};

class LazarusSampler {
  public:
    /// @param lengths  of samples in the order of Lazarus' length map, which the order of batches depends on;
    ///                 fewer than 2^32.
    LazarusSampler(LazarusSampling sampling, std::span<const std::uint64_t> lengths);

    LazarusEpoch epoch(std::uint64_t number) const;
    LazarusMetrics metrics() const;
    const std::vector<std::uint32_t>& skipped() const { return skipped_; }

  private:
    struct Bucket {
        std::uint16_t number;
        std::vector<std::uint32_t> samples;
        std::uint64_t tokens;

        std::uint64_t batches(std::uint64_t capacity, bool drop_last) const {
            return (samples.size() + (drop_last ? 0 : capacity - 1)) / capacity;
        }
    };

    LazarusSampling sampling_;
    std::vector<Bucket> buckets_;  ///< In the order of their first samples.
    std::vector<std::uint32_t> skipped_;
};

/// Microbatches i of an epoch with i mod W = rank: Lazarus' shard.
std::vector<std::uint64_t> lazarus_shard(std::uint64_t num_microbatches, std::uint64_t rank,
                                         std::uint64_t world_size);

}  // namespace lockstep
