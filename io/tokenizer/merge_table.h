// io/tokenizer/merge_table.h
//
// Byte pair merging: which two neighbours become which symbol, and the loop that
// applies it, lowest rank first and leftmost among equals.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "io/tokenizer/merge_queue.h"

namespace lockstep {

/// One rule: `left` and `right` become `result`. Lower ranks go first.
struct MergeRule {
    std::uint32_t left = 0, right = 0, rank = 0, result = 0;
};

class MergeTable {
  public:
    static constexpr std::uint32_t no_rank = 0xFFFFFFFFU;

    struct Found {
        std::uint32_t rank = no_rank;
        std::uint32_t result = 0;
    };

    MergeTable() = default;
    /// The later of two rules for the same pair wins.
    explicit MergeTable(const std::vector<MergeRule>& rules);

    Found find(std::uint32_t left, std::uint32_t right) const {
        const std::uint64_t key = key_of(left, right);
        for (std::size_t at = slot_of(key);; at = (at + 1) & mask_) {
            const Slot& slot = slots_[at];
            if (slot.key == key) return slot.found;
            if (slot.key == empty) return {};
        }
    }

    /// Space for merging, kept between pieces.
    struct Scratch {
        /// A place of the word. A symbol lies over `size` places: the first has its id, first and last its
        /// size, so that both neighbours are found.
        struct Place {
            std::uint32_t id, size;
        };
        std::vector<std::uint32_t> ranks, results;
        std::vector<std::uint32_t> begins;  ///< Of merge_with_begins.
        std::vector<std::uint32_t> merged;
        std::vector<Place> places;
        MergeQueue queue;
        std::size_t window_symbols = std::size_t{1} << 15U;  ///< Longer words are merged by parts.
    };

    /// Merges `symbols` in place until no rule applies: at most O(n log n). Long words go through the cache
    /// by parts, in time proportional to their length but for rules that tie far apart symbols together.
    void merge(std::vector<std::uint32_t>& symbols, Scratch& scratch) const;
    /// The same; scratch.begins says of each symbol that is left with which of the given ones it begins.
    void merge_with_begins(std::vector<std::uint32_t>& symbols, Scratch& scratch) const;

  private:
    struct Slot {
        std::uint64_t key;
        Found found;
    };
    static constexpr std::uint64_t empty = ~std::uint64_t{0};

    static std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
        return (std::uint64_t{left} << 32U) | right;
    }
    std::size_t slot_of(std::uint64_t key) const { return (key * 0x9E3779B97F4A7C15ULL) >> shift_; }

    enum class Begins : bool { unknown, kept };
    template <Begins begins>
    void merge_short(std::vector<std::uint32_t>& symbols, Scratch& scratch) const;
    template <Begins begins>
    void merge_long(std::vector<std::uint32_t>& symbols, Scratch& scratch) const;
    template <Begins begins>
    bool merge_by_windows(std::span<const std::uint32_t> symbols, std::size_t window, Scratch& scratch) const;
    void merge_places(std::span<const std::uint32_t> symbols, Scratch& scratch) const;
    bool stay_apart(std::span<const std::uint32_t> symbols, std::size_t border, Scratch& scratch) const;

    std::uint32_t num_ranks_ = 0;  ///< One more than the greatest rank.
    std::vector<Slot> slots_{2, Slot{empty, {}}};
    std::size_t mask_ = 1;
    unsigned shift_ = 63;
};

}  // namespace lockstep
