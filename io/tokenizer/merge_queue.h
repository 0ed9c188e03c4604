// io/tokenizer/merge_queue.h
//
// What byte pair merging does next: candidates by rank, leftmost first among equals.
// A list a rank instead of one heap: what is taken together stands together, so a word
// of megabytes is gone through in order and not all over memory.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lockstep {

/// A pair of neighbours as it was when it was found.
struct MergeCandidate {
    std::uint32_t at = 0;  ///< Place of the left one.
    std::uint32_t left = 0, right = 0;
};

class MergeQueue {
  public:
    /// Empty, for ranks in [0, num_ranks). Space is kept.
    void begin(std::uint32_t num_ranks);

    void add(std::uint32_t rank, const MergeCandidate& candidate);

    /// Takes the one of the least rank, leftmost among equals. @return false if there is none.
    bool take(MergeCandidate& candidate);

  private:
    static constexpr std::uint32_t none = 0xFFFFFFFFU;
    static constexpr std::size_t block_candidates = 20;
    struct Block {
        std::uint32_t count = 0;
        std::uint32_t next = none;
        std::array<MergeCandidate, block_candidates> candidates;
    };
    struct List {
        std::uint32_t first = none, last = none;
    };
    struct Early {
        std::uint32_t rank;
        MergeCandidate candidate;
        friend bool operator>(const Early& a, const Early& b) {
            return a.rank != b.rank ? a.rank > b.rank : a.candidate.at > b.candidate.at;
        }
    };

    void append(List& list, const MergeCandidate& candidate);
    bool open_next();

    std::vector<List> lists_;  ///< (num_ranks) not yet opened.
    std::vector<Block> blocks_;
    std::uint32_t free_ = none;           ///< Blocks to use again.
    std::vector<std::uint32_t> waiting_;  ///< Heap: ranks with a list that is not empty.

    std::int64_t open_rank_ = -1;  ///< The list being taken from.
    std::vector<MergeCandidate> open_;
    std::size_t taken_ = 0;
    /// Heap: what was added at or below the open rank. Only a rule that goes before those that make its parts
    /// leads here.
    std::vector<Early> early_;
};

}  // namespace lockstep
