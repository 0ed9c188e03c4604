#include "plan/bucketing.h"

#include <algorithm>
#include <limits>
#include <string>

#include "io/base/error.h"
#include "plan/shuffle.h"

namespace lockstep {

LengthBuckets::LengthBuckets(std::span<const std::uint32_t> edges, std::uint32_t overflow_max)
    : uppers_(edges.begin(), edges.end()) {
    uppers_.push_back(overflow_max);
}

std::uint16_t LengthBuckets::index_of(std::uint32_t tokens) const {
    const auto edges_end = uppers_.end() - 1;
    return static_cast<std::uint16_t>(std::lower_bound(uppers_.begin(), edges_end, tokens) - uppers_.begin());
}

template <class Index>
BucketMembers<Index> sort_into_buckets(std::span<const std::uint32_t> segment_tokens,
                                       const PlanOptions& options) {
    const LengthBuckets buckets(options.bucket_edges, options.bucket_overflow_max);
    std::vector<Index> next(buckets.size() + 1, 0);
    for (const std::uint32_t tokens : segment_tokens) {
        const std::uint16_t bucket = buckets.index_of(tokens);
        if (buckets.upper(bucket) > options.token_budget) {
            const std::uint32_t low = bucket == 0 ? 1 : buckets.upper(bucket - 1U) + 1;
            throw Error(ErrorCode::invalid_argument,
                        "bucket " + std::to_string(bucket) + " (lengths " + std::to_string(low) + " to " +
                            std::to_string(buckets.upper(bucket)) + ", here a segment of " +
                            std::to_string(tokens) + ") pads to " + std::to_string(buckets.upper(bucket)) +
                            " tokens, over the token budget of " + std::to_string(options.token_budget) +
                            "; raise -b or lower the bucket edges");
        }
        ++next[bucket + 1U];
    }
    for (std::size_t b = 0; b < buckets.size(); ++b) next[b + 1] += next[b];
    BucketMembers<Index> sorted;
    sorted.begin = next;
    sorted.members.resize(segment_tokens.size());
    for (Index i = 0; i < segment_tokens.size(); ++i) {
        sorted.members[next[buckets.index_of(segment_tokens[i])]++] = i;
    }
    return sorted;
}

template <class Index>
BucketedPacks<Index> pack_buckets(const BucketMembers<Index>& members, const PlanOptions& options,
                                  std::uint64_t epoch) {
    const LengthBuckets buckets(options.bucket_edges, options.bucket_overflow_max);
    BucketedPacks<Index> packs;
    packs.layout.segments = members.members;
    DrawSequence draws(options.seed, "bucket-members", epoch);
    for (std::size_t bucket = 0; bucket < buckets.size(); ++bucket) {
        const Index begin = members.begin[bucket];
        const Index end = members.begin[bucket + 1];
        if (options.order != PackOrder::in_order) {
            shuffle_values(std::span(packs.layout.segments).subspan(begin, end - begin), draws);
        }
        const std::uint32_t capacity =
            buckets.capacity(bucket, options.token_budget, options.segments_per_pack_max);
        for (Index first = begin; first < end;) {
            first += std::min<Index>(capacity, end - first);
            packs.layout.pack_begin.push_back(first);
            packs.pack_bucket.push_back(static_cast<std::uint16_t>(bucket));
        }
    }
    return packs;
}

template <class Index>
std::vector<Index> interleave_buckets(std::span<const std::uint16_t> pack_bucket, const PlanOptions& options,
                                      std::uint64_t epoch) {
    __extension__ using u128 = unsigned __int128;
    struct Place {
        std::uint64_t at;  ///< Fraction of the epoch, of 2^63.
        Index pack;
    };
    std::vector<Place> places(pack_bucket.size());
    DrawSequence draws(options.seed, "bucket-places", epoch);
    for (std::size_t begin = 0; begin < pack_bucket.size();) {
        std::size_t end = begin;
        while (end < pack_bucket.size() && pack_bucket[end] == pack_bucket[begin]) ++end;
        const std::uint32_t shift = draws.below(std::numeric_limits<std::uint32_t>::max());
        for (std::size_t k = begin; k < end; ++k) {
            const u128 numerator = (static_cast<u128>(k - begin) << 32U) + shift;
            places[k] = {static_cast<std::uint64_t>((numerator << 31U) / (end - begin)),
                         static_cast<Index>(k)};
        }
        begin = end;
    }
    std::ranges::sort(
        places, [](const Place& a, const Place& b) { return a.at != b.at ? a.at < b.at : a.pack < b.pack; });
    std::vector<Index> order(places.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = places[i].pack;
    return order;
}

#define LOCKSTEP_INSTANTIATE(Index)                                                                      \
    template BucketMembers<Index> sort_into_buckets(std::span<const std::uint32_t>, const PlanOptions&); \
    template BucketedPacks<Index> pack_buckets(const BucketMembers<Index>&, const PlanOptions&,          \
                                               std::uint64_t);                                           \
    template std::vector<Index> interleave_buckets(std::span<const std::uint16_t>, const PlanOptions&,   \
                                                   std::uint64_t);
LOCKSTEP_INSTANTIATE(NarrowIndex)
LOCKSTEP_INSTANTIATE(WideIndex)
#undef LOCKSTEP_INSTANTIATE

}  // namespace lockstep
