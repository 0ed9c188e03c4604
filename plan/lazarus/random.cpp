#include "plan/lazarus/random.h"

#include <algorithm>
#include <bit>

namespace lockstep {

LazarusRandom::LazarusRandom(std::uint64_t base_seed, std::uint64_t epoch) {
    const std::uint64_t sum = base_seed + epoch;
    const std::array<std::uint32_t, 3> words{static_cast<std::uint32_t>(sum),
                                             static_cast<std::uint32_t>(sum >> 32U), sum < epoch ? 1U : 0U};
    // Without leading zero words; zero is the key of one word.
    std::size_t size = words.size();
    while (size > 1 && words[size - 1] == 0) --size;
    seed_by_array(std::span(words).first(size));
}

void LazarusRandom::seed_by_array(std::span<const std::uint32_t> key) {
    state_[0] = 19650218U;
    for (std::uint32_t i = 1; i < state_words; ++i) {
        state_[i] = 1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30U)) + i;
    }
    std::uint32_t i = 1;
    // The first word is outside both rounds' walk and takes over the last one's value.
    const auto advance = [&] {
        if (++i == state_words) {
            state_[0] = state_[state_words - 1];
            i = 1;
        }
    };
    std::uint32_t j = 0;
    for (std::size_t round = std::max(state_words, key.size()); round > 0; --round) {
        state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30U)) * 1664525U)) + key[j] + j;
        advance();
        if (++j == key.size()) j = 0;
    }
    for (std::size_t round = state_words - 1; round > 0; --round) {
        state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30U)) * 1566083941U)) - i;
        advance();
    }
    state_[0] = 0x80000000U;
    next_ = state_words;
}

void LazarusRandom::refill() {
    constexpr std::size_t shift = 397;
    for (std::size_t i = 0; i < state_words; ++i) {
        const std::uint32_t joined =
            (state_[i] & 0x80000000U) | (state_[(i + 1) % state_words] & 0x7FFFFFFFU);
        state_[i] =
            state_[(i + shift) % state_words] ^ (joined >> 1U) ^ ((joined & 1U) != 0 ? 0x9908B0DFU : 0U);
    }
    next_ = 0;
}

std::uint32_t LazarusRandom::next_word() {
    if (next_ == state_words) refill();
    std::uint32_t word = state_[next_++];
    word ^= word >> 11U;
    word ^= (word << 7U) & 0x9D2C5680U;
    word ^= (word << 15U) & 0xEFC60000U;
    return word ^ (word >> 18U);
}

std::uint64_t LazarusRandom::bits(unsigned count) {
    LOCKSTEP_EXPECTS(count >= 1 && count <= 64);
    if (count <= 32) return next_word() >> (32U - count);
    const std::uint64_t low = next_word();
    const std::uint64_t high = next_word() >> (64U - count);
    return high << 32U | low;
}

std::uint64_t LazarusRandom::below(std::uint64_t bound) {
    LOCKSTEP_EXPECTS(bound >= 1);
    const auto count = static_cast<unsigned>(std::bit_width(bound));
    std::uint64_t draw = bits(count);
    while (draw >= bound) draw = bits(count);
    return draw;
}

}  // namespace lockstep
