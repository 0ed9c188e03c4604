#include "plan/bucket_edges.h"

#include <algorithm>
#include <limits>
#include <string>

#include "io/base/error.h"

namespace lockstep {

namespace {

[[noreturn]] void refuse(const std::string& problem) {
    throw Error(ErrorCode::invalid_argument, problem);
}

/// Candidates for an edge, and how many samples are at or below each.
struct Candidates {
    std::vector<std::uint64_t> upper{0};    ///< (m + 1) first 0: below everything.
    std::vector<std::uint64_t> samples{0};  ///< (m + 1) running sum.
    std::uint32_t granularity = 1;

    std::size_t last() const { return upper.size() - 1; }
    std::uint64_t padded(std::size_t from, std::size_t to) const {
        return upper[to] * (samples[to] - samples[from]);
    }
};

Candidates candidates_of(std::span<const LengthCount> lengths) {
    Candidates candidates;
    if (lengths.size() > bucket_edge_candidates_max) {
        const std::uint64_t range = std::uint64_t{lengths.back().tokens} - lengths.front().tokens + 1;
        candidates.granularity =
            static_cast<std::uint32_t>((range + bucket_edge_candidates_max - 1) / bucket_edge_candidates_max);
    }
    std::uint64_t cell = 0;
    for (const LengthCount& length : lengths) {
        const std::uint64_t its_cell = (length.tokens - lengths.front().tokens) / candidates.granularity + 1;
        if (its_cell != cell) {
            candidates.upper.push_back(0);
            candidates.samples.push_back(candidates.samples.back());
            cell = its_cell;
        }
        // Only lengths that occur are edges: a cell's edge is its longest.
        candidates.upper.back() = length.tokens;
        candidates.samples.back() += length.samples;
    }
    return candidates;
}

/// Layer by layer: least padded tokens of the samples up to candidate j in exactly k buckets, j ≥ k.
class EdgeSearch {
  public:
    explicit EdgeSearch(const Candidates& candidates) : candidates_(candidates) {
        const std::size_t m = candidates.last();
        best_.resize(m + 1);
        for (std::size_t j = 1; j <= m; ++j) best_[j] = candidates.padded(0, j);
    }

    std::size_t buckets() const { return cuts_.size() + 1; }
    const std::vector<std::uint64_t>& best() const { return best_; }

    void add_bucket() {
        const std::size_t k = buckets() + 1;
        const std::size_t m = candidates_.last();
        next_.assign(m + 1, 0);
        cuts_.emplace_back(m + 1, 0);
        solve(k, m, k - 1, m - 1);
        best_.swap(next_);
    }

    /// The candidates at which buckets end when the last of them ends at j.
    std::vector<std::size_t> ends(std::size_t j) const {
        std::vector<std::size_t> result{j};
        for (std::size_t layer = cuts_.size(); layer > 0; --layer) {
            j = cuts_[layer - 1][j];
            result.push_back(j);
        }
        std::reverse(result.begin(), result.end());
        return result;
    }

  private:
    /// For j in [low, high] the best cut lies in [cut_low, cut_high].
    void solve(std::size_t low, std::size_t high, std::size_t cut_low, std::size_t cut_high) {
        if (low > high) return;
        const std::size_t j = low + (high - low) / 2;
        std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
        std::size_t cut = cut_low;
        for (std::size_t i = cut_low; i <= std::min(cut_high, j - 1); ++i) {
            const std::uint64_t padded = best_[i] + candidates_.padded(i, j);
            if (padded < least) {
                least = padded;
                cut = i;
            }
        }
        next_[j] = least;
        cuts_.back()[j] = static_cast<std::uint32_t>(cut);
        solve(low, j - 1, cut_low, cut);
        solve(j + 1, high, cut, cut_high);
    }

    const Candidates& candidates_;
    std::vector<std::uint64_t> best_, next_;
    std::vector<std::vector<std::uint32_t>> cuts_;  ///< Of layer k ≥ 2: where its last bucket begins.
};

}  // namespace

double BucketEdges::efficiency() const {
    return padded_tokens == 0 ? 1.0 : static_cast<double>(tokens) / static_cast<double>(padded_tokens);
}

BucketEdges optimal_bucket_edges(std::span<const LengthCount> lengths, std::uint32_t num_buckets,
                                 std::uint32_t overflow_max) {
    if (num_buckets < 1 || num_buckets > bucket_count_max) {
        refuse("the number of buckets is " + std::to_string(num_buckets) + "; expected 1 to " +
               std::to_string(bucket_count_max));
    }
    if (overflow_max < 1) refuse("the longest sample of the last bucket is 0; expected at least 1");
    const auto begin = std::ranges::find_if(lengths, [](const auto& row) { return row.tokens > 0; });
    const auto end =
        std::find_if(begin, lengths.end(), [&](const LengthCount& row) { return row.tokens > overflow_max; });
    const std::span<const LengthCount> used(begin, end);
    if (used.empty()) {
        refuse("no sample has between 1 and " + std::to_string(overflow_max) +
               " tokens; there is nothing to sort into buckets");
    }
    BucketEdges result;
    result.overflow_max = overflow_max;
    std::uint64_t samples = 0;
    for (const LengthCount& row : used) {
        samples += row.samples;
        result.tokens += row.samples * row.tokens;
    }
    if (samples > std::numeric_limits<std::uint64_t>::max() / overflow_max) {
        refuse(std::to_string(samples) + " samples padded to " + std::to_string(overflow_max) +
               " tokens are 2^64 tokens or more; choose a shorter longest sample");
    }

    const Candidates candidates = candidates_of(used);
    result.granularity = candidates.granularity;
    const std::size_t m = candidates.last();
    // The last edge lies below overflow_max, so the longest length may not be one.
    const std::size_t last_edge = candidates.upper[m] < overflow_max ? m : m - 1;
    EdgeSearch search(candidates);
    result.padded_tokens = overflow_max * samples;  // No edge at all.
    std::size_t best_end = 0;
    for (std::size_t k = 1; k < num_buckets && k <= last_edge; ++k) {
        if (k > 1) search.add_bucket();
        best_end = 0;
        for (std::size_t j = k; j <= last_edge; ++j) {
            const std::uint64_t padded = search.best()[j] + overflow_max * (samples - candidates.samples[j]);
            if (padded < result.padded_tokens) {
                result.padded_tokens = padded;
                best_end = j;
            }
        }
        if (best_end == 0) break;  // Another bucket saves nothing.
        result.edges.clear();
        for (const std::size_t edge : search.ends(best_end))
            result.edges.push_back(static_cast<std::uint32_t>(candidates.upper[edge]));
    }
    return result;
}

}  // namespace lockstep
