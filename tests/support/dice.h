// tests/support/dice.h
//
// Random numbers of a test, drawn one after another: the same on every machine.

#pragma once

#include <cstdint>

#include "io/base/philox.h"

namespace lockstep {

class Dice {
  public:
    explicit Dice(std::uint64_t seed) : philox_(seed, "test-dice") {}
    /// Uniform in [low, high].
    std::uint64_t roll(std::uint64_t low, std::uint64_t high) {
        return low + philox_.below(next_++, high - low + 1);
    }
    /// Uniform in [0, bound).
    std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>(roll(0, bound - 1)); }
    bool coin() { return roll(0, 1) == 1; }

  private:
    Philox philox_;
    std::uint64_t next_ = 0;
};

}  // namespace lockstep
