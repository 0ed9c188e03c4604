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
#include <span>
#include <string_view>
#include <utility>

#include "io/base/philox.h"

namespace lockstep {

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

  private:
    std::uint32_t next_word() {
        if (next_ == words_.size()) refill();
        return words_[next_++];
    }
    void refill();

    Philox philox_;
    std::uint64_t next_block_ = 0;
    std::array<std::uint32_t, 64>
        words_{};  // Blocks are independent; many at once keep the multipliers busy.
    std::size_t next_ = words_.size();
};

/// Permute in place; every order equally likely.
/// @pre fewer than 2^32 values.
template <class T>
void shuffle_values(std::span<T> values, DrawSequence& draws) {
    for (std::size_t i = values.size(); i > 1; --i) {
        const std::size_t j = draws.below(static_cast<std::uint32_t>(i));
        std::swap(values[i - 1], values[j]);
    }
}

}  // namespace lockstep
