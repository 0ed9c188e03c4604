// io/base/philox.h
//
// Philox4x32-10: 128 random bits as a pure function of a key and a counter. All
// randomness of a run comes from here, keyed (seed, purpose, index), so that it
// depends on neither order, threads nor ranks.
//
// Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as
// 1, 2, 3". Test vectors of the Random123 distribution are in philox_test.cpp.

#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lockstep {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

inline constexpr int philox_rounds = 10;
inline constexpr std::array<std::uint32_t, 2> philox_multipliers{0xD2511F53U, 0xCD9E8D57U};
inline constexpr std::array<std::uint32_t, 2> philox_weyl{0x9E3779B9U, 0xBB67AE85U};

/// The raw function, ten rounds.
constexpr PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
    for (int round = 0; round < philox_rounds; ++round) {
        const std::uint64_t p0 = std::uint64_t{philox_multipliers[0]} * counter[0];
        const std::uint64_t p1 = std::uint64_t{philox_multipliers[1]} * counter[2];
        counter = {
            static_cast<std::uint32_t>(p1 >> 32U) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
            static_cast<std::uint32_t>(p0 >> 32U) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
        key[0] += philox_weyl[0];
        key[1] += philox_weyl[1];
    }
    return counter;
}

/// A stream of random words for one purpose. Equal (seed, purpose, stream) give equal
/// words everywhere. `purpose` is a short name fixed for ever ("pack-shuffle"), hashed by FNV-1a.
class Philox {
  public:
    constexpr Philox(std::uint64_t seed, std::string_view purpose, std::uint64_t stream = 0)
        : key_{static_cast<std::uint32_t>(seed ^ hash(purpose)),
               static_cast<std::uint32_t>((seed ^ hash(purpose)) >> 32U)},
          stream_(stream) {}

    /// What block `index` is computed from.
    constexpr PhiloxCounter counter(std::uint64_t index) const {
        return {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32U),
                static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32U)};
    }
    constexpr PhiloxKey key() const { return key_; }

    /// Words 4·index … 4·index + 3 of the stream.
    constexpr PhiloxCounter block(std::uint64_t index) const { return philox4x32(counter(index), key_); }

    /// 64 random bits for one index.
    constexpr std::uint64_t word64(std::uint64_t index) const {
        const PhiloxCounter b = block(index);
        return (std::uint64_t{b[1]} << 32U) | b[0];
    }

    /// Uniform in [0, bound), bound ≥ 1, without bias: multiply-shift with rejection;
    /// rejected draws move on to words 2–3 and then to the block at index + k·2^48.
    /// @pre index < 2^48.
    constexpr std::uint64_t below(std::uint64_t index, std::uint64_t bound) const {
        const std::uint64_t threshold = (0 - bound) % bound;
        for (std::uint64_t attempt = 0;; ++attempt) {
            const PhiloxCounter b = block(index + (attempt << 48U));
            for (int half = 0; half < 2; ++half) {
                const std::uint64_t x = (std::uint64_t{b[static_cast<std::size_t>(2 * half + 1)]} << 32U) |
                                        b[static_cast<std::size_t>(2 * half)];
                __extension__ using u128 = unsigned __int128;
                const u128 product = static_cast<u128>(x) * bound;
                if (static_cast<std::uint64_t>(product) >= threshold) {
                    return static_cast<std::uint64_t>(product >> 64U);
                }
            }
        }
    }

  private:
    static constexpr std::uint64_t hash(std::string_view text) {
        std::uint64_t h = 0xcbf29ce484222325ULL;
        for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
        return h;
    }

    PhiloxKey key_;
    std::uint64_t stream_;
};

}  // namespace lockstep
