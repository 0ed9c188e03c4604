// plan/lazarus/random.h
//
// The random numbers of CPython's `random` module, as Lazarus draws them: Mersenne
// Twister 19937 seeded by array, getrandbits, and the shuffle of `random.Random`.
// Only plans in Lazarus mode use this; ours are drawn from Philox (shuffle.h).
//
// Source: Matsumoto and Nishimura 1998, "Mersenne Twister", ACM TOMACS 8(1).
// Its name in plans is "order=mt19937-cpython/1".

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "io/base/contract.h"

namespace lockstep {

class LazarusRandom {
  public:
    /// The generator of an epoch: `random.Random(base_seed + epoch)`; the sum may need 65 bits.
    LazarusRandom(std::uint64_t base_seed, std::uint64_t epoch);

    /// The next 32-bit output of the twister.
    std::uint32_t next_word();

    /// `getrandbits(bits)`, bits in [1, 64]: the top bits of one word; beyond 32 the low word is drawn first.
    std::uint64_t bits(unsigned count);

    /// Uniform in [0, bound), bound ≥ 1: draws of bit_length(bound) bits until one is below.
    std::uint64_t below(std::uint64_t bound);

    /// `random.shuffle`: from the last place down.
    template <class T>
    void shuffle(std::span<T> values) {
        for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
    }

  private:
    static constexpr std::size_t state_words = 624;

    void seed_by_array(std::span<const std::uint32_t> key);
    void refill();

    std::array<std::uint32_t, state_words> state_{};
    std::size_t next_ = state_words;
};

}  // namespace lockstep
