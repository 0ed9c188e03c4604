#include "plan/length_analysis.h"

#include <algorithm>
#include <cmath>

#include "io/base/error.h"
#include "plan/bucket_edges.h"
#include "plan/packing.h"

namespace lockstep {

namespace {

constexpr std::uint32_t counted_directly = std::uint32_t{1} << 22U;

double ratio(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 1.0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string percent_text(double share) {
    const auto tenths = static_cast<std::uint64_t>(std::llround(1000 * share));
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " %";
}

std::uint64_t total_samples(std::span<const LengthCount> lengths) {
    std::uint64_t samples = 0;
    for (const LengthCount& row : lengths) samples += row.samples;
    return samples;
}

/// Of a sample that is cut: its pieces but the last, each of which repeats one token.
std::uint64_t pieces_before_last(std::uint32_t tokens, std::uint32_t tokens_max) {
    return (tokens - 2) / (tokens_max - 1);
}

}  // namespace

std::vector<LengthCount> count_lengths(std::span<const std::uint32_t> sample_tokens) {
    std::uint32_t longest = 0;
    for (const std::uint32_t tokens : sample_tokens) longest = std::max(longest, tokens);
    std::vector<std::uint64_t> counts(std::min(longest, counted_directly - 1) + 1);
    std::vector<std::uint32_t> beyond;
    for (const std::uint32_t tokens : sample_tokens) {
        if (tokens < counts.size()) {
            ++counts[tokens];
        } else {
            beyond.push_back(tokens);
        }
    }
    std::vector<LengthCount> lengths;
    for (std::size_t tokens = 0; tokens < counts.size(); ++tokens) {
        if (counts[tokens] > 0) lengths.push_back({static_cast<std::uint32_t>(tokens), counts[tokens]});
    }
    std::sort(beyond.begin(), beyond.end());
    for (const std::uint32_t tokens : beyond) {
        if (lengths.empty() || lengths.back().tokens != tokens) lengths.push_back({tokens, 0});
        ++lengths.back().samples;
    }
    return lengths;
}

std::uint32_t length_percentile(std::span<const LengthCount> lengths, unsigned percent) {
    const std::uint64_t samples = total_samples(lengths);
    // Of n · p / 100 without overflow.
    std::uint64_t rank = samples / 100 * percent + samples % 100 * percent / 100;
    rank = std::min(rank, samples - 1);
    for (const LengthCount& row : lengths) {
        if (rank < row.samples) return row.tokens;
        rank -= row.samples;
    }
    return lengths.back().tokens;
}

LengthSummary summarize_lengths(std::span<const LengthCount> lengths) {
    if (lengths.empty()) throw Error(ErrorCode::invalid_argument, "there are no samples to look at");
    LengthSummary summary;
    summary.min = lengths.front().tokens;
    summary.max = lengths.back().tokens;
    for (const LengthCount& row : lengths) {
        summary.samples += row.samples;
        summary.tokens += row.samples * row.tokens;
    }
    const auto samples = static_cast<double>(summary.samples);
    summary.mean = static_cast<double>(summary.tokens) / samples;
    double squares = 0;
    for (const LengthCount& row : lengths) {
        const double off = row.tokens - summary.mean;
        squares += off * off * static_cast<double>(row.samples);
    }
    summary.deviation = std::sqrt(squares / samples);
    summary.p10 = length_percentile(lengths, 10);
    summary.p25 = length_percentile(lengths, 25);
    summary.p50 = length_percentile(lengths, 50);
    summary.p75 = length_percentile(lengths, 75);
    summary.p90 = length_percentile(lengths, 90);
    summary.p95 = length_percentile(lengths, 95);
    summary.p99 = length_percentile(lengths, 99);
    return summary;
}

std::vector<LengthBin> equal_bins(std::span<const LengthCount> lengths, std::uint64_t num_bins) {
    std::vector<LengthBin> bins;
    if (lengths.empty()) return bins;
    const std::uint64_t min = lengths.front().tokens;
    const std::uint64_t max = lengths.back().tokens;
    const std::uint64_t width = std::max<std::uint64_t>(1, (max - min + 1) / num_bins);
    for (std::uint64_t begin = min; begin <= max; begin += width) bins.push_back({begin, begin + width, 0});
    for (const LengthCount& row : lengths) bins[(row.tokens - min) / width].samples += row.samples;
    return bins;
}

std::vector<LengthBin> doubling_bins(std::span<const LengthCount> lengths) {
    std::vector<LengthBin> bins;
    std::uint64_t begin = 0;
    std::uint64_t last = 1;
    for (const LengthCount& row : lengths) {
        while (row.tokens > last) {
            if (!bins.empty()) bins.push_back({last + 1, 2 * last + 1, 0});
            begin = last + 1;
            last *= 2;
        }
        if (bins.empty()) bins.push_back({begin, last + 1, 0});
        bins.back().samples += row.samples;
    }
    return bins;
}

std::uint64_t samples_above(std::span<const LengthCount> lengths, std::uint32_t tokens) {
    std::uint64_t samples = 0;
    for (const LengthCount& row : lengths) samples += row.tokens > tokens ? row.samples : 0;
    return samples;
}

std::vector<LengthCount> cut_long_samples(std::span<const LengthCount> lengths, std::uint32_t tokens_max) {
    std::vector<LengthCount> pieces;
    for (const LengthCount& row : lengths) {
        if (row.tokens == 0) continue;
        if (row.tokens <= tokens_max) {
            pieces.push_back(row);
            continue;
        }
        if (tokens_max < 2) {
            throw Error(
                ErrorCode::invalid_argument,
                "a sample of " + std::to_string(row.tokens) +
                    " tokens cannot be cut into pieces of 1; raise -b or the length of the last bucket");
        }
        const std::uint64_t full = pieces_before_last(row.tokens, tokens_max);
        pieces.push_back({tokens_max, full * row.samples});
        pieces.push_back({static_cast<std::uint32_t>(row.tokens - full * (tokens_max - 1)), row.samples});
    }
    std::ranges::sort(pieces, {}, &LengthCount::tokens);
    std::vector<LengthCount> joined;
    for (const LengthCount& row : pieces) {
        if (!joined.empty() && joined.back().tokens == row.tokens) {
            joined.back().samples += row.samples;
        } else {
            joined.push_back(row);
        }
    }
    return joined;
}

double BucketUse::efficiency() const {
    return ratio(tokens, padded_tokens);
}

double BucketUses::efficiency() const {
    return ratio(tokens, padded_tokens);
}

BucketUses use_of_buckets(std::span<const LengthCount> lengths, std::span<const std::uint32_t> edges,
                          std::uint32_t overflow_max) {
    std::uint32_t previous = 0;
    BucketUses uses;
    const auto add = [&](std::uint32_t upper) {
        if (upper <= previous) {
            throw Error(ErrorCode::invalid_argument,
                        "bucket edge " + std::to_string(upper) + " does not lie above " +
                            std::to_string(previous) +
                            "; edges ascend from 1, and the longest sample of the last bucket lies above "
                            "them");
        }
        uses.buckets.push_back({previous + 1, upper, 0, 0, 0});
        previous = upper;
    };
    for (const std::uint32_t edge : edges) add(edge);
    add(overflow_max);
    std::size_t at = 0;
    for (const LengthCount& row : lengths) {
        if (row.tokens == 0) continue;
        while (at + 1 < uses.buckets.size() && row.tokens > uses.buckets[at].upper) ++at;
        BucketUse& bucket = uses.buckets[at];
        bucket.samples += row.samples;
        bucket.tokens += row.samples * row.tokens;
        bucket.padded_tokens += row.samples * bucket.upper;
    }
    for (const BucketUse& bucket : uses.buckets) {
        uses.samples += bucket.samples;
        uses.tokens += bucket.tokens;
        uses.padded_tokens += bucket.padded_tokens;
    }
    return uses;
}

WasteComparison compare_waste(std::span<const LengthCount> lengths, std::span<const std::uint32_t> edges,
                              std::uint32_t overflow_max, std::uint32_t token_budget) {
    if (token_budget < 1 || token_budget >= std::uint32_t{1} << 31U) {
        throw Error(ErrorCode::invalid_argument,
                    "the token budget is " + std::to_string(token_budget) + "; expected 1 to 2^31 - 1");
    }
    WasteComparison waste;
    waste.token_budget = token_budget;
    const std::vector<LengthCount> segments = cut_long_samples(lengths, token_budget);
    for (const LengthCount& row : lengths) {
        if (row.tokens <= token_budget) continue;
        waste.long_samples += row.samples;
        waste.overlap_tokens += row.samples * pieces_before_last(row.tokens, token_budget);
    }
    for (const LengthCount& row : segments) {
        waste.segments += row.samples;
        waste.tokens += row.samples * row.tokens;
    }
    if (segments.empty()) return waste;
    waste.padded_to_longest = waste.segments * segments.back().tokens;
    waste.padded_to_bucket =
        use_of_buckets(cut_long_samples(lengths, std::min(token_budget, overflow_max)), edges, overflow_max)
            .padded_tokens;
    std::vector<std::uint32_t> class_tokens;
    std::vector<std::uint64_t> class_segments;
    for (auto row = segments.rbegin(); row != segments.rend(); ++row) {
        class_tokens.push_back(row->tokens);
        class_segments.push_back(row->samples);
    }
    const PackShapes shapes = best_fit_decreasing(class_tokens, class_segments, {token_budget});
    for (const std::uint64_t packs : shapes.shape_packs) waste.packs += packs;
    waste.packs_lower_bound = packs_lower_bound(class_tokens, class_segments, {token_budget});
    waste.packed = waste.packs * token_budget;
    return waste;
}

std::vector<LengthAdvice> advise_on_lengths(std::span<const LengthCount> lengths,
                                            std::span<const std::uint32_t> edges, std::uint32_t overflow_max,
                                            std::uint32_t token_budget) {
    std::vector<LengthAdvice> advice;
    const WasteComparison waste = compare_waste(lengths, edges, overflow_max, token_budget);
    const std::vector<LengthCount> pieces = cut_long_samples(lengths, std::min(token_budget, overflow_max));
    const BucketUses uses = use_of_buckets(pieces, edges, overflow_max);
    const std::uint64_t longer_samples = samples_above(lengths, overflow_max);
    if (waste.packed < waste.padded_to_bucket) {
        const std::uint64_t saved = waste.padded_to_bucket - waste.packed;
        advice.push_back(
            {"packing",
             "pack instead of padding to buckets: " + percent_text(ratio(waste.tokens, waste.packed)) +
                 " of the computed tokens are real instead of " + percent_text(uses.efficiency()) +
                 "; saves " + std::to_string(saved) + " tokens an epoch",
             saved});
    }
    if (uses.samples > 0) {
        const auto num_buckets =
            static_cast<std::uint32_t>(std::min<std::size_t>(uses.buckets.size(), bucket_count_max));
        const BucketEdges best = optimal_bucket_edges(pieces, num_buckets, overflow_max);
        if (best.padded_tokens < uses.padded_tokens) {
            const std::uint64_t saved = uses.padded_tokens - best.padded_tokens;
            std::string list;
            for (const std::uint32_t edge : best.edges)
                list += (list.empty() ? "" : ",") + std::to_string(edge);
            advice.push_back({"edges",
                              "with buckets, use --bucket-edges " + list + ": efficiency " +
                                  percent_text(best.efficiency()) + " instead of " +
                                  percent_text(uses.efficiency()) + "; saves " + std::to_string(saved) +
                                  " tokens an epoch",
                              saved});
        }
    }
    std::string empty;
    for (const BucketUse& bucket : uses.buckets) {
        // Beyond the budget none can be filled.
        if (bucket.samples > 0 || bucket.low > token_budget) continue;
        empty +=
            (empty.empty() ? "" : ", ") + std::to_string(bucket.low) + "-" + std::to_string(bucket.upper);
    }
    if (!empty.empty())
        advice.push_back({"empty_buckets", "no sample falls into " + empty + "; leave those edges out", 0});
    std::uint64_t least = 0, most = 0;
    for (const BucketUse& bucket : uses.buckets) {
        if (bucket.samples > 0) least = least == 0 ? bucket.samples : std::min(least, bucket.samples);
        most = std::max(most, bucket.samples);
    }
    if (most / 10 > least) {
        advice.push_back({"uneven_buckets",
                          "the largest bucket holds " + std::to_string(most) + " samples, the smallest " +
                              std::to_string(least) + "; steps of the small one are rare",
                          0});
    }
    if (longer_samples > 0) {
        advice.push_back({"overflow",
                          std::to_string(longer_samples) + " samples are longer than the last bucket's " +
                              std::to_string(overflow_max) +
                              " tokens and fall to --long; raise --bucket-overflow-max " +
                              (lengths.back().tokens > token_budget ? "and -b " : "") + "to " +
                              std::to_string(lengths.back().tokens) + " to keep them whole",
                          0});
    }
    if (waste.long_samples > 0) {
        advice.push_back({"budget",
                          std::to_string(waste.long_samples) + " samples are longer than the budget of " +
                              std::to_string(token_budget) + " tokens; splitting them repeats " +
                              std::to_string(waste.overlap_tokens) + " tokens, -b " +
                              std::to_string(lengths.back().tokens) + " would keep them whole",
                          0});
    }
    const std::uint64_t useless = total_samples(lengths) - samples_above(lengths, 1);
    if (useless > 0) {
        advice.push_back(
            {"no_target",
             std::to_string(useless) + " samples have at most one token and train nothing; leave them out",
             0});
    }
    std::ranges::stable_sort(advice, std::ranges::greater(), &LengthAdvice::tokens_saved);
    return advice;
}

}  // namespace lockstep
