#include "io/tokenizer/training/pair_learning.h"

#include <algorithm>
#include <array>
#include <queue>
#include <unordered_map>

#include "io/base/error.h"
#include "io/tokenizer/byte_level.h"
#include "io/tokenizer/token_index.h"

namespace lockstep {

namespace {

constexpr std::uint32_t nothing = 0xFFFFFFFFU;

/// The words as linked cells, one a symbol.
struct Cells {
    std::vector<std::uint32_t> symbol;  ///< `nothing`: merged into the cell before it.
    std::vector<std::uint32_t> previous, next, word;

    explicit Cells(std::size_t size) : symbol(size), previous(size), next(size), word(size) {}

    bool is_pair(std::uint32_t at, std::uint32_t left, std::uint32_t right) const {
        return symbol[at] == left && next[at] != nothing && symbol[next[at]] == right;
    }
};

/// Where a pair was seen, ascending; places that are no longer it stay in the list.
struct Pair {
    std::uint64_t count = 0;
    std::vector<std::uint32_t> places;
};

struct Candidate {
    std::uint64_t count;
    std::uint32_t left, right;

    bool operator<(const Candidate& other) const {
        if (count != other.count) return count < other.count;
        return left != other.left ? left > other.left : right > other.right;
    }
};

class PairLearning {
  public:
    PairLearning(const WordCounts& words, const PairLearningOptions& options)
        : options_(options), cells_(total_bytes(words)) {
        for (const unsigned char byte : byte_level_order()) {
            result_.symbols.emplace_back(1, static_cast<char>(byte));
            ids_.set(result_.symbols.back(), static_cast<std::uint32_t>(result_.symbols.size() - 1));
        }
        lay_out(words);
        for (const auto& [key, pair] : pairs_) offer(key, pair.count);
    }

    LearnedPairs run(FunctionRef<void(std::size_t)> progress) {
        while (result_.symbols.size() < options_.symbols_max && !candidates_.empty()) {
            const Candidate best = candidates_.top();
            candidates_.pop();
            Pair& pair = pairs_.at(key_of(best.left, best.right));
            if (pair.count != best.count) {
                // It became rarer since it was offered; if it became more frequent it was offered anew.
                if (pair.count < best.count) offer(key_of(best.left, best.right), pair.count);
                continue;
            }
            if (is_reserved(result_.symbols[best.left] + result_.symbols[best.right])) continue;
            merge(best, std::move(pair.places));
            if (result_.symbols.size() % 256 == 0) progress(result_.symbols.size());
        }
        for (std::size_t at = 0; at < cells_.symbol.size(); ++at) {
            const std::uint64_t count = counts_[cells_.word[at]];
            result_.text_bytes += count;
            if (cells_.symbol[at] != nothing) result_.text_symbols += count;
        }
        return std::move(result_);
    }

  private:
    static std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
        return (std::uint64_t{left} << 32U) | right;
    }

    static std::size_t total_bytes(const WordCounts& words) {
        std::size_t bytes = 0;
        for (std::size_t i = 0; i < words.size(); ++i) bytes += words.word(i).size();
        if (bytes >= nothing) {
            throw Error(
                ErrorCode::invalid_argument,
                "the different words of the text have 2^32 bytes together; train on a part of the text");
        }
        return bytes;
    }

    void lay_out(const WordCounts& words) {
        std::array<std::uint32_t, 256> id_of_byte{};
        for (std::uint32_t i = 0; i < 256; ++i) id_of_byte[byte_level_order()[i]] = i;
        std::uint32_t at = 0;
        for (const std::size_t index : words.sorted()) {
            const std::string_view word = words.word(index);
            const auto word_number = static_cast<std::uint32_t>(counts_.size());
            counts_.push_back(words.count(index));
            const auto end = at + static_cast<std::uint32_t>(word.size());
            for (std::uint32_t i = 0; i < word.size(); ++i, ++at) {
                cells_.symbol[at] = id_of_byte[static_cast<unsigned char>(word[i])];
                cells_.word[at] = word_number;
                cells_.previous[at] = i == 0 ? nothing : at - 1;
                cells_.next[at] = at + 1 == end ? nothing : at + 1;
                if (i > 0) gain(at - 1);
            }
        }
    }

    /// The pair that begins at this cell came to be. Returns its key.
    std::uint64_t gain(std::uint32_t at) {
        const std::uint64_t key = key_of(cells_.symbol[at], cells_.symbol[cells_.next[at]]);
        Pair& pair = pairs_[key];
        pair.count += counts_[cells_.word[at]];
        pair.places.push_back(at);
        return key;
    }

    /// The pair that begins at this cell is about to go.
    void lose(std::uint32_t at) {
        Pair& pair = pairs_.at(key_of(cells_.symbol[at], cells_.symbol[cells_.next[at]]));
        pair.count -= counts_[cells_.word[at]];
        if (pair.count == 0) pair.places = {};
    }

    void offer(std::uint64_t key, std::uint64_t count) {
        if (count < options_.count_min) return;
        candidates_.push({count, static_cast<std::uint32_t>(key >> 32U), static_cast<std::uint32_t>(key)});
    }

    void merge(const Candidate& best, std::vector<std::uint32_t> places) {
        const std::uint32_t made = symbol_for(best);
        // Ascending already, unless its symbols came about in more than one way.
        if (!std::ranges::is_sorted(places)) std::ranges::sort(places);
        raised_.clear();
        for (const std::uint32_t at : places)
            if (cells_.is_pair(at, best.left, best.right)) join(at, made);
        std::ranges::sort(raised_);
        raised_.erase(std::unique(raised_.begin(), raised_.end()), raised_.end());
        for (const std::uint64_t key : raised_) offer(key, pairs_.at(key).count);
    }

    bool is_reserved(std::string_view bytes) const {
        return !options_.reserved.empty() &&
               std::ranges::find(options_.reserved, mapped_bytes(bytes)) != options_.reserved.end();
    }

    std::uint32_t symbol_for(const Candidate& best) {
        const std::string bytes = result_.symbols[best.left] + result_.symbols[best.right];
        std::uint32_t id = ids_.find(bytes);
        if (id == TokenIndex::none) {
            id = static_cast<std::uint32_t>(result_.symbols.size());
            ids_.set(bytes, id);
            result_.symbols.push_back(bytes);
        }
        // A pair can come back when its left or right symbol is made in a second way; its rule is there.
        if (ruled_.emplace(key_of(best.left, best.right), id).second)
            result_.merges.push_back({best.left, best.right, id});
        return id;
    }

    void join(std::uint32_t at, std::uint32_t made) {
        const std::uint32_t right = cells_.next[at], before = cells_.previous[at], after = cells_.next[right];
        lose(at);
        if (before != nothing) lose(before);
        if (after != nothing) lose(right);
        cells_.symbol[at] = made;
        cells_.symbol[right] = nothing;
        cells_.next[at] = after;
        if (after != nothing) cells_.previous[after] = at;
        if (before != nothing) raised_.push_back(gain(before));
        if (after != nothing) raised_.push_back(gain(at));
    }

    PairLearningOptions options_;
    Cells cells_;
    std::vector<std::uint64_t> counts_;  ///< Of each word.
    std::unordered_map<std::uint64_t, Pair> pairs_;
    std::unordered_map<std::uint64_t, std::uint32_t> ruled_;
    std::priority_queue<Candidate> candidates_;
    std::vector<std::uint64_t> raised_;  ///< Pairs whose count rose in this round.
    TokenIndex ids_;
    LearnedPairs result_;
};

std::array<unsigned char, 256> order_bytes() {
    std::array<unsigned char, 256> bytes{};
    for (std::size_t i = 0; i < 256; ++i) bytes[i] = static_cast<unsigned char>(i);
    std::ranges::sort(bytes, {}, character_of_byte);
    return bytes;
}

}  // namespace

std::span<const unsigned char, 256> byte_level_order() {
    static const std::array<unsigned char, 256> order = order_bytes();
    return order;
}

LearnedPairs learn_pairs(const WordCounts& words, const PairLearningOptions& options,
                         FunctionRef<void(std::size_t)> progress) {
    return PairLearning(words, options).run(progress);
}

}  // namespace lockstep
