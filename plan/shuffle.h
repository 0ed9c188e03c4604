// plan/shuffle.h
//
// Random orders of a plan: Fisher–Yates over draws from Philox. Equal (seed,
// purpose, stream) give equal orders everywhere. The epoch is a coordinate of the
// generator's counter and never added to the seed, so neighbouring seeds share no
// epoch.
//
// Changing how words become draws is a plan format change ("draws" in algorithms).

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "io/base/philox.h"

namespace lockstep {

/// Words made at once: blocks are independent, and many keep the multipliers busy.
inline constexpr std::size_t draw_words = 128;

/// An endless sequence of uniform draws.
class DrawSequence {
  public:
    DrawSequence(std::uint64_t seed, std::string_view purpose, std::uint64_t stream)
        : philox_(seed, purpose, stream) {}

    /// Uniform in [0, bound), bound ≥ 1, without bias: multiply-shift over the stream's 32-bit words in
    /// order, with rejection (Lemire 2019, "Fast random integer generation in an interval",
    /// arXiv:1805.10941).
    std::uint32_t below(std::uint32_t bound) {
        std::uint64_t product = std::uint64_t{next_word()} * bound;
        if (static_cast<std::uint32_t>(product) < bound) {
            const std::uint32_t threshold = (0U - bound) % bound;
            while (static_cast<std::uint32_t>(product) < threshold)
                product = std::uint64_t{next_word()} * bound;
        }
        return static_cast<std::uint32_t>(product >> 32U);
    }

    /// Uniform in [0, bound), [0, bound − 1), … without bias, all from one 64-bit word: the low half of each
    /// product is what the next draw comes from, and the last one decides on rejection (Brackett-Rozinsky and
    /// Lemire 2024, "Batched ranged random integer generation", arXiv:2408.06213).
    /// @pre bound · (bound − 1) · … (draws.size() factors) is in [1, 2^64).
    template <std::size_t count, class Number>
    void below_descending(Number bound, std::array<Number, count>& draws) {
        std::uint64_t product = 1;
        for (Number i = 0; i < count; ++i) product *= bound - i;
        std::uint64_t rest = draw_batch(bound, draws);
        if (rest >= product) return;
        const std::uint64_t threshold = (0 - product) % product;
        while (rest < threshold) rest = draw_batch(bound, draws);
    }

  private:
    template <std::size_t count, class Number>
    std::uint64_t draw_batch(Number bound, std::array<Number, count>& draws) {
        __extension__ using u128 = unsigned __int128;
        const std::uint64_t low = next_word();
        std::uint64_t rest = (std::uint64_t{next_word()} << 32U) | low;
        for (Number i = 0; i < count; ++i) {
            const u128 scaled = static_cast<u128>(rest) * (bound - i);
            draws[i] = static_cast<Number>(scaled >> 64U);
            rest = static_cast<std::uint64_t>(scaled);
        }
        return rest;
    }
    std::uint32_t next_word() {
        if (next_ == words_.size()) refill();
        return words_[next_++];
    }
    void refill();

    Philox philox_;
    std::uint64_t next_block_ = 0;
    std::array<std::uint32_t, draw_words> words_{};
    std::size_t next_ = words_.size();
};

/// The next `count` places of a Fisher–Yates shuffle of values[0, left).
template <std::size_t count, class Number = std::uint32_t, class T>
void shuffle_last(std::span<T> values, std::size_t left, DrawSequence& draws) {
    std::array<Number, count> chosen;
    draws.below_descending(static_cast<Number>(left), chosen);
    for (std::size_t i = 0; i < count; ++i) std::swap(values[left - 1 - i], values[chosen[i]]);
}

/// Permute in place; every order equally likely. As many draws come from one word as their bounds allow.
template <class T>
void shuffle_values(std::span<T> values, DrawSequence& draws) {
    std::size_t left = values.size();
    while (left > std::numeric_limits<std::uint32_t>::max()) {
        shuffle_last<1, std::uint64_t>(values, left, draws);
        left -= 1;
    }
    while (left > 1U << 20U) {
        shuffle_last<2>(values, left, draws);
        left -= 2;
    }
    while (left > 4096) {
        shuffle_last<3>(values, left, draws);
        left -= 3;
    }
    while (left > 512) {
        shuffle_last<5>(values, left, draws);
        left -= 5;
    }
    while (left > 64) {
        shuffle_last<7>(values, left, draws);
        left -= 7;
    }
    while (left > 20) {
        shuffle_last<10>(values, left, draws);
        left -= 10;
    }
    while (left > 6) {
        shuffle_last<6>(values, left, draws);
        left -= 6;
    }
    // At most 6! orders: the bounds run down to 1, whose draw is 0.
    switch (left) {
        case 6:
            return shuffle_last<6>(values, left, draws);
        case 5:
            return shuffle_last<5>(values, left, draws);
        case 4:
            return shuffle_last<4>(values, left, draws);
        case 3:
            return shuffle_last<3>(values, left, draws);
        case 2:
            return shuffle_last<2>(values, left, draws);
        default:
            return;
    }
}

}  // namespace lockstep
