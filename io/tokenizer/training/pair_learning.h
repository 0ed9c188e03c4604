// io/tokenizer/training/pair_learning.h
//
// Byte pair training: the most frequent pair of neighbours becomes one symbol,
// again and again.
//
// Source: Sennrich, Haddow, Birch 2016, "Neural Machine Translation of Rare
// Words with Subword Units", arXiv:1508.07909; over bytes as Radford et al. 2019
// (GPT-2) have it.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/base/function_ref.h"
#include "io/tokenizer/training/word_counts.h"

namespace lockstep {

/// Symbols `left` and `right` side by side become `result`.
struct LearnedMerge {
    std::uint32_t left = 0, right = 0, result = 0;
    friend bool operator==(const LearnedMerge&, const LearnedMerge&) = default;
};

struct LearnedPairs {
    std::vector<std::string>
        symbols;  ///< Bytes by id: the 256 bytes in byte-level order, then what was made.
    std::vector<LearnedMerge> merges;  ///< In the order they were made.
    std::uint64_t text_bytes = 0;      ///< Of all words.
    std::uint64_t text_symbols = 0;    ///< What they came to.
};

struct PairLearningOptions {
    std::size_t symbols_max = 0;  ///< At least 256.
    std::uint64_t count_min = 2;  ///< A pair that occurs less often is left alone. At least 1.
    /// What no symbol is spelled as (byte_level.h): a pair that would make one is left alone.
    std::vector<std::string> reserved = {};
};

/// The 256 bytes in the order of the characters that stand for them: the first symbols.
std::span<const unsigned char, 256> byte_level_order();

/// Each round takes the pair with the highest count over all words; of equal ones that of the lower left id,
/// then of the lower right id. Pairs may overlap when counted (`aaa` is two of `aa`) and are replaced from
/// the left. A pair whose bytes are a symbol already makes a second way to it, not a second symbol.
///
/// A function of the words and their counts alone. O(n log n) for n bytes of different words.
///
/// @param progress  called with the number of symbols, now and then.
/// @throws Error{invalid_argument} if the different words have 2^32 bytes together.
LearnedPairs learn_pairs(const WordCounts& words, const PairLearningOptions& options,
                         FunctionRef<void(std::size_t)> progress);

}  // namespace lockstep
