// io/tokenizer/merge_queue.h
//
// What byte pair merging does next: places by the rank of the pair that begins there,
// leftmost first among equals. A list a rank instead of one heap: what is taken together
// stands together, so a word of megabytes is gone through in order and not all over
// memory.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace lockstep {

class MergeQueue {
  public:
    /// Empty, for ranks in [0, num_ranks). Space is kept.
    void begin(std::uint32_t num_ranks);

    /// May bring a place again, under another rank or the same.
    void add(std::uint32_t rank, std::uint32_t place);

    struct Taken {
        std::uint32_t rank;
        std::uint32_t place;
    };
    /// Takes the place of the least rank, leftmost among equals. @return false if there is none.
    bool take(Taken& taken);

  private:
    static constexpr std::uint32_t none = 0xFFFFFFFFU;
    static constexpr std::size_t block_places = 62;
    struct Block {
        std::uint32_t count;
        std::uint32_t next;
        std::array<std::uint32_t, block_places> places;
    };
    struct List {
        std::uint32_t first = none, last = none;
    };
    using Early = std::pair<std::uint32_t, std::uint32_t>;  ///< Rank, place.

    void append(List& list, std::uint32_t place);
    bool open_next();

    std::vector<List> lists_;  ///< (num_ranks) not yet opened.
    std::vector<Block> blocks_;
    std::uint32_t free_ = none;           ///< Blocks to use again.
    std::vector<std::uint32_t> waiting_;  ///< Heap: ranks with a list that is not empty.

    std::int64_t open_rank_ = -1;  ///< The list being taken from.
    std::vector<std::uint32_t> open_;
    std::size_t taken_ = 0;
    /// Heap: what was added at or below the open rank. Only a rule that goes before those that make its parts
    /// leads here.
    std::vector<Early> early_;
};

}  // namespace lockstep
